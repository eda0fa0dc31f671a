"""The Execution aggregate: given events, when a decision, then events."""

import dataclasses
from typing import get_args

import pytest
from event_samples import EXECUTION, GRANT, LEASE, NOW, POLICY, execution_after, make

from leasehold.domain import executions
from leasehold.domain.errors import ExecutionNotActiveError, IllegalTransitionError
from leasehold.domain.executions import (
    Execution,
    ExecutionBecameEligible,
    ExecutionCancelled,
    ExecutionClaimed,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionEvent,
    ExecutionExpired,
    ExecutionFailed,
    ExecutionReplayed,
    ExecutionReprioritised,
    ExecutionResumeGrantIssued,
    ExecutionRetryScheduled,
)
from leasehold.domain.retries import Exponential, RetryPolicy
from leasehold.domain.states import FailureClass, Outcome, TerminalCause

CREATED = make(ExecutionCreated)
DELAYED = make(ExecutionCreated, eligible_at_ms=1_400, due=False)
CLAIMED = make(ExecutionClaimed)
RETRY = make(ExecutionRetryScheduled)
ENDS = {
    Outcome.SUCCESS: make(ExecutionCompleted),
    Outcome.FAILED: make(ExecutionFailed),
    Outcome.CANCELLED: make(ExecutionCancelled),
    Outcome.EXPIRED: make(ExecutionExpired),
}
LATER = 2_000
FACTS = {
    "execution_id": EXECUTION,
    "attempt_index": 0,
    "lease_id": LEASE,
    "lease_epoch": 1,
    "worker_id": "worker-1",
    "worker_instance_id": None,
}


def test_a_created_execution_waits_for_its_first_attempt() -> None:
    assert execution_after(CREATED) == Execution(
        execution_id=EXECUTION,
        lane_id="lane",
        lifecycle_phase="runnable",
        due=True,
        outcome=None,
        priority=7,
        eligible_at_ms=NOW,
        deadline_at_ms=9_000,
        attempt_index=0,
        attempts_started=0,
        retry_policy=POLICY,
        retry_count=0,
        max_reclaim_count=1,
        lease_reclaim_count=0,
    )


FOLDS = {
    "created, delayed": ((DELAYED,), {"due": False, "eligible_at_ms": 1_400}),
    "became eligible": (
        (DELAYED, make(ExecutionBecameEligible, eligible_at_ms=1_400)),
        {"due": True, "eligible_at_ms": 1_400},
    ),
    "claimed": (
        (CREATED, CLAIMED),
        {"lifecycle_phase": "active", "due": False, "attempts_started": 1},
    ),
    "taken over": (
        (
            CREATED,
            CLAIMED,
            make(ExecutionClaimed, attempt_index=1, lease_reclaim_count=1),
        ),
        {
            "lifecycle_phase": "active",
            "due": False,
            "attempt_index": 1,
            "attempts_started": 2,
            "lease_reclaim_count": 1,
        },
    ),
    "claimed at a later index": (
        (CREATED, make(ExecutionClaimed, attempt_index=4)),
        {
            "lifecycle_phase": "active",
            "due": False,
            "attempt_index": 4,
            "attempts_started": 5,
        },
    ),
    "granted": (
        (CREATED, CLAIMED, make(ExecutionResumeGrantIssued)),
        {"lifecycle_phase": "active", "due": False, "attempts_started": 1},
    ),
    "reprioritised": ((CREATED, make(ExecutionReprioritised)), {"priority": 8}),
    "retry, delayed": (
        (CREATED, CLAIMED, RETRY),
        {
            "due": False,
            "eligible_at_ms": 1_100,
            "attempt_index": 1,
            "attempts_started": 1,
            "retry_count": 1,
        },
    ),
    "retry, due": (
        (CREATED, CLAIMED, make(ExecutionRetryScheduled, due=True)),
        {
            "due": True,
            "eligible_at_ms": 1_100,
            "attempt_index": 1,
            "attempts_started": 1,
            "retry_count": 1,
        },
    ),
    **{
        f"ended, {outcome}": (
            (CREATED, CLAIMED, end),
            {
                "lifecycle_phase": "terminal",
                "due": False,
                "outcome": outcome,
                "attempts_started": 1,
            },
        )
        for outcome, end in ENDS.items()
    },
    "replayed": (
        (
            CREATED,
            make(ExecutionClaimed, lease_reclaim_count=1),
            make(ExecutionRetryScheduled, retry_count=2),
            make(ExecutionCancelled),
            make(ExecutionReplayed, occurred_at_ms=LATER),
        ),
        {
            "eligible_at_ms": LATER,
            "deadline_at_ms": None,
            "attempt_index": 1,
            "attempts_started": 1,
        },
    ),
}


