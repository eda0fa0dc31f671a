"""The decisions that Execution and Attempt both have a part in.

One function for each operation that writes to both streams; the events come in the
order in which they are stored.
"""

import hashlib
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from leasehold.domain import attempts, executions
from leasehold.domain.attempts import (
    Attempt,
    AttemptCancelled,
    AttemptDeadlinePassed,
    AttemptFailed,
    AttemptInterrupted,
    AttemptLeaseExpired,
    AttemptLeaseReclaimed,
    AttemptLeaseRevoked,
    AttemptStarted,
    AttemptSucceeded,
)
from leasehold.domain.events import DomainEvent
from leasehold.domain.executions import (
    Execution,
    ExecutionCancelled,
    ExecutionClaimed,
    ExecutionCompleted,
    ExecutionExpired,
    ExecutionFailed,
    ExecutionRetryScheduled,
    refuse_transition,
)
from leasehold.domain.states import (
    FailureClass,
    LeaseCause,
    LifecyclePhase,
    Outcome,
    TerminalCause,
)

Events = tuple[DomainEvent, ...]

FIRST_EPOCH: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLease:
    """Who takes a lease, and for how long.

    Attributes:
        lease_id: Random, drawn by the caller.
        lease_ttl_ms: 1 … 86,400,000.
    """

    lease_id: UUID
    lease_ttl_ms: int
    worker_id: str
    worker_instance_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReport:
    """What a worker says about a failure."""

    failure_class: FailureClass
    message: str
    detail: str | None


def claim(
    execution: Execution, last: Attempt | None, lease: NewLease, *, now_ms: int
) -> tuple[ExecutionClaimed, AttemptStarted]:
    """Start the next attempt of a runnable execution.

    Args:
        execution: Runnable and due.
        last: The last attempt that was started, if any: its epoch goes on.
        lease: The new holder.
        now_ms: The time of the claim.

    Raises:
        IllegalTransitionError: It is not runnable and due.
    """
    if execution.lifecycle_phase is not LifecyclePhase.RUNNABLE or not execution.due:
        raise refuse_transition(execution, "claim", "not due to be claimed")
    return _start(execution, last, lease, taken_over=False, now_ms=now_ms)


def take_over(
    execution: Execution, last: Attempt, lease: NewLease, *, now_ms: int
) -> Events:
    """Start the next attempt after a lease that ran out or was revoked.

    Past the execution's `max_reclaim_count` it fails instead, with the cause
    `reclaims_exhausted`.

    Args:
        execution: Active.
        last: Its attempt, whose lease is free.
        lease: The new holder.
        now_ms: The time of the claim.

    Raises:
        IllegalTransitionError: It is not active, or its lease still stands.
    """
    if execution.lifecycle_phase is not LifecyclePhase.ACTIVE or not last.is_free(
        now_ms=now_ms
    ):
        raise refuse_transition(execution, "take over", "its lease is not free")
    closing: list[DomainEvent] = []
    closing += attempts.expire_lease(last, cause=LeaseCause.CLAIM, now_ms=now_ms)
    closing.append(AttemptInterrupted(**last.facts, occurred_at_ms=now_ms))
    if execution.lease_reclaim_count >= execution.max_reclaim_count:
        closing.append(
            ExecutionFailed(
                execution_id=execution.execution_id,
                occurred_at_ms=now_ms,
                cause=TerminalCause.RECLAIMS_EXHAUSTED,
            )
        )
        return tuple(closing)
    started = _start(execution, last, lease, taken_over=True, now_ms=now_ms)
    return (*closing, *started)


def _start(
    execution: Execution,
    last: Attempt | None,
    lease: NewLease,
    *,
    taken_over: bool,
    now_ms: int,
) -> tuple[ExecutionClaimed, AttemptStarted]:
    attempt_index = execution.attempts_started
    lease_epoch = FIRST_EPOCH if last is None else last.lease_epoch + 1
    claimed = ExecutionClaimed(
        execution_id=execution.execution_id,
        occurred_at_ms=now_ms,
        attempt_index=attempt_index,
        lease_id=lease.lease_id,
        lease_epoch=lease_epoch,
        worker_id=lease.worker_id,
        lease_reclaim_count=execution.lease_reclaim_count + taken_over,
    )
    started = AttemptStarted(
        execution_id=execution.execution_id,
        occurred_at_ms=now_ms,
        attempt_index=attempt_index,
        lease_id=lease.lease_id,
        lease_epoch=lease_epoch,
        worker_id=lease.worker_id,
        worker_instance_id=lease.worker_instance_id,
        lane_id=execution.lane_id,
        lease_ttl_ms=lease.lease_ttl_ms,
        lease_expires_at_ms=now_ms + lease.lease_ttl_ms,
        taken_over=taken_over,
    )
    return claimed, started


def resume(
    last: Attempt, lease: NewLease, *, grant_id: UUID, now_ms: int
) -> AttemptLeaseReclaimed | None:
    """Go on with the same attempt under the next epoch.

    None where the lease still stands.
    """
    if not last.is_free(now_ms=now_ms):
        return None
    return AttemptLeaseReclaimed(
        execution_id=last.execution_id,
        occurred_at_ms=now_ms,
        attempt_index=last.attempt_index,
        lease_id=lease.lease_id,
        lease_epoch=last.lease_epoch + 1,
        worker_id=lease.worker_id,
        worker_instance_id=lease.worker_instance_id,
        grant_id=grant_id,
        lease_ttl_ms=lease.lease_ttl_ms,
        lease_expires_at_ms=now_ms + lease.lease_ttl_ms,
    )


