"""The literals of the tables, and the rows of the state table."""

from itertools import product

import pytest

from leasehold.domain import states
from leasehold.domain.states import (
    AttemptState,
    EligibilityState,
    FailureClass,
    LeaseCause,
    LeaseEventType,
    LifecyclePhase,
    Outcome,
    OwnershipState,
    PublicState,
    TerminalCause,
    public_state,
)

ROWS = {
    "created, due": (
        states.CREATED[True],
        ("runnable", "unowned", "eligible_now", "pending", "initial"),
    ),
    "created, delayed": (
        states.CREATED[False],
        ("runnable", "unowned", "not_eligible_until_time", "delayed", "initial"),
    ),
    "claimed, resumed, reclaimed": (
        states.LEASED,
        ("active", "leased", "not_applicable", "running", "running_attempt"),
    ),
    "lease expiry recorded": (
        states.LEASE_EXPIRED,
        (
            "active",
            "lease_expired_reclaimable",
            "not_applicable",
            "running",
            "attempt_interrupted",
        ),
    ),
    "lease revoked by an operator": (
        states.LEASE_REVOKED,
        (
            "active",
            "lease_revoked",
            "not_applicable",
            "running",
            "attempt_interrupted",
        ),
    ),
    "retry, due at once": (
        states.RETRY_SCHEDULED[True],
        ("runnable", "unowned", "eligible_now", "pending", "pending_retry_attempt"),
    ),
    "retry, delayed": (
        states.RETRY_SCHEDULED[False],
        (
            "runnable",
            "unowned",
            "not_eligible_until_time",
            "delayed",
            "pending_retry_attempt",
        ),
    ),
    "completed": (
        states.COMPLETED,
        ("terminal", "unowned", "not_applicable", "completed", "attempt_terminal"),
    ),
    "failed": (
        states.FAILED,
        ("terminal", "unowned", "not_applicable", "failed", "attempt_terminal"),
    ),
    "cancelled": (
        states.CANCELLED,
        ("terminal", "unowned", "not_applicable", "cancelled", "attempt_terminal"),
    ),
    "deadline passed": (
        states.EXPIRED,
        ("terminal", "unowned", "not_applicable", "expired", "attempt_terminal"),
    ),
    "replayed by an operator": (
        states.REPLAYED,
        ("runnable", "unowned", "eligible_now", "pending", "pending_replay_attempt"),
    ),
}


@pytest.mark.parametrize("after", ROWS)
def test_an_event_leaves_the_row_of_the_contract(after) -> None:
    standing, row = ROWS[after]
    assert (
        standing.lifecycle_phase,
        standing.ownership_state,
        standing.eligibility_state,
        standing.public_state,
        standing.attempt_state,
    ) == row


LITERALS = {
    LifecyclePhase: {"runnable", "active", "terminal"},
    OwnershipState: {
        "unowned",
        "leased",
        "lease_expired_reclaimable",
        "lease_revoked",
    },
    EligibilityState: {"eligible_now", "not_eligible_until_time", "not_applicable"},
    PublicState: {
        "pending",
        "delayed",
        "running",
        "completed",
        "failed",
        "cancelled",
        "expired",
    },
    AttemptState: {
        "initial",
        "running_attempt",
        "attempt_interrupted",
        "pending_retry_attempt",
        "pending_replay_attempt",
        "attempt_terminal",
    },
    Outcome: {
        "success",
        "failed",
        "retry",
        "cancelled",
        "expired",
        "interrupted_reclaimed",
    },
    LeaseEventType: {
        "acquired",
        "renewed",
        "expired",
        "reclaimed",
        "revoked",
        "refused",
    },
    LeaseCause: {
        "claim",
        "renew",
        "sweep",
        "resume_grant",
        "completed",
        "retry_scheduled",
        "failed",
        "cancelled",
        "deadline",
        "operator",
        "lease_conflict",
        "lease_expired",
        "lease_revoked",
        "execution_not_active",
    },
    FailureClass: {"transient", "infra_crash", "permanent", "timeout", "cancelled"},
    TerminalCause: {"retries_exhausted", "not_retryable", "reclaims_exhausted"},
}


@pytest.mark.parametrize("enumeration", LITERALS, ids=lambda each: each.__name__)
def test_an_enumeration_has_the_literals_of_the_contract(enumeration) -> None:
    assert {str(member) for member in enumeration} == LITERALS[enumeration]


RUNNABLE_AS = {
    EligibilityState.ELIGIBLE_NOW: "pending",
    EligibilityState.NOT_ELIGIBLE_UNTIL_TIME: "delayed",
}
ENDED_AS = {
    Outcome.SUCCESS: "completed",
    Outcome.FAILED: "failed",
    Outcome.CANCELLED: "cancelled",
    Outcome.EXPIRED: "expired",
}


@pytest.mark.parametrize(
    ("eligibility", "outcome"), [*product(EligibilityState, [None, *Outcome])]
)
def test_what_is_active_runs_whatever_else_holds(eligibility, outcome) -> None:
    assert public_state(LifecyclePhase.ACTIVE, eligibility, outcome) == "running"


@pytest.mark.parametrize(
    ("eligibility", "outcome"), [*product(RUNNABLE_AS, [None, *Outcome])]
)
def test_what_is_runnable_is_pending_or_delayed(eligibility, outcome) -> None:
    shown = public_state(LifecyclePhase.RUNNABLE, eligibility, outcome)
    assert shown == RUNNABLE_AS[eligibility]


@pytest.mark.parametrize(
    ("eligibility", "outcome"), [*product(EligibilityState, ENDED_AS)]
)
def test_what_is_terminal_is_shown_by_its_outcome(eligibility, outcome) -> None:
    shown = public_state(LifecyclePhase.TERMINAL, eligibility, outcome)
    assert shown == ENDED_AS[outcome]


@pytest.mark.parametrize(
    "outcome", [None, Outcome.RETRY, Outcome.INTERRUPTED_RECLAIMED]
)
def test_nothing_is_terminal_without_a_final_outcome(outcome) -> None:
    with pytest.raises((ValueError, KeyError)):
        public_state(LifecyclePhase.TERMINAL, EligibilityState.NOT_APPLICABLE, outcome)


def test_two_classes_of_failure_are_retried() -> None:
    assert {"transient", "infra_crash"} == states.RETRIED_CLASSES