@pytest.mark.parametrize("case", FOLDS)
def test_an_event_changes_these_fields_and_no_others(case) -> None:
    events, changes = FOLDS[case]
    expected = dataclasses.replace(execution_after(CREATED), **changes)
    assert execution_after(*events) == expected


@pytest.mark.parametrize(
    "event_type",
    [each for each in get_args(ExecutionEvent) if each is not ExecutionCreated],
    ids=lambda each: each.TOPIC,
)
def test_a_stream_that_begins_otherwise_is_refused(event_type) -> None:
    with pytest.raises(ValueError, match=rf"begins with .*not {event_type.TOPIC}"):
        executions.evolve(None, make(event_type))


def test_a_second_creation_is_refused() -> None:
    with pytest.raises(ValueError, match="created once"):
        executions.evolve(execution_after(CREATED), CREATED)


PUBLIC = {
    "created, due": ((CREATED,), "pending"),
    "created, delayed": ((DELAYED,), "delayed"),
    "claimed": ((CREATED, CLAIMED), "running"),
    "retry, delayed": ((CREATED, CLAIMED, RETRY), "delayed"),
    "completed": ((CREATED, ENDS[Outcome.SUCCESS]), "completed"),
    "failed": ((CREATED, ENDS[Outcome.FAILED]), "failed"),
    "cancelled": ((CREATED, ENDS[Outcome.CANCELLED]), "cancelled"),
    "expired": ((CREATED, ENDS[Outcome.EXPIRED]), "expired"),
    "replayed": (
        (CREATED, ENDS[Outcome.EXPIRED], make(ExecutionReplayed)),
        "pending",
    ),
}


@pytest.mark.parametrize("case", PUBLIC)
def test_the_public_state_is_derived(case) -> None:
    events, shown = PUBLIC[case]
    assert execution_after(*events).public_state == shown


def test_a_worker_satisfies_what_it_offers_all_of() -> None:
    assert executions.satisfies({"cpu", "gpu"}, ("cpu",))
    assert executions.satisfies(set(), ())
    assert not executions.satisfies({"cpu"}, ("cpu", "gpu"))
    assert not executions.satisfies({"CPU"}, ("cpu",))


def test_a_deadline_is_past_from_its_very_millisecond() -> None:
    execution = execution_after(CREATED)
    assert not executions.is_past_deadline(execution, now_ms=8_999)
    assert executions.is_past_deadline(execution, now_ms=9_000)


def test_without_a_deadline_none_is_past() -> None:
    endless = execution_after(make(ExecutionCreated, deadline_at_ms=None))
    assert not executions.is_past_deadline(endless, now_ms=10**15)


@pytest.mark.parametrize("outcome", ENDS)
def test_what_has_ended_passes_no_deadline(outcome) -> None:
    ended = execution_after(CREATED, ENDS[outcome])
    assert not executions.is_past_deadline(ended, now_ms=10**15)


def test_a_delay_ends_at_its_time() -> None:
    execution = execution_after(DELAYED)
    assert executions.become_eligible(execution, now_ms=1_399) == ()
    assert executions.become_eligible(execution, now_ms=1_400) == (
        ExecutionBecameEligible(
            execution_id=EXECUTION, occurred_at_ms=1_400, eligible_at_ms=1_400
        ),
    )


@pytest.mark.parametrize(
    "events", [(CREATED,), (DELAYED, CLAIMED), (DELAYED, ENDS[Outcome.CANCELLED])]
)
def test_what_waits_for_no_delay_does_not_become_eligible(events) -> None:
    assert executions.become_eligible(execution_after(*events), now_ms=LATER) == ()


