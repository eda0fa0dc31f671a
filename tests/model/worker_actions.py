"""What workers do, made on the model and on a ledger."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from drawing import DOCUMENTS, LANES, MODES, SERVED, STEPS, TTLS, TWISTS, WORKERS
from hypothesis import strategies as st
from pair import Pair, present

import leasehold
from leasehold import BestEffort, Durable, FailureClass, Frame, Summary

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = st.sampled_from(
    [*["TRANSIENT"] * 4, "INFRA_CRASH", "PERMANENT", "TIMEOUT", "CANCELLED"]
)
NO_OBJECTS = st.sampled_from([b"[1]", b"{", b"\xff", b'{"a":NaN}', b""])


class WorkerActions(Pair):
    """One method an action; each draws what it needs."""

    def claim(self, data: st.DataObject) -> None:
        """Ask for work."""
        (worker_id, instance_id), ttl_ms = data.draw(WORKERS), data.draw(TTLS)
        lane_id, served = data.draw(LANES), data.draw(SERVED)
        worker = (worker_id, instance_id)
        taken = self.model.claim(lane_id, served, worker, ttl_ms)
        handle = self.ledger.claim(
            lane_id,
            capabilities=served,
            worker_id=worker_id,
            worker_instance_id=instance_id,
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

    def claim_from_grant(self, data: st.DataObject) -> None:
        """Ask to go on with an attempt."""
        grant, expected = data.draw(st.sampled_from(self.grants[-4:]))
        worker, ttl_ms = data.draw(WORKERS), data.draw(TTLS)
        if data.draw(st.integers(0, 2)):
            worker = (grant.worker_id, None)
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

    def shown(self, data: st.DataObject) -> leasehold.Handle:
        """Draw the handle that a worker shows: its own, or one forged from it."""
        handle, twist = self.any_handle(data), data.draw(TWISTS)
        forged: dict[str, Callable[[], dict[str, Any]]] = {
            "lease": lambda: {"lease_id": self.new_id(), "lease_epoch": 999},
            "epoch": lambda: {"lease_epoch": handle.lease_epoch + 1},
            "attempt": lambda: {"attempt_index": handle.attempt_index + 1},
            "first": lambda: {"attempt_index": 0, "lease_id": self.new_id()},
            "execution": lambda: {"execution_id": self.new_id()},
        }
        return handle.replace(**forged[twist]()) if twist else handle

    def renew(self, data: st.DataObject) -> None:
        """Extend a lease."""
        handle = self.shown(data)
        answers = self.both(
            lambda: self.model.renew(present(handle)), lambda: self.ledger.renew(handle)
        )
        if answers is not None:
            expected, renewal = answers
            assert (renewal.expires_at_ms, renewal.lease_epoch) == expected

    def progress(self, data: st.DataObject) -> None:
        """Report one field, both, or neither."""
        handle = self.shown(data)
        percent = data.draw(st.sampled_from([None, 0, 42, 99.5]))
        message = data.draw(st.sampled_from([None, "", "halfway"]))
        self.both(
            lambda: self.model.progress(present(handle), percent, message),
            lambda: self.ledger.progress(handle, percent, message),
        )

    def append_kept_frame(self, data: st.DataObject) -> None:
        """Append a durable frame or a summary."""
        handle = self.shown(data)
        document = data.draw(st.none() | DOCUMENTS)
        mode = Durable() if document is None else Summary()
        name = "durable" if document is None else "summary"
        payload = b"line" if document is None else json.dumps(document).encode()
        answers = self.both(
            lambda: self.model.append_frame(present(handle), payload, name),
            lambda: self.ledger.append_frame(handle, Frame(payload, mode=mode)),
        )
        if answers is not None:
            self.compare_frame(handle, *answers)

    def append_telemetry(self, data: st.DataObject) -> None:
        """Append frames that are no history, some time apart."""
        handle, mode = self.shown(data), data.draw(MODES)
        for step_ms in data.draw(st.lists(STEPS, min_size=1, max_size=6)):
            answers = self.both(
                lambda: self.model.append_best_effort(present(handle), b"live", mode),
                lambda: self.ledger.append_frame(
                    handle, Frame(b"live", mode=BestEffort(*mode))
                ),
            )
            if answers is not None:
                self.compare_frame(handle, *answers)
            self.model.clock_ms += step_ms

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

    def append_what_is_no_object(self, data: st.DataObject) -> None:
        """Append a summary that is none; nothing is written."""
        handle, payload = self.any_handle(data), data.draw(NO_OBJECTS)
        if self.model.verdict(present(handle)) is None:
            with pytest.raises(leasehold.InvalidInputError):
                self.ledger.append_frame(handle, Frame(payload, mode=Summary()))

    def complete(self, data: st.DataObject) -> None:
        """End well."""
        handle = self.shown(data)
        result = data.draw(st.sampled_from([None, b"", b"ok"]))
        answers = self.both(
            lambda: self.model.complete(present(handle), result),
            lambda: self.ledger.complete(handle, result),
        )
        assert answers in (None, (None, None))

    def fail(self, data: st.DataObject) -> None:
        """End badly."""
        handle, name = self.shown(data), data.draw(CLASSES)
        detail = data.draw(st.sampled_from([None, None, "trace"]))
        reason = leasehold.FailureReason("broke", detail) if detail else "broke"
        answers = self.both(
            lambda: self.model.fail(present(handle), ("broke", detail), name),
            lambda: self.ledger.fail(handle, reason, FailureClass[name]),
        )
        if answers is not None and answers[0][0] == "retry":
            assert answers[1] == leasehold.RetryScheduled(*answers[0][1:])
        elif answers is not None:
            assert answers[1] == leasehold.TerminalFailed(*answers[0][1:])

    def show_what_is_no_handle(self, data: st.DataObject) -> None:
        """Show a handle that is damaged, or of another kind of store."""
        handle = self.any_handle(data)
        corrupt = data.draw(st.booleans())
        code = "corrupt_handle" if corrupt else "handle_from_other_backend"
        changes: dict[str, Any] = {"backend": leasehold.BackendTag.VALKEY}
        if corrupt:
            changes = {"opaque": handle.opaque[:-1]}
        with pytest.raises(leasehold.InvalidInputError) as caught:
            self.ledger.renew(handle.replace(**changes))
        assert caught.value.code == code
