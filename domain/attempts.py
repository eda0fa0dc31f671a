"""The Attempt aggregate: one worker's try, with the lease that it is held under.

Events, the state folded from them, the fold, and the decisions. The guard that all
worker calls pass is in `guard`; what Execution has a part in is in `transitions`.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Literal, assert_never
from uuid import UUID

from leasehold.domain.events import DomainEvent, LeaseFacts
from leasehold.domain.states import (
    FailureClass,
    LeaseCause,
    Outcome,
    TerminalCause,
)


class LeaseState(StrEnum):
    """Tell what became of the lease that an attempt was last held under."""

    HELD = "held"
    EXPIRED = "expired"
    REVOKED = "revoked"
    ENDED = "ended"


class AttemptEvent(DomainEvent):
    """What every event of an attempt says: the attempt, the lease and its holder."""

    attempt_index: int
    lease_id: UUID
    lease_epoch: int
    worker_id: str
    worker_instance_id: str | None = None


class AttemptStarted(AttemptEvent):
    """A claim started the attempt under a new lease."""

    TOPIC: ClassVar[str] = "attempt.started"

    lane_id: str
    lease_ttl_ms: int
    lease_expires_at_ms: int
    taken_over: bool


class AttemptProgressed(AttemptEvent):
    """The holder reported how far it is; a field that was not given is None."""

    TOPIC: ClassVar[str] = "attempt.progressed"

    percent: int | float | None = None
    message: str | None = None


class AttemptLeaseRenewed(AttemptEvent):
    """The holder extended its lease."""

    TOPIC: ClassVar[str] = "attempt.lease_renewed"

    lease_expires_at_ms: int


class AttemptLeaseExpired(AttemptEvent):
    """Someone noticed that the lease had run out."""

    TOPIC: ClassVar[str] = "attempt.lease_expired"

    lease_expires_at_ms: int
    cause: Literal[LeaseCause.SWEEP, LeaseCause.CLAIM]


class AttemptLeaseReclaimed(AttemptEvent):
    """A worker resumed the attempt with a grant, under a new lease."""

    TOPIC: ClassVar[str] = "attempt.lease_reclaimed"

    grant_id: UUID
    lease_ttl_ms: int
    lease_expires_at_ms: int


class AttemptLeaseRevoked(AttemptEvent):
    """An operator took the lease away."""

    TOPIC: ClassVar[str] = "attempt.lease_revoked"

    lease_expires_at_ms: int | None = None
    actor: str
    reason: str


class AttemptInterrupted(AttemptEvent):
    """A claim closed the attempt, whose lease had run out or was revoked."""

    TOPIC: ClassVar[str] = "attempt.interrupted"


class AttemptSucceeded(AttemptEvent):
    """The holder finished the work."""

    TOPIC: ClassVar[str] = "attempt.succeeded"

    lease_expires_at_ms: int | None = None
    result_sha256: str | None = None


class AttemptFailed(AttemptEvent):
    """The holder reported that the try failed, and what followed from it."""

    TOPIC: ClassVar[str] = "attempt.failed"

    lease_expires_at_ms: int | None = None
    failure_class: FailureClass
    failure_message: str
    failure_detail: str | None = None
    retry_at_ms: int | None = None
    terminal_cause: TerminalCause | None = None


class AttemptCancelled(AttemptEvent):
    """An operator ended the execution under the attempt."""

    TOPIC: ClassVar[str] = "attempt.cancelled"

    lease_expires_at_ms: int | None = None
    actor: str


class AttemptDeadlinePassed(AttemptEvent):
    """The execution's deadline passed under the attempt."""

    TOPIC: ClassVar[str] = "attempt.deadline_passed"

    lease_expires_at_ms: int | None = None


