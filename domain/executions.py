"""The Execution aggregate: one unit of work, from its creation to its end.

Events, the state folded from them, the fold, and the decisions. Leases belong to
the Attempt aggregate (`attempts`); what both have a part in is in `transitions`.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar, assert_never
from uuid import UUID

from leasehold.domain.errors import (
    ExecutionNotActiveError,
    IllegalTransitionError,
)
from leasehold.domain.events import DomainEvent, LeaseFacts
from leasehold.domain.retries import RetryPolicy
from leasehold.domain.states import (
    RETRIED_CLASSES,
    EligibilityState,
    FailureClass,
    LifecyclePhase,
    Outcome,
    PublicState,
    TerminalCause,
    public_state,
)


class ExecutionCreated(DomainEvent):
    """Someone submitted a unit of work."""

    TOPIC: ClassVar[str] = "execution.created"

    namespace: str
    lane_id: str
    payload: bytes
    capabilities: tuple[str, ...]
    priority: int
    idempotency_key: str | None = None
    eligible_at_ms: int
    due: bool
    deadline_at_ms: int | None = None
    retry_policy: RetryPolicy
    max_reclaim_count: int
    tags: dict[str, str]
    actor: str | None = None
    arguments_sha256: str


class ExecutionBecameEligible(DomainEvent):
    """The delay ran out; a claim may take the execution."""

    TOPIC: ClassVar[str] = "execution.became_eligible"

    eligible_at_ms: int


class ExecutionClaimed(DomainEvent):
    """A worker claimed the execution, which starts an attempt."""

    TOPIC: ClassVar[str] = "execution.claimed"

    attempt_index: int
    lease_id: UUID
    lease_epoch: int
    worker_id: str
    lease_reclaim_count: int


class ExecutionResumeGrantIssued(DomainEvent):
    """Someone granted a worker the right to resume the current attempt."""

    TOPIC: ClassVar[str] = "execution.resume_grant_issued"

    grant_id: UUID
    worker_id: str
    expires_at_ms: int
    actor: str | None = None


class ExecutionReprioritised(DomainEvent):
    """An operator changed the priority."""

    TOPIC: ClassVar[str] = "execution.reprioritised"

    priority: int
    actor: str


class ExecutionRetryScheduled(DomainEvent):
    """The attempt failed in a way that is tried again."""

    TOPIC: ClassVar[str] = "execution.retry_scheduled"

    attempt_index: int
    lease_id: UUID
    lease_epoch: int
    retry_count: int
    eligible_at_ms: int
    due: bool
    failure_message: str


class ExecutionFailed(DomainEvent):
    """The execution failed for good.

    A failure that no worker reported (too many take-overs) has no lease and no
    message.
    """

    TOPIC: ClassVar[str] = "execution.failed"

    cause: TerminalCause
    lease_id: UUID | None = None
    lease_epoch: int | None = None
    failure_message: str | None = None


class ExecutionCompleted(DomainEvent):
    """The worker finished the work."""

    TOPIC: ClassVar[str] = "execution.completed"

    lease_id: UUID
    lease_epoch: int
    result: bytes | None = None


class ExecutionCancelled(DomainEvent):
    """An operator ended the execution."""

    TOPIC: ClassVar[str] = "execution.cancelled"

    actor: str
    reason: str


class ExecutionExpired(DomainEvent):
    """The deadline passed before the execution ended."""

    TOPIC: ClassVar[str] = "execution.expired"

    deadline_at_ms: int


class ExecutionReplayed(DomainEvent):
    """An operator reopened a terminal execution."""

    TOPIC: ClassVar[str] = "execution.replayed"

    attempt_index: int
    actor: str
    reason: str


ExecutionEvent = (
    ExecutionCreated
    | ExecutionBecameEligible
    | ExecutionClaimed
    | ExecutionResumeGrantIssued
    | ExecutionReprioritised
    | ExecutionRetryScheduled
    | ExecutionFailed
    | ExecutionCompleted
    | ExecutionCancelled
    | ExecutionExpired
    | ExecutionReplayed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What decisions need to know of an execution.

    Attributes:
        due: While runnable, whether a claim may take it.
        outcome: How it ended; None before that.
        attempt_index: The current attempt, or while runnable the next one.
        attempts_started: How many attempts were ever started.
    """

    execution_id: UUID
    lane_id: str
    lifecycle_phase: LifecyclePhase
    due: bool
    outcome: Outcome | None
    priority: int
    eligible_at_ms: int
    deadline_at_ms: int | None
    attempt_index: int
    attempts_started: int
    retry_policy: RetryPolicy
    retry_count: int
    max_reclaim_count: int
    lease_reclaim_count: int

    @property
    def public_state(self) -> PublicState:
        """The state that users are shown."""
        eligibility = (
            EligibilityState.ELIGIBLE_NOW
            if self.due
            else EligibilityState.NOT_ELIGIBLE_UNTIL_TIME
        )
        return public_state(self.lifecycle_phase, eligibility, self.outcome)


