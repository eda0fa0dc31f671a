"""The table `attempt`: each try, with the lease that it was last held under."""

from typing import Final

from leasehold.domain.attempts import (
    AttemptCancelled,
    AttemptDeadlinePassed,
    AttemptEnd,
    AttemptEvent,
    AttemptFailed,
    AttemptInterrupted,
    AttemptLeaseExpired,
    AttemptLeaseReclaimed,
    AttemptLeaseRenewed,
    AttemptLeaseRevoked,
    AttemptProgressed,
    AttemptStarted,
    AttemptSucceeded,
    LeaseState,
    outcome_of,
)
from leasehold.domain.frames import FrameAppended
from leasehold.projections.changes import (
    Changes,
    Insert,
    Place,
    Rules,
    Update,
    Values,
)

TABLE: Final = "attempt"

rules: Final = Rules()


def _key(event: AttemptEvent | FrameAppended, place: Place) -> Values:
    return {
        "execution_id": place.execution_id,
        "attempt_index": event.attempt_index,
    }


def _head(event: AttemptEvent, place: Place) -> dict[str, str | int]:
    return {
        "stream_version": place.version,
        "stream_sha256": place.sha256,
        "last_event_at_ms": event.occurred_at_ms,
    }


def _lease(event: AttemptStarted | AttemptLeaseReclaimed) -> Values:
    return {
        "worker_id": event.worker_id,
        "worker_instance_id": event.worker_instance_id,
        "lease_id": str(event.lease_id),
        "lease_epoch": event.lease_epoch,
        "lease_ttl_ms": event.lease_ttl_ms,
        "lease_state": LeaseState.HELD.value,
        "lease_expires_at_ms": event.lease_expires_at_ms,
        "lease_ended_at_ms": None,
    }


@rules.on(AttemptStarted)
def started(event: AttemptStarted, place: Place) -> Changes:
    """Add the row."""
    values: Values = {
        **_key(event, place),
        "lane_id": event.lane_id,
        **_lease(event),
        "started_at_ms": event.occurred_at_ms,
        "terminal_at_ms": None,
        "outcome": None,
        "failure_class": None,
        "failure_message": None,
        "failure_detail": None,
        "frames_version": 0,
        "frames_sha256": None,
        **_head(event, place),
    }
    return (Insert(TABLE, values),)


@rules.on(AttemptProgressed)
def progressed(event: AttemptProgressed, place: Place) -> Changes:
    """Keep the head of the stream."""
    return (Update(TABLE, _key(event, place), _head(event, place)),)


@rules.on(AttemptLeaseRenewed)
def renewed(event: AttemptLeaseRenewed, place: Place) -> Changes:
    """Extend the lease."""
    values: Values = {
        "lease_expires_at_ms": event.lease_expires_at_ms,
        **_head(event, place),
    }
    return (Update(TABLE, _key(event, place), values),)


@rules.on(AttemptLeaseExpired)
def lease_expired(event: AttemptLeaseExpired, place: Place) -> Changes:
    """Take the lease off; it ended when it ran out, not when that was noticed."""
    values: Values = {
        "lease_state": LeaseState.EXPIRED.value,
        "lease_expires_at_ms": None,
        "lease_ended_at_ms": event.lease_expires_at_ms,
        **_head(event, place),
    }
    return (Update(TABLE, _key(event, place), values),)


@rules.on(AttemptLeaseReclaimed)
def reclaimed(event: AttemptLeaseReclaimed, place: Place) -> Changes:
    """Put the new lease in the place of the old one."""
    values: Values = {**_lease(event), **_head(event, place)}
    return (Update(TABLE, _key(event, place), values),)


@rules.on(AttemptLeaseRevoked)
def revoked(event: AttemptLeaseRevoked, place: Place) -> Changes:
    """Take the lease off."""
    values: Values = {
        "lease_state": LeaseState.REVOKED.value,
        "lease_expires_at_ms": None,
        "lease_ended_at_ms": event.occurred_at_ms,
        **_head(event, place),
    }
    return (Update(TABLE, _key(event, place), values),)


def _ended(event: AttemptEnd, place: Place) -> dict[str, str | int | None]:
    values: dict[str, str | int | None] = {
        "lease_state": LeaseState.ENDED.value,
        "lease_expires_at_ms": None,
        "terminal_at_ms": event.occurred_at_ms,
        "outcome": outcome_of(event).value,
        **_head(event, place),
    }
    expires_at_ms = vars(event).get("lease_expires_at_ms")
    if expires_at_ms is not None:
        values["lease_ended_at_ms"] = min(event.occurred_at_ms, expires_at_ms)
    return values


def ended(event: AttemptEnd, place: Place) -> Changes:
    """Close the attempt and its lease."""
    return (Update(TABLE, _key(event, place), _ended(event, place)),)


rules.on(AttemptInterrupted)(ended)
rules.on(AttemptSucceeded)(ended)
rules.on(AttemptCancelled)(ended)
rules.on(AttemptDeadlinePassed)(ended)


@rules.on(AttemptFailed)
def failed(event: AttemptFailed, place: Place) -> Changes:
    """Close the attempt with what the worker said of the failure."""
    values: Values = {
        **_ended(event, place),
        "failure_class": event.failure_class.value,
        "failure_message": event.failure_message,
        "failure_detail": event.failure_detail,
    }
    return (Update(TABLE, _key(event, place), values),)


@rules.on(FrameAppended)
def frame_appended(event: FrameAppended, place: Place) -> Changes:
    """Keep the head of the stream of frames, whose version counts them."""
    values: Values = {
        "frames_version": place.version,
        "frames_sha256": place.sha256,
        "last_event_at_ms": event.occurred_at_ms,
    }
    return (Update(TABLE, _key(event, place), values),)