def record_expiry(
    execution: Execution,
    attempt: Attempt | None,
    *,
    cause: Literal[LeaseCause.SWEEP, LeaseCause.CLAIM],
    now_ms: int,
) -> tuple[AttemptLeaseExpired, ...]:
    """Record that the current lease ran out, where it has."""
    if attempt is None or execution.lifecycle_phase is not LifecyclePhase.ACTIVE:
        return ()
    return attempts.expire_lease(attempt, cause=cause, now_ms=now_ms)


def complete(
    execution: Execution, attempt: Attempt, *, result: bytes | None, now_ms: int
) -> tuple[AttemptSucceeded, ExecutionCompleted]:
    """End the execution with success; the caller has passed the guard."""
    return (
        AttemptSucceeded(
            **attempt.facts,
            occurred_at_ms=now_ms,
            lease_expires_at_ms=attempt.lease_expires_at_ms,
            result_sha256=digest_of(result),
        ),
        ExecutionCompleted(
            execution_id=execution.execution_id,
            occurred_at_ms=now_ms,
            lease_id=attempt.lease_id,
            lease_epoch=attempt.lease_epoch,
            result=result,
        ),
    )


def fail(
    execution: Execution,
    attempt: Attempt,
    report: FailureReport,
    *,
    jitter_draw: float,
    now_ms: int,
) -> tuple[AttemptFailed, ExecutionRetryScheduled | ExecutionFailed]:
    """Close the attempt, and retry or end; the caller has passed the guard."""
    settled = executions.settle_failure(
        execution,
        attempt.facts,
        failure_class=report.failure_class,
        failure_message=report.message,
        jitter_draw=jitter_draw,
        now_ms=now_ms,
    )
    retry_at_ms, cause = None, None
    if isinstance(settled, ExecutionRetryScheduled):
        retry_at_ms = settled.eligible_at_ms
    else:
        cause = settled.cause
    failed = AttemptFailed(
        **attempt.facts,
        occurred_at_ms=now_ms,
        lease_expires_at_ms=attempt.lease_expires_at_ms,
        failure_class=report.failure_class,
        failure_message=report.message,
        failure_detail=report.detail,
        retry_at_ms=retry_at_ms,
        terminal_cause=cause,
    )
    return failed, settled


def digest_of(result: bytes | None) -> str | None:
    """Return what a repeated `complete` is compared by: SHA-256 in hex."""
    return None if result is None else hashlib.sha256(result).hexdigest()


def revoke(
    execution: Execution,
    attempt: Attempt | None,
    *,
    actor: str,
    reason: str,
    now_ms: int,
) -> AttemptLeaseRevoked:
    """Take a live lease away.

    Raises:
        IllegalTransitionError: There is no live lease.
    """
    verb = "revoke the lease of"
    if attempt is None or execution.lifecycle_phase is not LifecyclePhase.ACTIVE:
        raise refuse_transition(execution, verb, "nobody holds a lease on it")
    if attempt.is_free(now_ms=now_ms):
        raise refuse_transition(
            execution, verb, "its lease ran out or was revoked already"
        )
    return AttemptLeaseRevoked(
        **attempt.facts,
        occurred_at_ms=now_ms,
        lease_expires_at_ms=attempt.lease_expires_at_ms,
        actor=actor,
        reason=reason,
    )


def cancel(
    execution: Execution,
    attempt: Attempt | None,
    *,
    actor: str,
    reason: str,
    now_ms: int,
) -> Events:
    """End the execution by an operator's word; empty where it is cancelled already.

    Raises:
        IllegalTransitionError: It ended otherwise.
    """
    if execution.outcome is Outcome.CANCELLED:
        return ()
    if execution.lifecycle_phase is LifecyclePhase.TERMINAL:
        raise refuse_transition(execution, "cancel", "has ended")
    cancelled = ExecutionCancelled(
        execution_id=execution.execution_id,
        occurred_at_ms=now_ms,
        actor=actor,
        reason=reason,
    )
    if attempt is None or execution.lifecycle_phase is not LifecyclePhase.ACTIVE:
        return (cancelled,)
    return (
        AttemptCancelled(
            **attempt.facts,
            occurred_at_ms=now_ms,
            lease_expires_at_ms=attempt.lease_expires_at_ms,
            actor=actor,
        ),
        cancelled,
    )


def pass_deadline(
    execution: Execution, attempt: Attempt | None, *, now_ms: int
) -> Events:
    """End the execution where its deadline has been reached."""
    if not executions.is_past_deadline(execution, now_ms=now_ms):
        return ()
    expired = ExecutionExpired(
        execution_id=execution.execution_id,
        occurred_at_ms=now_ms,
        deadline_at_ms=execution.deadline_at_ms or 0,
    )
    if attempt is None or execution.lifecycle_phase is not LifecyclePhase.ACTIVE:
        return (expired,)
    return (
        AttemptDeadlinePassed(
            **attempt.facts,
            occurred_at_ms=now_ms,
            lease_expires_at_ms=attempt.lease_expires_at_ms,
        ),
        expired,
    )
