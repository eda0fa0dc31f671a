"""The machine: every operation made on the model and on a ledger, and compared."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from comparing import compare_execution, compare_history
from drawing import (
    DOCUMENTS,
    LANES,
    MODES,
    POLICIES,
    PRIORITIES,
    SERVED,
    SPECS,
    TTLS,
    TWISTS,
    WORKERS,
)
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from ledger_model.calls import LedgerModel
from ledger_model.claiming import KINDS_DUE
from ledger_model.records import DEFAULTS, Presented, Refused
from store_checks import (
    assert_epochs_rise_by_one,
    assert_log_is_whole,
    assert_one_live_lease_each,
    assert_tables_equal_their_replay,
)

import leasehold
from leasehold import BestEffort, Durable, FailureClass, Frame, Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

START_MS = 1_700_000_000_000
EXECUTIONS_MAX = 8
HELD = precondition(lambda self: self.handles)


def present(handle: leasehold.Handle) -> Presented:
    """Tell the model what the handle claims to be."""
    return Presented(
        handle.execution_id, handle.attempt_index, handle.lease_id, handle.lease_epoch
    )


class LedgerMachine(RuleBasedStateMachine):
    """Makes each call on the model and on a ledger, and compares."""

    on_file = False

    def __init__(self) -> None:
        super().__init__()
        self.model = LedgerModel(START_MS)
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.path = Path(self.folder.name) / "ledger.db"
        self.url = f"sqlite:///{self.path}" if self.on_file else "sqlite://"
        self.ledger = leasehold.open(
            self.url, clock=lambda: self.model.clock_ms, durability="normal"
        )
        self.drawn = 0
        self.handles: list[leasehold.Handle] = []
        self.grants: list[tuple[leasehold.ResumeGrant, Any]] = []
        self.stream_ids: dict[tuple[uuid.UUID, int], tuple[int, int]] = {}

    def teardown(self) -> None:
        try:
            for execution in self.model.executions.values():
                compare_history(self.ledger.read, execution)
            assert_log_is_whole(self.query)
            assert_epochs_rise_by_one(self.query)
            assert_tables_equal_their_replay(self.ledger)
        finally:
            self.ledger.close()
            self.folder.cleanup()

    def query(self, statement: str) -> Iterable[Any]:
        """Read a file as an outsider; a private store through its own hook."""
        if not self.on_file:
            rows = self.ledger._store.query_plain(statement, ())
            return [tuple(row.values()) for row in rows]
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def draw_id(self) -> uuid.UUID:
        """Give an id that was never given before, the same in every run."""
        self.drawn += 1
        return uuid.UUID(int=(0xFACE << 96) + self.drawn, version=4)

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

    def specification(self, drawn: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """Turn offsets into times; return it for the model and for the ledger."""
        given = dict(drawn)
        policy = given.pop("policy")
        for field in ("delay_until_ms", "deadline_at_ms"):
            moved = given.pop(field)
            given[field] = None if moved is None else self.model.clock_ms + moved
        modelled, real = POLICIES[policy]
        spec = {**DEFAULTS, **given, "retry_policy": modelled}
        return spec, {**given, "retry_policy": real}

    @initialize(first=st.lists(SPECS, min_size=2, max_size=3))
    def begin(self, first: list[dict[str, Any]]) -> None:
        for drawn in first:
            self.create(drawn, named=True)

    @precondition(lambda self: len(self.model.executions) < EXECUTIONS_MAX)
    @rule(drawn=SPECS, named=st.booleans())
    def create(self, drawn: dict[str, Any], named: bool) -> None:
        spec, real = self.specification(drawn)
        if named:
            spec["execution_id"] = real["execution_id"] = self.draw_id()
        answers = self.both(
            lambda: self.model.known(spec), lambda: self.ledger.create_execution(**real)
        )
        if answers is not None:
            known, execution_id = answers
            if known is None:
                assert execution_id == spec["execution_id"] or not named
                assert named or execution_id.version == 7
                self.model.add(spec, execution_id)
            assert known in (None, execution_id)

    @precondition(lambda self: len(self.model.executions) < EXECUTIONS_MAX)
    @rule(drawn=st.lists(SPECS, max_size=3), again=st.booleans())
    def create_many(self, drawn: list[dict[str, Any]], again: bool) -> None:
        pairs = [self.specification(one) for one in drawn]
        for spec, real in pairs:
            spec["execution_id"] = real["execution_id"] = self.draw_id()
        if again:
            pairs += pairs[:1]
        answers = self.both(
            lambda: self.model.create_all([dict(spec) for spec, _ in pairs]),
            lambda: self.ledger.create_executions([real for _, real in pairs]),
        )
        assert answers is None or answers[0] == answers[1]

    @rule(data=st.data(), change=st.booleans())
    def create_again(self, data: st.DataObject, change: bool) -> None:
        first = data.draw(st.sampled_from(list(self.model.executions.values())))
        spec = {**first.spec, "execution_id": first.execution_id}
        if change:
            spec["priority"] += 1
        policies = {id(model): real for model, real in POLICIES.values()}
        real = {**spec, "retry_policy": policies[id(spec["retry_policy"])]}
        answers = self.both(
            lambda: self.model.known(spec), lambda: self.ledger.create_execution(**real)
        )
        assert answers is None or answers[0] == answers[1]

    @rule(worker=WORKERS, served=SERVED, lane_id=LANES, ttl_ms=TTLS)
    def claim(
        self,
        worker: tuple[str, str | None],
        served: tuple[str, ...],
        lane_id: str,
        ttl_ms: int,
    ) -> None:
        taken = self.model.claim(lane_id, served, worker, ttl_ms)
        handle = self.ledger.claim(
            lane_id,
            capabilities=served,
            worker_id=worker[0],
            worker_instance_id=worker[1],
            lease_ttl_ms=ttl_ms,
        )
        if taken is None:
            assert handle is None
            return
        execution, lease, kind = taken
        assert handle is not None
        assert handle.execution_id == execution.execution_id
        assert handle.kind.name == kind
        self.accept(handle, lease)

    def accept(self, handle: leasehold.Handle, lease: Any) -> None:
        """Compare the handle with the lease that the model gave out."""
        assert handle.backend.name == "SQLITE"
        assert handle.lease_id.version == 4
        assert handle.lease_id not in [known.lease_id for known in self.handles]
        got = (handle.attempt_index, handle.lease_epoch, handle.lease_expires_at_ms)
        assert got == (lease.attempt_index, lease.epoch, lease.expires_at_ms)
        assert leasehold.Handle.parse(str(handle)) == handle
        lease.lease_id = handle.lease_id
        self.handles.append(handle)

    def any_handle(self, data: st.DataObject, *, kept: bool = True) -> leasehold.Handle:
        """Draw a handle, more often than not one whose lease runs."""
        verdicts = [self.model.verdict(present(handle)) for handle in self.handles]
        running = [
            handle
            for handle, verdict in zip(self.handles, verdicts, strict=True)
            if verdict is None
        ]
        if kept and running and data.draw(st.integers(0, 4)):
            return data.draw(st.sampled_from(running))
        return data.draw(st.sampled_from(self.handles))

    def twisted(self, handle: leasehold.Handle, twist: str | None) -> leasehold.Handle:
        """Return the handle, or one forged from it."""
        changes: dict[str, Any] = {}
        if twist == "lease":
            changes = {"lease_id": self.draw_id(), "lease_epoch": 999}
        elif twist == "epoch":
            changes = {"lease_epoch": handle.lease_epoch + 1}
        elif twist == "attempt":
            changes = {"attempt_index": handle.attempt_index + 1}
        elif twist == "first":
            changes = {"attempt_index": 0, "lease_id": self.draw_id()}
        elif twist == "execution":
            changes = {"execution_id": self.draw_id()}
        return handle.replace(**changes) if changes else handle

    @HELD
    @rule(data=st.data(), twist=TWISTS)
    def renew(self, data: st.DataObject, twist: str | None) -> None:
        shown = self.twisted(self.any_handle(data), twist)
        answers = self.both(
            lambda: self.model.renew(present(shown)), lambda: self.ledger.renew(shown)
        )
        if answers is not None:
            expected, renewal = answers
            assert (renewal.expires_at_ms, renewal.lease_epoch) == expected

    @HELD
    @rule(
        data=st.data(),
        twist=TWISTS,
        percent=st.sampled_from([None, 0, 42, 99.5]),
        message=st.sampled_from([None, "", "halfway"]),
    )
    def progress(
        self,
        data: st.DataObject,
        twist: str | None,
        percent: float | None,
        message: str | None,
    ) -> None:
        shown = self.twisted(self.any_handle(data), twist)
        self.both(
            lambda: self.model.progress(present(shown), percent, message),
            lambda: self.ledger.progress(shown, percent, message),
        )

    @HELD
    @rule(data=st.data(), twist=TWISTS, document=st.none() | DOCUMENTS)
    def append_kept_frame(
        self,
        data: st.DataObject,
        twist: str | None,
        document: dict[str, Any] | None,
    ) -> None:
        shown = self.twisted(self.any_handle(data), twist)
        mode = Durable() if document is None else Summary()
        name = "durable" if document is None else "summary"
        payload = b"line" if document is None else json.dumps(document).encode()
        answers = self.both(
            lambda: self.model.append_frame(present(shown), payload, name),
            lambda: self.ledger.append_frame(shown, Frame(payload, mode=mode)),
        )
        if answers is not None:
            self.compare_frame(shown, *answers)

    @HELD
    @rule(data=st.data(), mode=MODES)
    def append_telemetry(
        self, data: st.DataObject, mode: tuple[int, int, int, float]
    ) -> None:
        handle = self.any_handle(data)
        answers = self.both(
            lambda: self.model.append_best_effort(present(handle), b"live", mode),
            lambda: self.ledger.append_frame(
                handle, Frame(b"live", mode=BestEffort(*mode))
            ),
        )
        if answers is not None:
            self.compare_frame(handle, *answers)

    def compare_frame(self, handle: leasehold.Handle, expected: Any, got: Any) -> None:
        """Compare the outcome of an append; the id grows and tells the time."""
        count, version, now_ms = expected
        assert (got.frame_count, got.summary_version) == (count, version)
        ts_ms, seq = (int(part) for part in got.stream_id.split("-"))
        key = (handle.execution_id, handle.attempt_index)
        last = self.stream_ids.get(key, (0, -1))
        assert (ts_ms, seq) > last
        assert ts_ms == max(now_ms, last[0])
        self.stream_ids[key] = (ts_ms, seq)

    @HELD
    @rule(
        data=st.data(), payload=st.sampled_from([b"[1]", b"{", b"\xff", b'{"a":NaN}'])
    )
    def append_what_is_no_object(self, data: st.DataObject, payload: bytes) -> None:
        handle = self.any_handle(data)
        if self.model.verdict(present(handle)) is None:
            with pytest.raises(leasehold.InvalidInputError):
                self.ledger.append_frame(handle, Frame(payload, mode=Summary()))

    @HELD
    @rule(data=st.data(), twist=TWISTS, result=st.sampled_from([None, b"", b"ok"]))
    def complete(
        self, data: st.DataObject, twist: str | None, result: bytes | None
    ) -> None:
        shown = self.twisted(self.any_handle(data), twist)
        answers = self.both(
            lambda: self.model.complete(present(shown), result),
            lambda: self.ledger.complete(shown, result),
        )
        assert answers in (None, (None, None))

    @HELD
    @rule(
        data=st.data(),
        twist=TWISTS,
        detail=st.sampled_from([None, None, "trace"]),
        name=st.sampled_from(
            [
                "TRANSIENT",
                "TRANSIENT",
                "INFRA_CRASH",
                "PERMANENT",
                "TIMEOUT",
                "CANCELLED",
            ]
        ),
    )
    def fail(
        self, data: st.DataObject, twist: str | None, detail: str | None, name: str
    ) -> None:
        shown = self.twisted(self.any_handle(data), twist)
        reason = leasehold.FailureReason("broke", detail) if detail else "broke"
        answers = self.both(
            lambda: self.model.fail(present(shown), ("broke", detail), name),
            lambda: self.ledger.fail(shown, reason, FailureClass[name]),
        )
        if answers is not None and answers[0][0] == "retry":
            assert answers[1] == leasehold.RetryScheduled(*answers[0][1:])
        elif answers is not None:
            assert answers[1] == leasehold.TerminalFailed(*answers[0][1:])

    @HELD
    @rule(data=st.data(), way=st.sampled_from(["other backend", "corrupt"]))
    def present_what_is_no_handle(self, data: st.DataObject, way: str) -> None:
        handle = self.any_handle(data)
        code = "corrupt_handle" if way == "corrupt" else "handle_from_other_backend"
        changes: dict[str, Any] = {"backend": leasehold.BackendTag.VALKEY}
        if way == "corrupt":
            changes = {"opaque": handle.opaque[:-1]}
        with pytest.raises(leasehold.InvalidInputError) as caught:
            self.ledger.renew(handle.replace(**changes))
        assert caught.value.code == code

    @HELD
    @rule(data=st.data(), worker=WORKERS, ttl_ms=TTLS)
    def issue_grant(
        self, data: st.DataObject, worker: tuple[str, str | None], ttl_ms: int
    ) -> None:
        handle = self.any_handle(data, kept=False)
        answers = self.both(
            lambda: self.model.issue_resume_grant(
                handle.execution_id, worker[0], ttl_ms
            ),
            lambda: self.ledger.issue_resume_grant(
                handle.execution_id, worker_id=worker[0], ttl_ms=ttl_ms, actor="op"
            ),
        )
        if answers is None:
            return
        expected, grant = answers
        assert grant.expires_at_ms == expected.expires_at_ms
        assert leasehold.ResumeGrant.parse(str(grant)) == grant
        self.grants.append((grant, expected))

    @precondition(lambda self: self.grants)
    @rule(data=st.data(), worker=WORKERS, ttl_ms=TTLS)
    def claim_from_grant(
        self, data: st.DataObject, worker: tuple[str, str | None], ttl_ms: int
    ) -> None:
        grant, expected = data.draw(st.sampled_from(self.grants))
        answers = self.both(
            lambda: self.model.claim_from_resume_grant(expected, worker, ttl_ms),
            lambda: self.ledger.claim_from_resume_grant(
                grant,
                worker_id=worker[0],
                worker_instance_id=worker[1],
                lease_ttl_ms=ttl_ms,
            ),
        )
        if answers is None or answers[0] is None:
            assert answers in (None, (None, None))
            return
        lease, handle = answers
        assert handle.kind is leasehold.HandleKind.RESUMED
        assert handle.execution_id == grant.execution_id
        self.accept(handle, lease)

    @HELD
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        handle = self.any_handle(data)
        self.both(
            lambda: self.model.revoke_lease(handle.execution_id),
            lambda: self.ledger.revoke_lease(
                handle.execution_id, actor="op", reason="stuck"
            ),
        )

    @rule(data=st.data(), reason=st.sampled_from(["unwanted", "late"]))
    def cancel(self, data: st.DataObject, reason: str) -> None:
        execution_id = self.any_execution(data)
        self.both(
            lambda: self.model.cancel_execution(execution_id, reason),
            lambda: self.ledger.cancel_execution(
                execution_id, actor="op", reason=reason
            ),
        )

    @rule(data=st.data(), priority=PRIORITIES)
    def change_priority(self, data: st.DataObject, priority: int) -> None:
        execution_id = self.any_execution(data)
        self.both(
            lambda: self.model.change_priority(execution_id, priority),
            lambda: self.ledger.change_priority(execution_id, priority, actor="op"),
        )

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        execution_id = self.any_execution(data, ended=True)
        self.both(
            lambda: self.model.replay_execution(execution_id),
            lambda: self.ledger.replay_execution(
                execution_id, actor="op", reason="again"
            ),
        )

    def any_execution(self, data: st.DataObject, *, ended: bool = False) -> uuid.UUID:
        """Draw an execution, now and then one that is not there."""
        if data.draw(st.integers(0, 9)) == 0:
            return self.draw_id()
        known = list(self.model.executions)
        if ended and data.draw(st.booleans()):
            executions = self.model.executions
            known = [it for it in known if executions[it].terminal_at_ms] or known
        return data.draw(st.sampled_from(known))

    @rule(few=st.booleans())
    def sweep(self, few: bool) -> None:
        told = self.due_times_ms()
        limit = 1 if few and len(set(told)) == len(told) else 1000
        expected = self.model.sweep(limit)
        report = self.ledger.sweep(limit)
        got = (report.leases_expired, report.delays_due, report.deadlines_passed)
        assert got == expected

    @rule(step_ms=st.sampled_from([1, 10, 49, 50, 100]))
    def clock_goes_on(self, step_ms: int) -> None:
        self.model.clock_ms += step_ms

    @rule(data=st.data(), beyond_ms=st.sampled_from([-1, 0, 0, 1]))
    def clock_comes_to_what_is_due(self, data: st.DataObject, beyond_ms: int) -> None:
        times_ms = [it for it in self.due_times_ms() if it > self.model.clock_ms]
        if times_ms:
            self.model.clock_ms = data.draw(st.sampled_from(times_ms)) + beyond_ms

    def due_times_ms(self) -> list[int]:
        """Return when anything comes due."""
        due_ms = [
            self.model.due_at(kind, execution)
            for execution in self.model.executions.values()
            for kind in KINDS_DUE
        ]
        return [at_ms for at_ms in due_ms if at_ms is not None]

    @rule(step_ms=st.sampled_from([1, 30, 100, 500]))
    def clock_steps_back(self, step_ms: int) -> None:
        # A best-effort frame is no event: whether its time holds the clock is open.
        times_ms = [
            attempt.frames.last_best_effort_ms or 0
            for execution in self.model.executions.values()
            for attempt in execution.attempts
        ]
        floor_ms = max(times_ms, default=0)
        back_ms = max(floor_ms, self.model.clock_ms - step_ms)
        self.model.clock_ms = min(self.model.clock_ms, back_ms)

    @invariant()
    def rows_are_those_of_the_model(self) -> None:
        for execution in self.model.executions.values():
            compare_execution(self.ledger.read, execution)
        assert_one_live_lease_each(self.query)
