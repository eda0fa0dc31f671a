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
    event_type: LeaseEventType,
    cause: LeaseCause,
    *,
    expires_at_ms: int | None = None,
    actor: str | None = None,
) -> Changes:
    refusal = event if isinstance(event, RefusalRecorded) else None
    return (
        Insert(
            TABLE,
            {
                "event_id": POSITION,
                "execution_id": str(event.execution_id),
                "attempt_index": event.attempt_index,
                "lease_id": str(event.lease_id),
                "lease_epoch": event.lease_epoch,
                "event_type": event_type.value,
                "cause": cause.value,
                "worker_id": event.worker_id,
                "worker_instance_id": event.worker_instance_id,
                "actor": actor,
                "expires_at_ms": expires_at_ms,
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
    del place
    event_type = (
        LeaseEventType.RECLAIMED if event.taken_over else LeaseEventType.ACQUIRED
    )
    return _row(
        event, event_type, LeaseCause.CLAIM, expires_at_ms=event.lease_expires_at_ms
    )


@rules.on(AttemptLeaseRenewed)
def renewed(event: AttemptLeaseRenewed, place: Place) -> Changes:
    """Show the new expiry."""
    del place
    return _row(
        event,
        LeaseEventType.RENEWED,
        LeaseCause.RENEW,
        expires_at_ms=event.lease_expires_at_ms,
    )


@rules.on(AttemptLeaseExpired)
def expired(event: AttemptLeaseExpired, place: Place) -> Changes:
    """Show who noticed."""
    del place
    return _row(
        event,
        LeaseEventType.EXPIRED,
        event.cause,
        expires_at_ms=event.lease_expires_at_ms,
    )


@rules.on(AttemptLeaseReclaimed)
def reclaimed(event: AttemptLeaseReclaimed, place: Place) -> Changes:
    """Show the new holder."""
    del place
    return _row(
        event,
        LeaseEventType.RECLAIMED,
        LeaseCause.RESUME_GRANT,
        expires_at_ms=event.lease_expires_at_ms,
    )


@rules.on(AttemptLeaseRevoked)
def revoked(event: AttemptLeaseRevoked, place: Place) -> Changes:
    """Show who took it away."""
    del place
    return _row(
        event,
        LeaseEventType.REVOKED,
        LeaseCause.OPERATOR,
        expires_at_ms=event.lease_expires_at_ms,
        actor=event.actor,
    )


@rules.on(AttemptSucceeded)
def succeeded(event: AttemptSucceeded, place: Place) -> Changes:
    """End the lease with the work."""
    del place
    return _row(
        event,
        LeaseEventType.REVOKED,
        LeaseCause.COMPLETED,
        expires_at_ms=event.lease_expires_at_ms,
    )


@rules.on(AttemptFailed)
def failed(event: AttemptFailed, place: Place) -> Changes:
    """End the lease with the attempt."""
    del place
    retried = event.retry_at_ms is not None
    return _row(
        event,
        LeaseEventType.REVOKED,
        LeaseCause.RETRY_SCHEDULED if retried else LeaseCause.FAILED,
        expires_at_ms=event.lease_expires_at_ms,
    )


@rules.on(AttemptCancelled)
def cancelled(event: AttemptCancelled, place: Place) -> Changes:
    """End the lease with the execution, and say by whose word."""
    del place
    return _row(
        event,
        LeaseEventType.REVOKED,
        LeaseCause.CANCELLED,
        expires_at_ms=event.lease_expires_at_ms,
        actor=event.actor,
    )


@rules.on(AttemptDeadlinePassed)
def deadline_passed(event: AttemptDeadlinePassed, place: Place) -> Changes:
    """End the lease with the execution."""
    del place
    return _row(
        event,
        LeaseEventType.REVOKED,
        LeaseCause.DEADLINE,
        expires_at_ms=event.lease_expires_at_ms,
    )


@rules.on(RefusalRecorded)
def refused(event: RefusalRecorded, place: Place) -> Changes:
    """Show the write that was turned away."""
    del place
    return _row(event, LeaseEventType.REFUSED, event.cause)