AttemptEnd = (
    AttemptInterrupted
    | AttemptSucceeded
    | AttemptFailed
    | AttemptCancelled
    | AttemptDeadlinePassed
)
AnyAttemptEvent = (
    AttemptStarted
    | AttemptProgressed
    | AttemptLeaseRenewed
    | AttemptLeaseExpired
    | AttemptLeaseReclaimed
    | AttemptLeaseRevoked
    | AttemptEnd
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What decisions need to know of an attempt and its lease.

    Attributes:
        lease_ttl_ms: What a renewal adds to now.
        lease_expires_at_ms: None once the lease has ended or its expiry is recorded.
        lease_ended_at_ms: When the lease ended or, with its expiry recorded, ran out.
        outcome: How the attempt ended; None while it goes on.
    """

    execution_id: UUID
    attempt_index: int
    worker_id: str
    worker_instance_id: str | None
    lease_id: UUID
    lease_epoch: int
    lease_ttl_ms: int
    lease_state: LeaseState
    lease_expires_at_ms: int | None
    lease_ended_at_ms: int | None
    outcome: Outcome | None

    @property
    def facts(self) -> LeaseFacts:
        """What each event of the attempt says about its lease."""
        return {
            "execution_id": self.execution_id,
            "attempt_index": self.attempt_index,
            "lease_id": self.lease_id,
            "lease_epoch": self.lease_epoch,
            "worker_id": self.worker_id,
            "worker_instance_id": self.worker_instance_id,
        }

    def has_run_out(self, *, now_ms: int) -> bool:
        """Say whether the lease ran out, be that recorded or not."""
        return self.lease_state is LeaseState.EXPIRED or (
            self.lease_expires_at_ms is not None and now_ms >= self.lease_expires_at_ms
        )

    def is_free(self, *, now_ms: int) -> bool:
        """Say whether the lease no longer keeps others away."""
        return self.lease_state is LeaseState.REVOKED or self.has_run_out(now_ms=now_ms)


def evolve(attempt: Attempt | None, event: AnyAttemptEvent) -> Attempt:
    """Fold one event of the stream into the state.

    Raises:
        ValueError: The stream does not begin with `attempt.started`, or has two.
    """
    if isinstance(event, AttemptStarted):
        if attempt is not None:
            message = "an attempt starts once"
            raise ValueError(message)
        return _started(event)
    if attempt is None:
        message = f"a stream begins with {AttemptStarted.TOPIC}, not {event.TOPIC}"
        raise ValueError(message)
    match event:
        case AttemptProgressed():
            return attempt
        case AttemptLeaseRenewed():
            return replace(attempt, lease_expires_at_ms=event.lease_expires_at_ms)
        case AttemptLeaseExpired():
            return replace(
                attempt,
                lease_state=LeaseState.EXPIRED,
                lease_expires_at_ms=None,
                lease_ended_at_ms=event.lease_expires_at_ms,
            )
        case AttemptLeaseReclaimed():
            return replace(
                attempt,
                worker_id=event.worker_id,
                worker_instance_id=event.worker_instance_id,
                lease_id=event.lease_id,
                lease_epoch=event.lease_epoch,
                lease_ttl_ms=event.lease_ttl_ms,
                lease_state=LeaseState.HELD,
                lease_expires_at_ms=event.lease_expires_at_ms,
                lease_ended_at_ms=None,
            )
        case AttemptLeaseRevoked():
            return replace(
                attempt,
                lease_state=LeaseState.REVOKED,
                lease_expires_at_ms=None,
                lease_ended_at_ms=event.occurred_at_ms,
            )
        case _:
            return _closed(attempt, event)


def _started(event: AttemptStarted) -> Attempt:
    return Attempt(
        execution_id=event.execution_id,
        attempt_index=event.attempt_index,
        worker_id=event.worker_id,
        worker_instance_id=event.worker_instance_id,
        lease_id=event.lease_id,
        lease_epoch=event.lease_epoch,
        lease_ttl_ms=event.lease_ttl_ms,
        lease_state=LeaseState.HELD,
        lease_expires_at_ms=event.lease_expires_at_ms,
        lease_ended_at_ms=None,
        outcome=None,
    )


def _closed(attempt: Attempt, event: AttemptEnd) -> Attempt:
    ended_at_ms = attempt.lease_ended_at_ms
    if attempt.lease_expires_at_ms is not None:
        ended_at_ms = min(event.occurred_at_ms, attempt.lease_expires_at_ms)
    return replace(
        attempt,
        lease_state=LeaseState.ENDED,
        lease_expires_at_ms=None,
        lease_ended_at_ms=ended_at_ms,
        outcome=outcome_of(event),
    )


def outcome_of(event: AttemptEnd) -> Outcome:
    """Return the outcome that an event closes its attempt with."""
    match event:
        case AttemptInterrupted():
            return Outcome.INTERRUPTED_RECLAIMED
        case AttemptSucceeded():
            return Outcome.SUCCESS
        case AttemptFailed():
            return Outcome.FAILED if event.retry_at_ms is None else Outcome.RETRY
        case AttemptCancelled():
            return Outcome.CANCELLED
        case AttemptDeadlinePassed():
            return Outcome.EXPIRED
        case _:
            assert_never(event)


def renew(attempt: Attempt, *, now_ms: int) -> AttemptLeaseRenewed:
    """Extend the lease by its ttl, counted from now; at least 1 ms later than before.

    The caller has passed the guard, so that the lease is held.
    """
    before_ms = attempt.lease_expires_at_ms or 0
    return AttemptLeaseRenewed(
        **attempt.facts,
        occurred_at_ms=now_ms,
        lease_expires_at_ms=max(now_ms + attempt.lease_ttl_ms, before_ms + 1),
    )


def progress(
    attempt: Attempt, *, percent: float | None, message: str | None, now_ms: int
) -> tuple[AttemptProgressed, ...]:
    """Report how far the work is; nothing where neither field is given."""
    if percent is None and message is None:
        return ()
    return (
        AttemptProgressed(
            **attempt.facts, occurred_at_ms=now_ms, percent=percent, message=message
        ),
    )


def expire_lease(
    attempt: Attempt,
    *,
    cause: Literal[LeaseCause.SWEEP, LeaseCause.CLAIM],
    now_ms: int,
) -> tuple[AttemptLeaseExpired, ...]:
    """Record that the lease ran out, where it has and nobody has recorded it."""
    expires_at_ms = attempt.lease_expires_at_ms
    if expires_at_ms is None or now_ms < expires_at_ms:
        return ()
    return (
        AttemptLeaseExpired(
            **attempt.facts,
            occurred_at_ms=now_ms,
            lease_expires_at_ms=expires_at_ms,
            cause=cause,
        ),
    )
