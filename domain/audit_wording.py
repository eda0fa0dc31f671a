"""What an audit says: one sentence for each finding, about an event and a tenure."""

from datetime import UTC, datetime, timedelta
from typing import Final

from leasehold.domain.attempts import (
    AttemptEvent,
    AttemptLeaseReclaimed,
    AttemptLeaseRenewed,
    AttemptStarted,
    LeaseState,
)
from leasehold.domain.events import DomainEvent
from leasehold.domain.executions import ExecutionCreated
from leasehold.domain.refusals import RefusalRecorded
from leasehold.domain.states import TenureOrigin
from leasehold.domain.tenures import Tenure

_SHOWN_MAX: Final = 80
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ACQUIRED: Final = {
    TenureOrigin.CLAIM: "as a new lease",
    TenureOrigin.RECLAIM: "by a take-over",
    TenureOrigin.RESUME_GRANT: "with a resume grant",
}


def named(worker_id: str | None) -> str:
    """Name a worker."""
    return "an unknown worker" if worker_id is None else f"worker {_shown(worker_id)}"


def _time(at_ms: int) -> str:
    try:
        moment = _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:  # In a damaged event.
        return f"{at_ms} ms"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{at_ms % 1000:03d}Z"


def _long(duration_ms: int) -> str:
    return f"{duration_ms // 1000}.{duration_ms % 1000:03d} s"


def _shown(name: str) -> str:
    shown = repr(name)
    return shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}…"


def _held(tenure: Tenure) -> str:
    return f"the lease of epoch {tenure.lease_epoch} of {named(tenure.worker_id)}"


def _standing(tenure: Tenure | None) -> str:
    """Say how the last lease on an execution stands."""
    if tenure is None:
        return "nobody has ever held the execution"
    if tenure.is_open():
        return f"{_held(tenure)} ran until {_time(tenure.expires_at_ms)}"
    is_revoked = tenure.lease_state is LeaseState.REVOKED
    return f"{_held(tenure)} {'was revoked' if is_revoked else 'had ended'}"


def acquisition(
    event: AttemptStarted | AttemptLeaseReclaimed, origin: TenureOrigin, before: Tenure
) -> str:
    """Tell of a lease that was given out too early."""
    return (
        f"{named(event.worker_id)} took epoch {event.lease_epoch} "
        f"{_ACQUIRED[origin]} at {_time(event.occurred_at_ms)}, "
        f"while {_standing(before)}"
    )


def epoch(event: AttemptStarted | AttemptLeaseReclaimed, last: int) -> str:
    """Tell of an epoch that does not follow the last one."""
    return (
        f"{named(event.worker_id)} took epoch {event.lease_epoch}, and the one after "
        f"epoch {last} is {last + 1}"
    )


def instance(name: str, tenure: Tenure, before: Tenure) -> str:
    """Tell of an instance that has two leases, for all it knows."""
    return (
        f"instance {_shown(name)} of {named(tenure.worker_id)} took epoch "
        f"{tenure.lease_epoch}, and nothing had told it that its lease of epoch "
        f"{before.lease_epoch} was over"
    )


def foreign(event: DomainEvent, lease_epoch: int | None, tenure: Tenure | None) -> str:
    """Tell of a write that does not come from the holder of the open tenure."""
    by = f" of {named(event.worker_id)}" if isinstance(event, AttemptEvent) else ""
    return (
        f"{event.TOPIC}{by} under epoch {lease_epoch} was accepted at "
        f"{_time(event.occurred_at_ms)}, while {_standing(tenure)}"
    )


def late(event: DomainEvent, tenure: Tenure) -> str:
    """Tell of a write that came after the expiry."""
    at_ms = event.occurred_at_ms
    after_ms = max(0, at_ms - tenure.expires_at_ms)
    return (
        f"{event.TOPIC} of {named(tenure.worker_id)} under epoch {tenure.lease_epoch} "
        f"was accepted at {_time(at_ms)}, {_long(after_ms)} after its lease had run out"
    )


def early(event: DomainEvent, tenure: Tenure, what: str) -> str:
    """Tell of a lease that was ended before its time."""
    return f"{what} at {_time(event.occurred_at_ms)}, while {_standing(tenure)}"


def changed_renewal(event: AttemptLeaseRenewed, tenure: Tenure) -> str:
    """Tell of a renewal that names another lease, epoch, attempt or holder."""
    return (
        f"the renewal at {_time(event.occurred_at_ms)} names lease {event.lease_id}, "
        f"epoch {event.lease_epoch}, attempt {event.attempt_index} and "
        f"{named(event.worker_id)}, while {_standing(tenure)}"
    )


def short_renewal(event: AttemptLeaseRenewed, tenure: Tenure) -> str:
    """Tell of a renewal that does not lengthen the lease."""
    return (
        f"the renewal at {_time(event.occurred_at_ms)} does not lengthen the lease of "
        f"epoch {tenure.lease_epoch}: it ran until {_time(tenure.expires_at_ms)} and "
        f"now runs until {_time(event.lease_expires_at_ms)}"
    )


def headroom(tenure: Tenure, headroom_ms: int) -> str:
    """Tell of a renewal at the last moment."""
    return (
        f"{named(tenure.worker_id)} renewed epoch {tenure.lease_epoch} with "
        f"{_long(headroom_ms)} of {_long(tenure.lease_ttl_ms)} left"
    )


def idle(tenure: Tenure) -> str:
    """Tell of a holder that keeps its lease and shows no progress."""
    return (
        f"{named(tenure.worker_id)} renewed epoch {tenure.lease_epoch} "
        f"{tenure.idle_renewals} times in a row without progress or a frame"
    )


def after_the_end(event: DomainEvent, ended: str) -> str:
    """Tell of an event of an execution that had ended."""
    return f"{event.TOPIC} follows {ended}, which had ended the execution"


def misplaced(event: DomainEvent) -> str:
    """Tell of a history that does not begin with its creation, or has two."""
    if isinstance(event, ExecutionCreated):
        return "the execution was created before"
    return f"{event.TOPIC} stands before the creation of its execution"


def regression(event: DomainEvent, last_ms: int) -> str:
    """Tell of a clock that stepped back."""
    at_ms, clock_ms = event.occurred_at_ms, event.clock_at_ms
    if clock_ms is None:
        return (
            f"{event.TOPIC} is recorded at {_time(at_ms)}, {_long(last_ms - at_ms)} "
            "before an earlier event"
        )
    return (
        f"the clock read {_time(clock_ms)} at {event.TOPIC}, "
        f"{_long(at_ms - clock_ms)} before what was recorded already"
    )


def refusal(event: RefusalRecorded, current_epoch: int) -> str:
    """Tell of a write that was turned away: who, what, which epoch, how late."""
    late_ms = event.late_ms
    when = "" if late_ms is None else f", which had ended {_long(late_ms)} before"
    return (
        f"{event.operation} of {named(event.worker_id)} was refused ({event.cause}): "
        f"it presented epoch {event.lease_epoch}{when}; the current one was "
        f"{current_epoch} (refusal {event.refused_count} of its handle)"
    )


def orphan(tenure: Tenure, *, lost_at_ms: int, now_ms: int) -> str:
    """Tell of a lease that was lost and that nobody has taken over."""
    is_revoked = tenure.lease_state is LeaseState.REVOKED
    how = "was revoked" if is_revoked else "ran out"
    return (
        f"{_held(tenure)} {how} at {_time(lost_at_ms)}, "
        f"{_long(max(0, now_ms - lost_at_ms))} before this audit, and nobody has taken "
        "the execution"
    )
