"""The table `lease_event`: what happened to each lease, one row an event."""

from typing import Final

from leasehold.domain.attempts import (
    AttemptCancelled,
    AttemptDeadlinePassed,
    AttemptEvent,
    AttemptFailed,
    AttemptLeaseExpired,
    AttemptLeaseReclaimed,
    AttemptLeaseRenewed,
    AttemptLeaseRevoked,
    AttemptStarted,
    AttemptSucceeded,
)
from leasehold.domain.refusals import RefusalRecorded
from leasehold.domain.states import LeaseCause, LeaseEventType
from leasehold.projections.changes import (
    POSITION,
    Changes,
    Insert,
    Place,
    Rules,
)

TABLE: Final = "lease_event"

rules: Final = Rules()


def _row(
    event: AttemptEvent | RefusalRecorded,
    place: Place,
    event_type: LeaseEventType,
    cause: LeaseCause,
) -> Changes:
    """Return the one row of an event; what its type does not tell is NULL."""
    refusal = event if isinstance(event, RefusalRecorded) else None
    fields = vars(event)
    return (
        Insert(
            TABLE,
            {
                "event_id": POSITION,
                "execution_id": place.execution_id,
                "attempt_index": event.attempt_index,
                "lease_id": str(event.lease_id),
                "lease_epoch": event.lease_epoch,
                "event_type": event_type.value,
                "cause": cause.value,
                "worker_id": event.worker_id,
                "worker_instance_id": event.worker_instance_id,
                "actor": fields.get("actor"),
                "expires_at_ms": fields.get("lease_expires_at_ms"),
                "occurred_at_ms": event.occurred_at_ms,
                "operation": refusal.operation if refusal else None,
                "late_ms": refusal.late_ms if refusal else None,
                "refused_count": refusal.refused_count if refusal else None,
            },
        ),
    )


@rules.on(AttemptStarted)
def started(event: AttemptStarted, place: Place) -> Changes:
    """Tell a fresh lease from one taken over."""
    event_type = (
        LeaseEventType.RECLAIMED if event.taken_over else LeaseEventType.ACQUIRED
    )
    return _row(event, place, event_type, LeaseCause.CLAIM)


@rules.on(AttemptLeaseRenewed)
def renewed(event: AttemptLeaseRenewed, place: Place) -> Changes:
    """Show the new expiry."""
    return _row(event, place, LeaseEventType.RENEWED, LeaseCause.RENEW)


@rules.on(AttemptLeaseExpired)
def expired(event: AttemptLeaseExpired, place: Place) -> Changes:
    """Show who noticed."""
    return _row(event, place, LeaseEventType.EXPIRED, event.cause)


@rules.on(AttemptLeaseReclaimed)
def reclaimed(event: AttemptLeaseReclaimed, place: Place) -> Changes:
    """Show the new holder."""
    return _row(event, place, LeaseEventType.RECLAIMED, LeaseCause.RESUME_GRANT)


@rules.on(AttemptLeaseRevoked)
def revoked(event: AttemptLeaseRevoked, place: Place) -> Changes:
    """Show who took it away."""
    return _row(event, place, LeaseEventType.REVOKED, LeaseCause.OPERATOR)


@rules.on(AttemptSucceeded)
def succeeded(event: AttemptSucceeded, place: Place) -> Changes:
    """End the lease with the work."""
    return _row(event, place, LeaseEventType.REVOKED, LeaseCause.COMPLETED)


@rules.on(AttemptFailed)
def failed(event: AttemptFailed, place: Place) -> Changes:
    """End the lease with the attempt."""
    retried = event.retry_at_ms is not None
    cause = LeaseCause.RETRY_SCHEDULED if retried else LeaseCause.FAILED
    return _row(event, place, LeaseEventType.REVOKED, cause)


@rules.on(AttemptCancelled)
def cancelled(event: AttemptCancelled, place: Place) -> Changes:
    """End the lease with the execution, and say by whose word."""
    return _row(event, place, LeaseEventType.REVOKED, LeaseCause.CANCELLED)


@rules.on(AttemptDeadlinePassed)
def deadline_passed(event: AttemptDeadlinePassed, place: Place) -> Changes:
    """End the lease with the execution."""
    return _row(event, place, LeaseEventType.REVOKED, LeaseCause.DEADLINE)


@rules.on(RefusalRecorded)
def refused(event: RefusalRecorded, place: Place) -> Changes:
    """Show the write that was turned away."""
    return _row(event, place, LeaseEventType.REFUSED, event.cause)