def evolve(execution: Execution | None, event: ExecutionEvent) -> Execution:
    """Fold one event of the stream into the state.

    Raises:
        ValueError: The stream does not begin with `execution.created`, or has two.
    """
    if isinstance(event, ExecutionCreated):
        if execution is not None:
            message = "a stream is created once"
            raise ValueError(message)
        return _created(event)
    if execution is None:
        message = f"a stream begins with {ExecutionCreated.TOPIC}, not {event.TOPIC}"
        raise ValueError(message)
    return _evolve(execution, event)


def _created(event: ExecutionCreated) -> Execution:
    return Execution(
        execution_id=event.execution_id,
        lane_id=event.lane_id,
        lifecycle_phase=LifecyclePhase.RUNNABLE,
        due=event.due,
        outcome=None,
        priority=event.priority,
        eligible_at_ms=event.eligible_at_ms,
        deadline_at_ms=event.deadline_at_ms,
        attempt_index=0,
        attempts_started=0,
        retry_policy=event.retry_policy,
        retry_count=0,
        max_reclaim_count=event.max_reclaim_count,
        lease_reclaim_count=0,
    )


def _evolve(
    execution: Execution,
    event: ExecutionBecameEligible
    | ExecutionClaimed
    | ExecutionResumeGrantIssued
    | ExecutionReprioritised
    | ExecutionRetryScheduled
    | ExecutionFailed
    | ExecutionCompleted
    | ExecutionCancelled
    | ExecutionExpired
    | ExecutionReplayed,
) -> Execution:
    match event:
        case ExecutionBecameEligible():
            return replace(execution, due=True)
        case ExecutionClaimed():
            return replace(
                execution,
                lifecycle_phase=LifecyclePhase.ACTIVE,
                due=False,
                attempt_index=event.attempt_index,
                attempts_started=event.attempt_index + 1,
                lease_reclaim_count=event.lease_reclaim_count,
            )
        case ExecutionResumeGrantIssued():
            return execution
        case ExecutionReprioritised():
            return replace(execution, priority=event.priority)
        case ExecutionRetryScheduled():
            return replace(
                execution,
                lifecycle_phase=LifecyclePhase.RUNNABLE,
                due=event.due,
                eligible_at_ms=event.eligible_at_ms,
                attempt_index=event.attempt_index,
                retry_count=event.retry_count,
            )
        case ExecutionFailed():
            return _ended(execution, Outcome.FAILED)
        case ExecutionCompleted():
            return _ended(execution, Outcome.SUCCESS)
        case ExecutionCancelled():
            return _ended(execution, Outcome.CANCELLED)
        case ExecutionExpired():
            return _ended(execution, Outcome.EXPIRED)
        case ExecutionReplayed():
            return replace(
                execution,
                lifecycle_phase=LifecyclePhase.RUNNABLE,
                due=True,
                outcome=None,
                eligible_at_ms=event.occurred_at_ms,
                deadline_at_ms=None,
                attempt_index=event.attempt_index,
                retry_count=0,
                lease_reclaim_count=0,
            )
        case _:
            assert_never(event)


def _ended(execution: Execution, outcome: Outcome) -> Execution:
    return replace(
        execution,
        lifecycle_phase=LifecyclePhase.TERMINAL,
        due=False,
        outcome=outcome,
    )


def satisfies(offered: Collection[str], required: Collection[str]) -> bool:
    """Say whether a worker's capabilities include all that an execution requires."""
    return all(token in offered for token in required)


def is_past_deadline(execution: Execution, *, now_ms: int) -> bool:
    """Say whether a live execution's deadline has been reached."""
    return (
        execution.lifecycle_phase is not LifecyclePhase.TERMINAL
        and execution.deadline_at_ms is not None
        and now_ms >= execution.deadline_at_ms
    )


def check_active(execution: Execution, *, last_lease: str = "") -> None:
    """Refuse where no worker has the execution.

    Args:
        execution: As it stands.
        last_lease: For the message: what became of the last lease on it.

    Raises:
        ExecutionNotActiveError: It is runnable or terminal.
    """
    if execution.lifecycle_phase is not LifecyclePhase.ACTIVE:
        state = execution.public_state
        advice = (
            "stop the work"
            if execution.lifecycle_phase is LifecyclePhase.TERMINAL
            else "claim again to work on it"
        )
        message = f"execution {execution.execution_id} is {state}{last_lease}: {advice}"
        raise ExecutionNotActiveError(
            message,
            lifecycle_phase=execution.lifecycle_phase,
            public_state=state,
        )


