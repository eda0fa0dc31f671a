"""What the events of a call count as in the live figures.

A pure function of the events and of the attempt that they were decided on, so that
the operations need not know what is counted.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from leasehold.domain.attempts import (
    Attempt,
    AttemptLeaseExpired,
    AttemptLeaseReclaimed,
    AttemptLeaseRenewed,
    AttemptStarted,
)
from leasehold.domain.events import DomainEvent
from leasehold.domain.executions import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionExpired,
    ExecutionFailed,
    ExecutionRetryScheduled,
)


class Figure(StrEnum):
    """Name what is counted, one for each thing that happened."""

    CREATED = "created"
    FRESH = "fresh"
    RESUMED = "resumed"
    RECLAIMED = "reclaimed"
    EMPTY = "empty"
    RENEWED = "renewed"
    LEASE_EXPIRED = "lease_expired"
    COMPLETED = "completed"
    FAILED = "failed"
    RETRIED = "retried"
    CANCELLED = "cancelled"
    DEADLINE_PASSED = "deadline_passed"


Fact = tuple[Figure, int | None]
"""What happened, and the time in ms that goes with it: of a take-over the time since
the lease had lapsed, of a renewal the time that was left."""

Rule = Callable[[Any, Attempt | None], Fact]
"""Return what an event counts as.

It is given the event, and the last attempt as it stood before; None where there was
none.
"""

_FRESH: Final[Fact] = (Figure.FRESH, None)
_RENEWED: Final = Figure.RENEWED  # Python 3.11 takes its time to find a member.


def _started(event: AttemptStarted, last: Attempt | None) -> Fact:
    if not event.taken_over:
        return _FRESH
    return Figure.RECLAIMED, _since_lapse(event, last)


def _resumed(event: AttemptLeaseReclaimed, last: Attempt | None) -> Fact:
    return Figure.RESUMED, _since_lapse(event, last)


def _renewed(event: AttemptLeaseRenewed, last: Attempt | None) -> Fact:
    if last is None or last.lease_expires_at_ms is None:
        return _RENEWED, None
    return _RENEWED, last.lease_expires_at_ms - event.occurred_at_ms


def _since_lapse(event: DomainEvent, last: Attempt | None) -> int | None:
    """Return how long a lease had run out or been revoked when it was taken over."""
    if last is None:
        return None
    lapsed_at_ms = last.lease_ended_at_ms
    if lapsed_at_ms is None:
        lapsed_at_ms = last.lease_expires_at_ms
    return None if lapsed_at_ms is None else event.occurred_at_ms - lapsed_at_ms


def _counted(figure: Figure) -> Rule:
    fact: Fact = (figure, None)
    return lambda _event, _last: fact


RULES: Final[Mapping[type[DomainEvent], Rule]] = {
    AttemptLeaseExpired: _counted(Figure.LEASE_EXPIRED),
    AttemptLeaseReclaimed: _resumed,
    AttemptLeaseRenewed: _renewed,
    AttemptStarted: _started,
    ExecutionCancelled: _counted(Figure.CANCELLED),
    ExecutionCompleted: _counted(Figure.COMPLETED),
    ExecutionCreated: _counted(Figure.CREATED),
    ExecutionExpired: _counted(Figure.DEADLINE_PASSED),
    ExecutionFailed: _counted(Figure.FAILED),
    ExecutionRetryScheduled: _counted(Figure.RETRIED),
}
"""By the type of the event; the others count as nothing."""
