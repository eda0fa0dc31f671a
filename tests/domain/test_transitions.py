"""What Execution and Attempt decide together: given events, when, then events."""

import hashlib

import pytest
from event_samples import (
    EXECUTION,
    EXPIRY,
    GRANT,
    HOLDER_FIELDS,
    LEASE,
    NEXT_LEASE,
    attempt_after,
    execution_after,
    make,
)

from leasehold.domain import attempts, executions, transitions
from leasehold.domain.attempts import (
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
from leasehold.domain.errors import IllegalTransitionError
from leasehold.domain.executions import (
    ExecutionCancelled,
    ExecutionClaimed,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionExpired,
    ExecutionFailed,
    ExecutionReplayed,
    ExecutionRetryScheduled,
)
from leasehold.domain.retries import Exponential, RetryPolicy
from leasehold.domain.states import FailureClass, LeaseCause, TerminalCause
from leasehold.domain.transitions import FailureReport, NewLease

CREATED = make(ExecutionCreated)
CLAIMED = make(ExecutionClaimed)
STARTED = make(AttemptStarted)
EXPIRED = make(AttemptLeaseExpired)
REVOKED = make(AttemptLeaseRevoked, occurred_at_ms=1_200)
WAITING = execution_after(CREATED)
ACTIVE = execution_after(CREATED, CLAIMED)
ENDED = {
    "completed": execution_after(CREATED, CLAIMED, make(ExecutionCompleted)),
    "failed": execution_after(CREATED, CLAIMED, make(ExecutionFailed)),
    "cancelled": execution_after(CREATED, CLAIMED, make(ExecutionCancelled)),
    "expired": execution_after(CREATED, CLAIMED, make(ExecutionExpired)),
}
HELD = attempt_after(STARTED)
SUCCEEDED = attempt_after(STARTED, make(AttemptSucceeded))
FACTS = {"execution_id": EXECUTION, **HOLDER_FIELDS}
NEW = NewLease(
    lease_id=NEXT_LEASE,
    lease_ttl_ms=700,
    worker_id="worker-2",
    worker_instance_id="instance-2",
)
LATER = 2_000


def taken(attempt_index, lease_epoch, *, reclaims, taken_over, now_ms=LATER):
    """Return the two events that give the new lease the execution."""
    both = {
        "execution_id": EXECUTION,
        "occurred_at_ms": now_ms,
        "attempt_index": attempt_index,
        "lease_id": NEXT_LEASE,
        "lease_epoch": lease_epoch,
        "worker_id": "worker-2",
    }
    return (
        ExecutionClaimed(**both, lease_reclaim_count=reclaims),
        AttemptStarted(
            **both,
            worker_instance_id="instance-2",
            lane_id="lane",
            lease_ttl_ms=700,
            lease_expires_at_ms=now_ms + 700,
            taken_over=taken_over,
        ),
    )


def test_a_first_claim_starts_attempt_0_under_epoch_1() -> None:
    claimed = transitions.claim(WAITING, None, NEW, now_ms=LATER)
    assert claimed == taken(0, 1, reclaims=0, taken_over=False)


def test_a_claim_of_a_retry_goes_on_with_index_and_epoch() -> None:
    retry = execution_after(CREATED, CLAIMED, make(ExecutionRetryScheduled, due=True))
    last = attempt_after(
        STARTED, make(AttemptLeaseReclaimed, lease_epoch=5), make(AttemptFailed)
    )
    claimed = transitions.claim(retry, last, NEW, now_ms=LATER)
    assert claimed == taken(1, 6, reclaims=0, taken_over=False)


def test_a_claim_of_a_replay_never_resets_the_epoch() -> None:
    replayed = execution_after(
        CREATED, CLAIMED, make(ExecutionCompleted), make(ExecutionReplayed)
    )
    claimed = transitions.claim(replayed, SUCCEEDED, NEW, now_ms=LATER)
    assert claimed == taken(1, 2, reclaims=0, taken_over=False)


def test_the_events_of_a_claim_fold_to_what_the_guard_needs() -> None:
    claimed, started = transitions.claim(WAITING, None, NEW, now_ms=LATER)
    active = executions.evolve(WAITING, claimed)
    attempt = attempts.evolve(None, started)
    assert (active.lifecycle_phase, active.attempts_started) == ("active", 1)
    assert attempt.lease_expires_at_ms == LATER + 700


CLOSED = AttemptInterrupted(**FACTS, occurred_at_ms=LATER)
NOTICED = AttemptLeaseExpired(
    **FACTS,
    occurred_at_ms=LATER,
    lease_expires_at_ms=EXPIRY,
    cause=LeaseCause.CLAIM,
)
BEFORE = {
    "run out, unrecorded": ((), (NOTICED, CLOSED)),
    "expiry recorded": ((EXPIRED,), (CLOSED,)),
    "revoked": ((REVOKED,), (CLOSED,)),
}


@pytest.mark.parametrize("case", BEFORE)
def test_a_take_over_closes_the_attempt_and_starts_the_next(case) -> None:
    events, closing = BEFORE[case]
    last = attempt_after(STARTED, *events)
    assert transitions.take_over(ACTIVE, last, NEW, now_ms=LATER) == (
        *closing,
        *taken(1, 2, reclaims=1, taken_over=True),
    )


@pytest.mark.parametrize("case", BEFORE)
def test_a_take_over_past_the_cap_fails_the_execution(case) -> None:
    events, closing = BEFORE[case]
    capped = execution_after(CREATED, make(ExecutionClaimed, lease_reclaim_count=1))
    last = attempt_after(STARTED, *events)
    assert transitions.take_over(capped, last, NEW, now_ms=LATER) == (
        *closing,
        ExecutionFailed(
            execution_id=EXECUTION,
            occurred_at_ms=LATER,
            cause=TerminalCause.RECLAIMS_EXHAUSTED,
        ),
    )


def test_a_cap_of_nought_allows_no_take_over() -> None:
    capped = execution_after(make(ExecutionCreated, max_reclaim_count=0), CLAIMED)
    *_, last = transitions.take_over(
        capped, attempt_after(STARTED, EXPIRED), NEW, now_ms=LATER
    )
    assert isinstance(last, ExecutionFailed)


@pytest.mark.parametrize(
    ("before", "now_ms"),
    [((), EXPIRY), ((EXPIRED,), LATER), ((REVOKED,), 1_201)],
    ids=["run out, unrecorded", "expiry recorded", "revoked"],
)
def test_a_resumption_goes_on_with_the_same_attempt(before, now_ms) -> None:
    last = attempt_after(STARTED, *before)
    resumed = transitions.resume(last, NEW, grant_id=GRANT, now_ms=now_ms)
    assert resumed == AttemptLeaseReclaimed(
        execution_id=EXECUTION,
        occurred_at_ms=now_ms,
        attempt_index=0,
        lease_id=NEXT_LEASE,
        lease_epoch=2,
        worker_id="worker-2",
        worker_instance_id="instance-2",
        grant_id=GRANT,
        lease_ttl_ms=700,
        lease_expires_at_ms=now_ms + 700,
    )


def test_nothing_is_resumed_under_a_live_lease() -> None:
    assert transitions.resume(HELD, NEW, grant_id=GRANT, now_ms=EXPIRY - 1) is None


def expire(execution, attempt):
    return transitions.record_expiry(
        execution, attempt, cause=LeaseCause.SWEEP, now_ms=LATER
    )


def test_an_expiry_is_recorded_once() -> None:
    assert [event.TOPIC for event in expire(ACTIVE, HELD)] == ["attempt.lease_expired"]
    assert expire(ACTIVE, attempt_after(STARTED, EXPIRED)) == ()


def test_no_expiry_is_recorded_for_what_is_not_active() -> None:
    assert expire(WAITING, None) == ()
    assert expire(ENDED["completed"], HELD) == ()


@pytest.mark.parametrize("result", [b"done", b"", None])
def test_a_completion_ends_attempt_and_execution(result) -> None:
    digest = None if result is None else hashlib.sha256(result).hexdigest()
    assert transitions.complete(ACTIVE, HELD, result=result, now_ms=1_300) == (
        AttemptSucceeded(
            **FACTS,
            occurred_at_ms=1_300,
            lease_expires_at_ms=EXPIRY,
            result_sha256=digest,
        ),
        ExecutionCompleted(
            execution_id=EXECUTION,
            occurred_at_ms=1_300,
            lease_id=LEASE,
            lease_epoch=1,
            result=result,
        ),
    )


def test_no_result_and_an_empty_one_differ() -> None:
    assert transitions.digest_of(None) is None
    assert transitions.digest_of(b"") == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def fail(execution, failure_class):
    report = FailureReport(
        failure_class=failure_class, message="broke", detail="line 1"
    )
    return transitions.fail(execution, HELD, report, jitter_draw=0.5, now_ms=1_300)


def failed(failure_class, **follows):
    return AttemptFailed(
        **FACTS,
        occurred_at_ms=1_300,
        lease_expires_at_ms=EXPIRY,
        failure_class=failure_class,
        failure_message="broke",
        failure_detail="line 1",
        **follows,
    )


def test_a_failure_that_is_retried_says_when_in_both_streams() -> None:
    assert fail(ACTIVE, FailureClass.TRANSIENT) == (
        failed(FailureClass.TRANSIENT, retry_at_ms=1_400),
        ExecutionRetryScheduled(
            execution_id=EXECUTION,
            occurred_at_ms=1_300,
            attempt_index=1,
            lease_id=LEASE,
            lease_epoch=1,
            retry_count=1,
            eligible_at_ms=1_400,
            due=False,
            failure_message="broke",
        ),
    )


def test_a_final_failure_says_why_in_both_streams() -> None:
    assert fail(ACTIVE, FailureClass.TIMEOUT) == (
        failed(FailureClass.TIMEOUT, terminal_cause=TerminalCause.NOT_RETRYABLE),
        ExecutionFailed(
            execution_id=EXECUTION,
            occurred_at_ms=1_300,
            cause=TerminalCause.NOT_RETRYABLE,
            lease_id=LEASE,
            lease_epoch=1,
            failure_message="broke",
        ),
    )


def revoke(execution, attempt, now_ms=1_300):
    return transitions.revoke(
        execution, attempt, actor="ann", reason="stuck", now_ms=now_ms
    )


def test_a_live_lease_is_revoked() -> None:
    assert revoke(ACTIVE, HELD) == AttemptLeaseRevoked(
        **FACTS,
        occurred_at_ms=1_300,
        lease_expires_at_ms=EXPIRY,
        actor="ann",
        reason="stuck",
    )


@pytest.mark.parametrize(
    ("execution", "attempt", "now_ms"),
    [
        (WAITING, None, 1_300),
        (ENDED["completed"], SUCCEEDED, 1_300),
        (ACTIVE, HELD, EXPIRY),
        (ACTIVE, attempt_after(STARTED, EXPIRED), LATER),
        (ACTIVE, attempt_after(STARTED, REVOKED), 1_300),
    ],
    ids=["waiting", "ended", "run out", "expiry recorded", "revoked"],
)
def test_only_a_live_lease_is_revoked(execution, attempt, now_ms) -> None:
    with pytest.raises(IllegalTransitionError, match="cannot revoke the lease of"):
        revoke(execution, attempt, now_ms)


def cancel(execution, attempt):
    return transitions.cancel(
        execution, attempt, actor="ann", reason="enough", now_ms=1_300
    )


CANCELLED = ExecutionCancelled(
    execution_id=EXECUTION, occurred_at_ms=1_300, actor="ann", reason="enough"
)


def test_what_waits_is_cancelled_without_an_attempt() -> None:
    assert cancel(WAITING, None) == (CANCELLED,)
    retry = execution_after(CREATED, CLAIMED, make(ExecutionRetryScheduled))
    assert cancel(retry, attempt_after(STARTED, make(AttemptFailed))) == (CANCELLED,)


@pytest.mark.parametrize(
    ("before", "expires_at_ms"), [((), EXPIRY), ((EXPIRED,), None), ((REVOKED,), None)]
)
def test_what_runs_is_cancelled_with_its_attempt(before, expires_at_ms) -> None:
    attempt = attempt_after(STARTED, *before)
    assert cancel(ACTIVE, attempt) == (
        AttemptCancelled(
            **FACTS,
            occurred_at_ms=1_300,
            lease_expires_at_ms=expires_at_ms,
            actor="ann",
        ),
        CANCELLED,
    )


def test_a_cancellation_repeated_is_nothing() -> None:
    assert cancel(ENDED["cancelled"], None) == ()


@pytest.mark.parametrize("state", ["completed", "failed", "expired"])
def test_what_ended_otherwise_is_not_cancelled(state) -> None:
    with pytest.raises(IllegalTransitionError, match=f"it is {state} and has ended"):
        cancel(ENDED[state], SUCCEEDED)


PASSED = ExecutionExpired(
    execution_id=EXECUTION, occurred_at_ms=9_000, deadline_at_ms=9_000
)


def test_a_deadline_ends_what_waits_without_an_attempt() -> None:
    assert transitions.pass_deadline(WAITING, None, now_ms=9_000) == (PASSED,)


def test_a_deadline_ends_what_runs_with_its_attempt() -> None:
    assert transitions.pass_deadline(ACTIVE, HELD, now_ms=9_000) == (
        AttemptDeadlinePassed(
            **FACTS, occurred_at_ms=9_000, lease_expires_at_ms=EXPIRY
        ),
        PASSED,
    )


def test_a_deadline_that_is_to_come_ends_nothing() -> None:
    assert transitions.pass_deadline(ACTIVE, HELD, now_ms=8_999) == ()


@pytest.mark.parametrize("state", ENDED)
def test_a_deadline_ends_nothing_twice(state) -> None:
    assert transitions.pass_deadline(ENDED[state], HELD, now_ms=10**12) == ()


NOT_DUE = {
    "delayed": execution_after(make(ExecutionCreated, due=False)),
    "active": ACTIVE,
    **ENDED,
}


@pytest.mark.parametrize("state", NOT_DUE)
def test_what_is_not_due_is_not_claimed(state) -> None:
    with pytest.raises(IllegalTransitionError, match="claim"):
        transitions.claim(NOT_DUE[state], None, NEW, now_ms=LATER)


def test_a_live_lease_is_not_taken_over() -> None:
    last_live_ms = HELD.lease_expires_at_ms - 1
    with pytest.raises(IllegalTransitionError, match="not free"):
        transitions.take_over(ACTIVE, HELD, NEW, now_ms=last_live_ms)
    assert transitions.take_over(ACTIVE, HELD, NEW, now_ms=last_live_ms + 1)


def test_what_nobody_has_is_not_taken_over() -> None:
    with pytest.raises(IllegalTransitionError, match="take over"):
        transitions.take_over(WAITING, SUCCEEDED, NEW, now_ms=LATER)


BY = {"actor": "ann", "reason": "why", "now_ms": LATER}
GONE = attempt_after(STARTED, EXPIRED)
REFUSED = {
    "claim": (
        lambda: transitions.claim(ACTIVE, HELD, NEW, now_ms=LATER),
        "cannot claim execution {}: it is running and not due to be claimed",
    ),
    "take over": (
        lambda: transitions.take_over(WAITING, HELD, NEW, now_ms=LATER),
        "cannot take over execution {}: it is pending and its lease is not free",
    ),
    "revoke what nobody has": (
        lambda: transitions.revoke(WAITING, None, **BY),
        (
            "cannot revoke the lease of execution {}: it is pending and nobody holds "
            "a lease on it"
        ),
    ),
    "revoke what is free": (
        lambda: transitions.revoke(ACTIVE, GONE, **BY),
        (
            "cannot revoke the lease of execution {}: it is running and its lease ran "
            "out or was revoked already"
        ),
    ),
    "cancel": (
        lambda: transitions.cancel(ENDED["failed"], HELD, **BY),
        "cannot cancel execution {}: it is failed and has ended",
    ),
    "change the priority": (
        lambda: executions.reprioritise(
            ENDED["failed"], priority=1, actor="ann", now_ms=LATER
        ),
        "cannot change the priority of execution {}: it is failed and has ended",
    ),
    "replay": (
        lambda: executions.reopen(WAITING, **BY),
        "cannot replay execution {}: it is pending and has not ended; cancel it first",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_says_what_stood_in_the_way(case) -> None:
    call, message = REFUSED[case]
    with pytest.raises(IllegalTransitionError) as raised:
        call()
    assert str(raised.value) == message.format(EXECUTION)


def test_a_deadline_ends_what_waits_for_a_retry_and_not_its_attempt_again() -> None:
    waiting = execution_after(
        make(ExecutionCreated, deadline_at_ms=LATER),
        CLAIMED,
        make(ExecutionRetryScheduled),
    )
    failed = attempt_after(STARTED, make(AttemptFailed, retry_at_ms=1_500))
    (event,) = transitions.pass_deadline(waiting, failed, now_ms=LATER)
    assert event.TOPIC == "execution.expired"


def test_the_jitter_that_was_drawn_moves_the_retry() -> None:
    policy = RetryPolicy(1, Exponential(1_000, jitter=0.5))
    jittery = execution_after(make(ExecutionCreated, retry_policy=policy), CLAIMED)
    report = FailureReport(
        failure_class=FailureClass.TRANSIENT, message="broke", detail=None
    )
    _, retry = transitions.fail(jittery, HELD, report, jitter_draw=-1.0, now_ms=LATER)
    assert retry.eligible_at_ms == LATER + 500
