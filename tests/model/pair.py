"""A model and a ledger side by side, and what both are told to do."""

from __future__ import annotations

import itertools
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from comparing import compare_execution, compare_history
from hypothesis import strategies as st
from ledger_model.calls import LedgerModel
from ledger_model.claiming import KINDS_DUE
from ledger_model.records import Presented, Refused
from store_checks import (
    assert_epochs_rise_by_one,
    assert_log_is_whole,
    assert_one_live_lease_each,
    assert_tables_equal_their_replay,
)
from stores import in_memory
from tenure_checks import assert_tenures_are_right

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable

    from stores import NewStore

START_MS = 1_700_000_000_000
# The ledger counts refusals per handle and process: no two runs may forge the same one.
RUNS = itertools.count(1)


def present(handle: leasehold.Handle) -> Presented:
    """Tell the model what the handle claims to be."""
    return Presented(
        handle.execution_id, handle.attempt_index, handle.lease_id, handle.lease_epoch
    )


class Pair:
    """Makes each call on the model and on a ledger, and compares."""

    new_store: NewStore = staticmethod(in_memory)

    def __init__(self) -> None:
        super().__init__()
        self.model = LedgerModel(START_MS)
        self.opening = self.new_store(lambda: self.model.clock_ms)
        self.store = self.opening.__enter__()
        self.ledger = self.store.ledger
        self.drawn = (0xFACE << 96) + (next(RUNS) << 32)
        self.handles: list[leasehold.Handle] = []
        self.grants: list[tuple[leasehold.ResumeGrant, Any]] = []
        self.stream_ids: dict[tuple[uuid.UUID, int], tuple[int, int]] = {}

    def finish(self) -> None:
        """Check the whole store, and let go of it."""
        try:
            for execution in self.model.executions.values():
                compare_history(self.ledger.read, execution)
            assert_log_is_whole(self.store.query)
            assert_epochs_rise_by_one(self.store.query)
            assert_tenures_are_right(self.ledger.read, self.model.clock_ms)
            assert_tables_equal_their_replay(self.ledger)
        finally:
            self.opening.__exit__(None, None, None)

    def compare_rows(self) -> None:
        """Check every row of every table that the model knows of."""
        for execution in self.model.executions.values():
            compare_execution(self.ledger.read, execution)
        assert_one_live_lease_each(self.store.query)

    def both(self, modelled: Callable[[], Any], real: Callable[[], Any]) -> Any:
        """Make the call on both; return the two answers, or None when refused."""
        try:
            expected = modelled()
        except Refused as refused:
            code = refused.code
        else:
            return expected, real()
        with pytest.raises(leasehold.LeaseholdError) as caught:
            real()
        assert caught.value.code == code
        return None

    def accept(self, handle: leasehold.Handle, lease: Any) -> None:
        """Compare the handle with the lease that the model gave out."""
        assert handle.backend is self.store.backend
        assert handle.lease_id.version == 4
        assert handle.lease_id not in [known.lease_id for known in self.handles]
        got = (handle.attempt_index, handle.lease_epoch, handle.lease_expires_at_ms)
        assert got == (lease.attempt_index, lease.epoch, lease.expires_at_ms)
        assert leasehold.Handle.parse(str(handle)) == handle
        lease.lease_id = handle.lease_id
        self.handles.append(handle)

    def new_id(self) -> uuid.UUID:
        """Give an id that was never given before, higher than the one before."""
        self.drawn += 1
        return uuid.UUID(int=self.drawn, version=4)

    def any_handle(self, data: st.DataObject) -> leasehold.Handle:
        """Draw a handle, more often than not one whose lease runs."""
        verdicts = [self.model.verdict(present(handle)) for handle in self.handles]
        running = [
            handle
            for handle, verdict in zip(self.handles, verdicts, strict=True)
            if verdict is None
        ]
        if running and data.draw(st.integers(0, 4)) > 0:
            return data.draw(st.sampled_from(running))
        return data.draw(st.sampled_from(self.handles))

    def any_execution(self, data: st.DataObject, *, ended: bool = False) -> uuid.UUID:
        """Draw an execution, now and then one that is not there."""
        if data.draw(st.integers(0, 19)) == 0:
            return self.new_id()
        known = list(self.model.executions)
        if ended and data.draw(st.integers(0, 3)) > 0:
            executions = self.model.executions
            known = [it for it in known if executions[it].terminal_at_ms] or known
        return data.draw(st.sampled_from(known))

    def due_times_ms(self) -> list[int]:
        """Return when anything comes due."""
        due_ms = [
            self.model.due_at(kind, execution)
            for execution in self.model.executions.values()
            for kind in KINDS_DUE
        ]
        return [at_ms for at_ms in due_ms if at_ms is not None]
