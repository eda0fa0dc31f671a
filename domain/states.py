"""The literals of the state, and the row that each event leaves behind.

The columns that describe where an execution stands move together: an event leaves
one whole `Standing` behind, and `public_state` is computed from the rest of it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class LifecyclePhase(StrEnum):
    """Name the phase of an execution's life."""

    RUNNABLE = "runnable"
    ACTIVE = "active"
    TERMINAL = "terminal"


class OwnershipState(StrEnum):
    """Tell who has the right to the execution."""

    UNOWNED = "unowned"
    LEASED = "leased"
    LEASE_EXPIRED_RECLAIMABLE = "lease_expired_reclaimable"
    LEASE_REVOKED = "lease_revoked"


class EligibilityState(StrEnum):
    """Tell whether a claim may take a runnable execution now."""

    ELIGIBLE_NOW = "eligible_now"
    NOT_ELIGIBLE_UNTIL_TIME = "not_eligible_until_time"
    NOT_APPLICABLE = "not_applicable"


class PublicState(StrEnum):
    """Name the state that users are shown."""

    PENDING = "pending"
    DELAYED = "delayed"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class AttemptState(StrEnum):
    """Tell what the current or the next attempt is doing."""

    INITIAL = "initial"
    RUNNING_ATTEMPT = "running_attempt"
    ATTEMPT_INTERRUPTED = "attempt_interrupted"
    PENDING_RETRY_ATTEMPT = "pending_retry_attempt"
    PENDING_REPLAY_ATTEMPT = "pending_replay_attempt"
    ATTEMPT_TERMINAL = "attempt_terminal"


class Outcome(StrEnum):
    """Tell how an attempt ended."""

    SUCCESS = "success"
    FAILED = "failed"
    RETRY = "retry"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    INTERRUPTED_RECLAIMED = "interrupted_reclaimed"


class LeaseEventType(StrEnum):
    """Name what happened to a lease."""

    ACQUIRED = "acquired"
    RENEWED = "renewed"
    EXPIRED = "expired"
    RECLAIMED = "reclaimed"
    REVOKED = "revoked"
    REFUSED = "refused"


class LeaseCause(StrEnum):
    """Tell why it happened to the lease."""

    CLAIM = "claim"
    RENEW = "renew"
    SWEEP = "sweep"
    RESUME_GRANT = "resume_grant"
    COMPLETED = "completed"
    RETRY_SCHEDULED = "retry_scheduled"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    OPERATOR = "operator"
    LEASE_CONFLICT = "lease_conflict"
    LEASE_EXPIRED = "lease_expired"
    LEASE_REVOKED = "lease_revoked"
    EXECUTION_NOT_ACTIVE = "execution_not_active"


class TenureOrigin(StrEnum):
    """Tell how a tenure began.

    `claim` took a runnable execution, `reclaim` a claim that took over from an expired
    or revoked lease, `resume_grant` a resume grant that did.
    """

    CLAIM = "claim"
    RESUME_GRANT = "resume_grant"
    RECLAIM = "reclaim"


class TenureEnd(StrEnum):
    """Tell how a tenure ended: it expired, or was ended before for a cause."""

    EXPIRED = "expired"
    COMPLETED = "completed"
    RETRY_SCHEDULED = "retry_scheduled"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    OPERATOR = "operator"


