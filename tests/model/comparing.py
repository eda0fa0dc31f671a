"""The rows that the model expects, held against the rows that a reader gives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ledger_model.records import Attempt, Execution

    import leasehold

ACQUIRED = ("acquired", "reclaimed")
PUBLIC_STATES = {
    ("runnable", "eligible_now", None): "pending",
    ("runnable", "not_eligible_until_time", None): "delayed",
    ("active", "not_applicable", None): "running",
    ("terminal", "not_applicable", "success"): "completed",
    ("terminal", "not_applicable", "failed"): "failed",
    ("terminal", "not_applicable", "cancelled"): "cancelled",
    ("terminal", "not_applicable", "expired"): "expired",
}
TERMINAL_OUTCOMES = {"completed": "success"}


def plain(value: Any) -> Any:
    """Give an enumeration's text in place of its member."""
    return str(value) if isinstance(value, str) else value


def compare_execution(read: leasehold.Reader, execution: Execution) -> None:
    """Compare every projected row of one execution."""
    row = read.execution(execution.execution_id)
    assert row is not None
    expected = execution.row()
    got = {name: plain(getattr(row, name)) for name in expected}
    if execution.terminal_cause == "reclaims_exhausted":
        got["raw_fields"].pop("last_failure_message", None)
        expected["raw_fields"].pop("last_failure_message", None)
    assert got == expected
    compare_public_state(row, execution)
    attempts = read.attempts(execution.execution_id)
    assert [it.attempt_index for it in attempts] == [*range(len(execution.attempts))]
    for index, attempt in enumerate(execution.attempts):
        compare_attempt(attempts[index], execution, attempt)
        compare_frames(read, execution, index, attempt)
    compare_leases(read, execution)


def compare_public_state(row: Any, execution: Execution) -> None:
    """Check that the public state is the function of the other columns."""
    ended = execution.terminal_at_ms is not None
    outcome = TERMINAL_OUTCOMES.get(execution.situation, execution.situation)
    key = (
        str(row.lifecycle_phase),
        str(row.eligibility_state),
        outcome if ended else None,
    )
    assert str(row.public_state) == PUBLIC_STATES[key]


def compare_attempt(row: Any, execution: Execution, attempt: Attempt) -> None:
    """Compare a row of `attempt`."""
    lease = attempt.lease
    holds = execution.situation == "leased" and lease is execution.leases[-1]
    failure_class, message, detail = attempt.failure or (None, None, None)
    expected = {
        "execution_id": execution.execution_id,
        "worker_id": lease.worker_id,
        "worker_instance_id": lease.instance_id,
        "lease_id": lease.lease_id,
        "lease_epoch": lease.epoch,
        "lease_expires_at_ms": lease.expires_at_ms if holds else None,
        "started_at_ms": attempt.started_at_ms,
        "terminal_at_ms": attempt.terminal_at_ms,
        "outcome": attempt.outcome,
        "failure_class": failure_class and failure_class.lower(),
        "failure_message": message,
        "failure_detail": detail,
    }
    assert {name: plain(getattr(row, name)) for name in expected} == expected


def compare_frames(
    read: leasehold.Reader, execution: Execution, index: int, attempt: Attempt
) -> None:
    """Compare the frames of an attempt, in order, and its summary."""
    rows = read.frames(execution.execution_id, index)
    expected = attempt.frames.stored
    assert [(str(row.mode), row.payload) for row in rows] == expected
    places = [(row.ts_ms, row.seq) for row in rows]
    assert places == sorted(set(places))
    summary = read.summary(execution.execution_id, index)
    if attempt.frames.version == 0:
        assert summary is None
        return
    assert summary is not None
    assert json.loads(summary.document_json) == attempt.frames.document
    assert summary.version == attempt.frames.version
    assert summary.patch_kind == "json-merge-patch"
    assert summary.first_applied_ms == attempt.frames.first_applied_ms
    assert summary.last_updated_ms == attempt.frames.last_updated_ms


def compare_leases(read: leasehold.Reader, execution: Execution) -> None:
    """Compare the rows of `lease_event`, in log order; time never steps back."""
    rows = read.lease_events(execution_id=execution.execution_id)
    got = [
        (it.attempt_index, it.lease_epoch, str(it.event_type), str(it.cause))
        for it in rows
    ]
    assert got == execution.lease_rows
    times = [row.occurred_at_ms for row in rows]
    assert times == sorted(times)
    epochs = [row.lease_epoch for row in rows if str(row.event_type) in ACQUIRED]
    assert epochs == [*range(1, len(execution.leases) + 1)]
    leases = {lease.lease_id: lease for lease in execution.leases}
    for row in rows:
        lease = leases.get(row.lease_id)
        if lease is not None and (row.attempt_index, row.lease_epoch) == (
            lease.attempt_index,
            lease.epoch,
        ):
            holder = (row.worker_id, row.worker_instance_id)
            assert holder == (lease.worker_id, lease.instance_id)
        elif lease is None:
            assert row.worker_id is None


def compare_history(read: leasehold.Reader, execution: Execution) -> None:
    """Compare the topics of an execution's log, and the order of its times."""
    history = read.history(execution.execution_id)
    assert [event.topic for event in history] == execution.topics
    times = [event.recorded_at_ms for event in history]
    assert times == sorted(times)
    assert not times or times[-1] == execution.last_ms
    positions = [event.position for event in history]
    assert positions == sorted(set(positions))
