"""Say what a bar or a mark of the picture stands for, line by line.

The first line is a heading, each other line a name and a value behind `: `.
"""

from collections.abc import Sequence
from typing import Final

from leasehold.adapters.report import wording
from leasehold.adapters.report.model import Story
from leasehold.adapters.rows import LeaseEventRow, TenureRow
from leasehold.domain.states import LeaseCause, TenureEnd, TenureOrigin

_TOLD_MAX: Final = 8
"""How many of the refusals under one mark are told each for itself."""

_ORIGINS: Final = {
    TenureOrigin.CLAIM: "claimed",
    TenureOrigin.RECLAIM: "taken over",
    TenureOrigin.RESUME_GRANT: "resumed with a grant",
}
_ENDS: Final = {
    TenureEnd.EXPIRED: "the lease ran out",
    TenureEnd.COMPLETED: "completed",
    TenureEnd.RETRY_SCHEDULED: "failed, to be retried",
    TenureEnd.FAILED: "failed for good",
    TenureEnd.CANCELLED: "cancelled",
    TenureEnd.DEADLINE: "the deadline passed",
    TenureEnd.OPERATOR: "revoked by an operator",
}
_REASONS: Final = {
    LeaseCause.LEASE_CONFLICT: "another lease is the current one",
    LeaseCause.LEASE_EXPIRED: "the lease had run out",
    LeaseCause.LEASE_REVOKED: "the lease was revoked",
    LeaseCause.EXECUTION_NOT_ACTIVE: "the execution is not active",
}


def of_tenure(story: Story, row: TenureRow, at_ms: int) -> tuple[str, ...]:
    """Tell a tenure: who held what, from when to when, and what came after."""
    told = [
        f"{wording.printable(row.worker_id)} held epoch {row.lease_epoch}",
        f"Execution: {row.execution_id}, attempt {row.attempt_index}",
        f"Lane: {wording.printable(row.lane_id)}",
    ]
    if row.worker_instance_id is not None:
        told.append(f"Instance: {wording.printable(row.worker_instance_id)}")
    begun = _ORIGINS[row.acquired_by]
    told.append(f"Acquired: {wording.time_text(row.acquired_at_ms)}, {begun}")
    told.append(f"Ended: {_end_text(story, row)}")
    end_ms = at_ms if row.ended_at_ms is None else row.ended_at_ms
    told.append(f"Held for: {wording.lasting(end_ms - row.acquired_at_ms)}")
    told.append(f"Renewals: {_renewals_text(row)}")
    if row.orphaned_ms is not None:
        after = wording.lasting(row.orphaned_ms)
        told.append(f"Orphaned: for {after}, then taken over")
    elif story.orphaned and row is story.tenures[-1]:
        waiting = wording.lasting(at_ms - end_ms)
        told.append(f"Orphaned: for {waiting} at the audit, taken over by nobody")
    if row.refusals:
        told.append(f"Refused later: {wording.counted(row.refusals, 'write')}")
    told.append(f"Position: {row.event_id}")
    return tuple(told)


def _end_text(story: Story, row: TenureRow) -> str:
    if row.ended_at_ms is None or row.ended_by is None:
        until = wording.time_text(row.expires_at_ms)
        return f"live at the audit, promised until {until}"
    text = f"{wording.time_text(row.ended_at_ms)}, {_ENDS[row.ended_by]}"
    actor = story.actors.get(row.lease_id)
    if actor is not None and row.ended_by in {TenureEnd.OPERATOR, TenureEnd.CANCELLED}:
        text += f" ({wording.printable(actor)})"
    return text


def _renewals_text(row: TenureRow) -> str:
    if not row.renewals:
        return "none"
    text = wording.number(row.renewals)
    if row.max_renewal_gap_ms is not None:
        text += f", at most {wording.lasting(row.max_renewal_gap_ms)} apart"
    if row.min_headroom_ms is not None:
        text += f", at least {wording.lasting(row.min_headroom_ms)} left"
    return text


def of_refusals(rows: Sequence[LeaseEventRow]) -> tuple[str, ...]:
    """Tell the refused writes under one mark."""
    if len(rows) == 1:
        return _of_refusal(rows[0])
    told = [f"{len(rows)} refused writes"]
    told += [
        f"{wording.time_text(row.occurred_at_ms)}: {_operation(row)} by {_who(row)}, "
        f"epoch {row.lease_epoch}{_lateness(row)}"
        for row in rows[:_TOLD_MAX]
    ]
    if len(rows) > _TOLD_MAX:
        told.append(f"And: {len(rows) - _TOLD_MAX} more")
    return tuple(told)


def _of_refusal(row: LeaseEventRow) -> tuple[str, ...]:
    told = [
        f"Refused: {_operation(row)} by {_who(row)}",
        f"Execution: {row.execution_id}",
        f"At: {wording.time_text(row.occurred_at_ms)}",
        f"Presented: epoch {row.lease_epoch}, attempt {row.attempt_index}",
        f"Because: {_REASONS.get(row.cause, row.cause.value)}",
    ]
    if row.late_ms is not None:
        late = wording.lasting(row.late_ms)
        told.append(f"How late: {late} after that lease had ended")
    if row.refused_count is not None and row.refused_count > 1:
        told.append(f"Refused so far: {row.refused_count} times with this handle")
    told.append(f"Position: {row.event_id}")
    return tuple(told)


def _operation(row: LeaseEventRow) -> str:
    return wording.printable(row.operation or "a write")


def _who(row: LeaseEventRow) -> str:
    if row.worker_id is None:
        return "somebody unknown"
    return wording.printable(row.worker_id)


def _lateness(row: LeaseEventRow) -> str:
    return "" if row.late_ms is None else f", {wording.lasting(row.late_ms)} late"