def become_eligible(
    execution: Execution, *, now_ms: int
) -> tuple[ExecutionBecameEligible, ...]:
    """Record that the delay ran out, where it has."""
    if (
        execution.lifecycle_phase is not LifecyclePhase.RUNNABLE
        or execution.due
        or now_ms < execution.eligible_at_ms
    ):
        return ()
    return (
        ExecutionBecameEligible(
            execution_id=execution.execution_id,
            occurred_at_ms=now_ms,
            eligible_at_ms=execution.eligible_at_ms,
        ),
    )


def settle_failure(  # noqa: PLR0913 - a failure has this many facts
    execution: Execution,
    lease: LeaseFacts,
    *,
    failure_class: FailureClass,
    failure_message: str,
    jitter_draw: float,
    now_ms: int,
) -> ExecutionRetryScheduled | ExecutionFailed:
    """Decide whether a failed attempt is followed by another one.

    Args:
        execution: Active.
        lease: Of the attempt that failed.
        failure_class: Only TRANSIENT and INFRA_CRASH are retried.
        failure_message: For the people who look at the execution.
        jitter_draw: Evenly drawn from [−1, 1], for the backoff.
        now_ms: The time of the failure.
    """
    if failure_class not in RETRIED_CLASSES:
        cause = TerminalCause.NOT_RETRYABLE
    elif execution.retry_count >= execution.retry_policy.max_retries:
        cause = TerminalCause.RETRIES_EXHAUSTED
    else:
        wait_ms = execution.retry_policy.backoff.wait_ms(
            execution.retry_count, jitter_draw
        )
        return ExecutionRetryScheduled(
            execution_id=execution.execution_id,
            occurred_at_ms=now_ms,
            attempt_index=execution.attempts_started,
            lease_id=lease["lease_id"],
            lease_epoch=lease["lease_epoch"],
            retry_count=execution.retry_count + 1,
            eligible_at_ms=now_ms + wait_ms,
            due=wait_ms == 0,
            failure_message=failure_message,
        )
    return ExecutionFailed(
        execution_id=execution.execution_id,
        occurred_at_ms=now_ms,
        cause=cause,
        lease_id=lease["lease_id"],
        lease_epoch=lease["lease_epoch"],
        failure_message=failure_message,
    )


def reprioritise(
    execution: Execution, *, priority: int, actor: str, now_ms: int
) -> tuple[ExecutionReprioritised, ...]:
    """Change the priority; empty where it is so already.

    Raises:
        IllegalTransitionError: The execution is terminal.
    """
    if execution.lifecycle_phase is LifecyclePhase.TERMINAL:
        raise refuse_transition(execution, "change the priority of", "has ended")
    if execution.priority == priority:
        return ()
    return (
        ExecutionReprioritised(
            execution_id=execution.execution_id,
            occurred_at_ms=now_ms,
            priority=priority,
            actor=actor,
        ),
    )


def issue_resume_grant(  # noqa: PLR0913 - a grant has this many facts
    execution: Execution,
    *,
    grant_id: UUID,
    worker_id: str,
    ttl_ms: int,
    actor: str | None,
    now_ms: int,
) -> ExecutionResumeGrantIssued:
    """Grant a worker the right to resume the current attempt.

    Raises:
        ExecutionNotActiveError: There is no attempt to resume.
    """
    check_active(execution)
    return ExecutionResumeGrantIssued(
        execution_id=execution.execution_id,
        occurred_at_ms=now_ms,
        grant_id=grant_id,
        worker_id=worker_id,
        expires_at_ms=now_ms + ttl_ms,
        actor=actor,
    )


def reopen(
    execution: Execution, *, actor: str, reason: str, now_ms: int
) -> ExecutionReplayed:
    """Reopen a terminal execution.

    Raises:
        IllegalTransitionError: It has not ended.
    """
    if execution.lifecycle_phase is not LifecyclePhase.TERMINAL:
        raise refuse_transition(execution, "replay", "has not ended; cancel it first")
    return ExecutionReplayed(
        execution_id=execution.execution_id,
        occurred_at_ms=now_ms,
        attempt_index=execution.attempts_started,
        actor=actor,
        reason=reason,
    )


def refuse_transition(
    execution: Execution, verb: str, why: str
) -> IllegalTransitionError:
    """Make the error that says which state stood in the way."""
    return IllegalTransitionError(
        f"cannot {verb} execution {execution.execution_id}: "
        f"it is {execution.public_state} and {why}"
    )