class FailureClass(StrEnum):
    """Say of a failure whether trying again may help."""

    TRANSIENT = "transient"
    INFRA_CRASH = "infra_crash"
    PERMANENT = "permanent"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class TerminalCause(StrEnum):
    """Say why an execution failed for good."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    NOT_RETRYABLE = "not_retryable"
    RECLAIMS_EXHAUSTED = "reclaims_exhausted"


RETRIED_CLASSES: Final = frozenset({FailureClass.TRANSIENT, FailureClass.INFRA_CRASH})

_PUBLIC_OF_OUTCOME: Final = {
    Outcome.SUCCESS: PublicState.COMPLETED,
    Outcome.FAILED: PublicState.FAILED,
    Outcome.CANCELLED: PublicState.CANCELLED,
    Outcome.EXPIRED: PublicState.EXPIRED,
}


def public_state(
    lifecycle_phase: LifecyclePhase,
    eligibility_state: EligibilityState,
    terminal_outcome: Outcome | None,
) -> PublicState:
    """Derive the state that users are shown.

    Args:
        lifecycle_phase: The phase.
        eligibility_state: Read only while runnable.
        terminal_outcome: How a terminal execution ended; None before that.
    """
    if lifecycle_phase is LifecyclePhase.ACTIVE:
        return PublicState.RUNNING
    if lifecycle_phase is LifecyclePhase.TERMINAL:
        if terminal_outcome is None:
            message = "a terminal execution has an outcome"
            raise ValueError(message)
        return _PUBLIC_OF_OUTCOME[terminal_outcome]
    if eligibility_state is EligibilityState.NOT_ELIGIBLE_UNTIL_TIME:
        return PublicState.DELAYED
    return PublicState.PENDING


@dataclass(frozen=True, slots=True)
class Standing:
    """Hold the five columns that move together."""

    lifecycle_phase: LifecyclePhase
    ownership_state: OwnershipState
    eligibility_state: EligibilityState
    public_state: PublicState
    attempt_state: AttemptState


def _runnable(attempt_state: AttemptState, *, due: bool) -> Standing:
    eligibility = (
        EligibilityState.ELIGIBLE_NOW
        if due
        else EligibilityState.NOT_ELIGIBLE_UNTIL_TIME
    )
    return Standing(
        LifecyclePhase.RUNNABLE,
        OwnershipState.UNOWNED,
        eligibility,
        public_state(LifecyclePhase.RUNNABLE, eligibility, None),
        attempt_state,
    )


def _active(ownership_state: OwnershipState, attempt_state: AttemptState) -> Standing:
    eligibility = EligibilityState.NOT_APPLICABLE
    return Standing(
        LifecyclePhase.ACTIVE,
        ownership_state,
        eligibility,
        public_state(LifecyclePhase.ACTIVE, eligibility, None),
        attempt_state,
    )


def _terminal(outcome: Outcome) -> Standing:
    eligibility = EligibilityState.NOT_APPLICABLE
    return Standing(
        LifecyclePhase.TERMINAL,
        OwnershipState.UNOWNED,
        eligibility,
        public_state(LifecyclePhase.TERMINAL, eligibility, outcome),
        AttemptState.ATTEMPT_TERMINAL,
    )


CREATED: Final = {
    True: _runnable(AttemptState.INITIAL, due=True),
    False: _runnable(AttemptState.INITIAL, due=False),
}
"""After `execution.created`, by whether it is due."""

RETRY_SCHEDULED: Final = {
    True: _runnable(AttemptState.PENDING_RETRY_ATTEMPT, due=True),
    False: _runnable(AttemptState.PENDING_RETRY_ATTEMPT, due=False),
}
"""After `execution.retry_scheduled`, by whether it is due."""

REPLAYED: Final = _runnable(AttemptState.PENDING_REPLAY_ATTEMPT, due=True)
LEASED: Final = _active(OwnershipState.LEASED, AttemptState.RUNNING_ATTEMPT)
LEASE_EXPIRED: Final = _active(
    OwnershipState.LEASE_EXPIRED_RECLAIMABLE, AttemptState.ATTEMPT_INTERRUPTED
)
LEASE_REVOKED: Final = _active(
    OwnershipState.LEASE_REVOKED, AttemptState.ATTEMPT_INTERRUPTED
)
COMPLETED: Final = _terminal(Outcome.SUCCESS)
FAILED: Final = _terminal(Outcome.FAILED)
CANCELLED: Final = _terminal(Outcome.CANCELLED)
EXPIRED: Final = _terminal(Outcome.EXPIRED)