def settle(execution, failure_class, jitter_draw=0.0):
    return executions.settle_failure(
        execution,
        FACTS,
        failure_class=failure_class,
        failure_message="broke",
        jitter_draw=jitter_draw,
        now_ms=LATER,
    )


@pytest.mark.parametrize("failure_class", ["transient", "infra_crash"])
def test_a_failure_that_may_pass_is_retried(failure_class) -> None:
    execution = execution_after(CREATED, CLAIMED)
    assert settle(execution, FailureClass(failure_class)) == ExecutionRetryScheduled(
        execution_id=EXECUTION,
        occurred_at_ms=LATER,
        attempt_index=1,
        lease_id=LEASE,
        lease_epoch=1,
        retry_count=1,
        eligible_at_ms=LATER + 100,
        due=False,
        failure_message="broke",
    )


@pytest.mark.parametrize("failure_class", ["permanent", "timeout", "cancelled"])
def test_another_failure_is_final(failure_class) -> None:
    execution = execution_after(CREATED, CLAIMED)
    assert settle(execution, FailureClass(failure_class)) == ExecutionFailed(
        execution_id=EXECUTION,
        occurred_at_ms=LATER,
        cause=TerminalCause.NOT_RETRYABLE,
        lease_id=LEASE,
        lease_epoch=1,
        failure_message="broke",
    )


def test_a_retry_without_a_wait_is_due_at_once() -> None:
    policy = RetryPolicy(backoff=Exponential(initial_ms=0))
    execution = execution_after(make(ExecutionCreated, retry_policy=policy), CLAIMED)
    scheduled = settle(execution, FailureClass.TRANSIENT)
    assert (scheduled.eligible_at_ms, scheduled.due) == (LATER, True)


def test_the_draw_decides_on_the_jittered_wait() -> None:
    policy = RetryPolicy(backoff=Exponential(initial_ms=1_000, jitter=0.5))
    execution = execution_after(make(ExecutionCreated, retry_policy=policy), CLAIMED)
    waits = [
        settle(execution, FailureClass.TRANSIENT, draw).eligible_at_ms - LATER
        for draw in (-1.0, 0.0, 1.0)
    ]
    assert waits == [500, 1_000, 1_500]


def test_the_retry_after_the_last_is_refused() -> None:
    made = [make(ExecutionRetryScheduled, retry_count=n) for n in (1, 2)]
    once = execution_after(CREATED, CLAIMED, made[0], CLAIMED)
    twice = execution_after(CREATED, CLAIMED, *made, CLAIMED)
    assert isinstance(settle(once, FailureClass.TRANSIENT), ExecutionRetryScheduled)
    failed = settle(twice, FailureClass.TRANSIENT)
    assert isinstance(failed, ExecutionFailed)
    assert failed.cause is TerminalCause.RETRIES_EXHAUSTED


def test_a_final_class_is_told_before_exhausted_retries() -> None:
    none_left = make(ExecutionCreated, retry_policy=RetryPolicy(max_retries=0))
    execution = execution_after(none_left, CLAIMED)
    assert settle(execution, FailureClass.PERMANENT).cause == "not_retryable"
    assert settle(execution, FailureClass.TRANSIENT).cause == "retries_exhausted"


def test_reclaims_do_not_count_as_retries() -> None:
    taken_over = make(ExecutionClaimed, attempt_index=1, lease_reclaim_count=50)
    execution = execution_after(CREATED, CLAIMED, taken_over)
    scheduled = settle(execution, FailureClass.TRANSIENT)
    assert (scheduled.retry_count, scheduled.attempt_index) == (1, 2)


def test_a_priority_is_changed_once() -> None:
    given = execution_after(CREATED)
    changed = executions.reprioritise(given, priority=8, actor="ann", now_ms=LATER)
    assert changed == (
        ExecutionReprioritised(
            execution_id=EXECUTION, occurred_at_ms=LATER, priority=8, actor="ann"
        ),
    )
    same = execution_after(CREATED, *changed)
    assert executions.reprioritise(same, priority=8, actor="b", now_ms=LATER) == ()


@pytest.mark.parametrize("outcome", ENDS)
def test_what_has_ended_keeps_its_priority(outcome) -> None:
    ended = execution_after(CREATED, ENDS[outcome])
    with pytest.raises(IllegalTransitionError, match=f"it is {ended.public_state}"):
        executions.reprioritise(ended, priority=8, actor="ann", now_ms=LATER)


def grant(execution):
    return executions.issue_resume_grant(
        execution,
        grant_id=GRANT,
        worker_id="worker-2",
        ttl_ms=300,
        actor=None,
        now_ms=LATER,
    )


def test_a_grant_is_issued_for_what_is_active() -> None:
    assert grant(execution_after(CREATED, CLAIMED)) == ExecutionResumeGrantIssued(
        execution_id=EXECUTION,
        occurred_at_ms=LATER,
        grant_id=GRANT,
        worker_id="worker-2",
        expires_at_ms=LATER + 300,
    )


@pytest.mark.parametrize(
    ("events", "phase", "state"),
    [
        ((CREATED,), "runnable", "pending"),
        ((CREATED, CLAIMED, RETRY), "runnable", "delayed"),
        ((CREATED, ENDS[Outcome.FAILED]), "terminal", "failed"),
    ],
)
def test_no_grant_is_issued_for_what_is_not_active(events, phase, state) -> None:
    with pytest.raises(ExecutionNotActiveError, match=f"is {state}") as raised:
        grant(execution_after(*events))
    error = raised.value
    assert (error.lifecycle_phase, error.public_state) == (phase, state)


@pytest.mark.parametrize("outcome", ENDS)
def test_what_has_ended_is_reopened_with_the_next_attempt(outcome) -> None:
    second = make(ExecutionClaimed, attempt_index=1)
    given = execution_after(CREATED, CLAIMED, RETRY, second, ENDS[outcome])
    reopened = executions.reopen(given, actor="ann", reason="again", now_ms=LATER)
    assert reopened == ExecutionReplayed(
        execution_id=EXECUTION,
        occurred_at_ms=LATER,
        attempt_index=2,
        actor="ann",
        reason="again",
    )


def test_what_ended_before_any_attempt_is_reopened_with_the_first() -> None:
    given = execution_after(CREATED, ENDS[Outcome.CANCELLED])
    reopened = executions.reopen(given, actor="ann", reason="again", now_ms=LATER)
    assert reopened.attempt_index == 0


@pytest.mark.parametrize("events", [(CREATED,), (CREATED, CLAIMED)])
def test_what_has_not_ended_is_not_reopened(events) -> None:
    with pytest.raises(IllegalTransitionError, match="has not ended"):
        executions.reopen(execution_after(*events), actor="a", reason="", now_ms=LATER)


def test_check_active_lets_an_active_execution_pass() -> None:
    executions.check_active(execution_after(CREATED, CLAIMED))


@pytest.mark.parametrize("last", [RETRY, ENDS[Outcome.SUCCESS]], ids=["waits", "ended"])
def test_who_has_lost_an_execution_is_told_what_to_do(last) -> None:
    execution = execution_after(CREATED, CLAIMED, last)
    advice = {"runnable": "claim again to work on it", "terminal": "stop the work"}
    with pytest.raises(ExecutionNotActiveError) as raised:
        executions.check_active(execution)
    state = execution.public_state
    said = advice[execution.lifecycle_phase]
    assert str(raised.value) == f"execution {EXECUTION} is {state}: {said}"


@pytest.mark.parametrize(
    "event_type", [ExecutionClaimed, ExecutionRetryScheduled, ExecutionReplayed]
)
def test_the_attempt_is_the_one_that_the_event_names(event_type) -> None:
    folded = execution_after(CREATED, make(event_type, attempt_index=7))
    assert folded.attempt_index == 7


def test_what_ended_while_it_waited_is_not_due() -> None:
    assert execution_after(CREATED).due
    assert not execution_after(CREATED, make(ExecutionCancelled)).due


def test_a_grant_names_who_issued_it() -> None:
    granted = executions.issue_resume_grant(
        execution_after(CREATED, CLAIMED),
        grant_id=GRANT,
        worker_id="w",
        ttl_ms=5,
        actor="ann",
        now_ms=NOW,
    )
    assert (granted.actor, granted.expires_at_ms) == ("ann", NOW + 5)
