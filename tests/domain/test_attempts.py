"""The Attempt aggregate and its lease: given events, when a decision, then events."""

import dataclasses
from typing import get_args

import pytest
from event_samples import (
    EXECUTION,
    EXPIRY,
    HOLDER_FIELDS,
    LEASE,
    NEXT_LEASE,
    NOW,
    TTL,
    attempt_after,
    make,
)

from leasehold.domain import attempts
from leasehold.domain.attempts import (
    AnyAttemptEvent,
    Attempt,
    AttemptCancelled,
    AttemptDeadlinePassed,
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
)
from leasehold.domain.states import LeaseCause, Outcome, TerminalCause

STARTED = make(AttemptStarted)
RENEWED = make(AttemptLeaseRenewed)
EXPIRED = make(AttemptLeaseExpired)
RESUMED = make(AttemptLeaseReclaimed)
REVOKED = make(AttemptLeaseRevoked, occurred_at_ms=1_200)
FINAL = {"retry_at_ms": None, "terminal_cause": TerminalCause.NOT_RETRYABLE}
ENDS = {
    "interrupted": (make(AttemptInterrupted), Outcome.INTERRUPTED_RECLAIMED),
    "succeeded": (make(AttemptSucceeded), Outcome.SUCCESS),
    "failed, retried": (make(AttemptFailed), Outcome.RETRY),
    "failed for good": (make(AttemptFailed, **FINAL), Outcome.FAILED),
    "cancelled": (make(AttemptCancelled), Outcome.CANCELLED),
    "deadline passed": (make(AttemptDeadlinePassed), Outcome.EXPIRED),
}
FACTS = {"execution_id": EXECUTION, **HOLDER_FIELDS}


def test_a_started_attempt_is_held() -> None:
    assert attempt_after(STARTED) == Attempt(
        execution_id=EXECUTION,
        attempt_index=0,
        worker_id="worker-1",
        worker_instance_id="instance-1",
        lease_id=LEASE,
        lease_epoch=1,
        lease_ttl_ms=TTL,
        lease_state=LeaseState.HELD,
        lease_expires_at_ms=EXPIRY,
        lease_ended_at_ms=None,
        outcome=None,
    )


AS_RESUMED = {
    "worker_id": "worker-2",
    "worker_instance_id": None,
    "lease_id": NEXT_LEASE,
    "lease_epoch": 2,
    "lease_ttl_ms": 700,
    "lease_expires_at_ms": 2_400,
}
AS_EXPIRED = {
    "lease_state": LeaseState.EXPIRED,
    "lease_expires_at_ms": None,
    "lease_ended_at_ms": EXPIRY,
}
AS_REVOKED = {
    "lease_state": LeaseState.REVOKED,
    "lease_expires_at_ms": None,
    "lease_ended_at_ms": 1_200,
}
FOLDS = {
    "progress": ((make(AttemptProgressed),), {}),
    "renewal": ((RENEWED,), {"lease_expires_at_ms": 1_900}),
    "expiry": ((EXPIRED,), AS_EXPIRED),
    "revocation": ((REVOKED,), AS_REVOKED),
    "resumption unrecorded": ((RESUMED,), AS_RESUMED),
    "resumption after expiry": ((EXPIRED, RESUMED), AS_RESUMED),
    "resumption after revocation": ((REVOKED, RESUMED), AS_RESUMED),
}


@pytest.mark.parametrize("case", FOLDS)
def test_an_event_changes_these_fields_and_no_others(case) -> None:
    events, changes = FOLDS[case]
    expected = dataclasses.replace(attempt_after(STARTED), **changes)
    assert attempt_after(STARTED, *events) == expected


@pytest.mark.parametrize("case", ENDS)
def test_an_end_closes_the_attempt_and_its_lease(case) -> None:
    event, outcome = ENDS[case]
    event = event.model_copy(update={"occurred_at_ms": 1_300})
    assert attempt_after(STARTED, event) == dataclasses.replace(
        attempt_after(STARTED),
        lease_state=LeaseState.ENDED,
        lease_expires_at_ms=None,
        lease_ended_at_ms=1_300,
        outcome=outcome,
    )
    assert attempts.outcome_of(event) is outcome


@pytest.mark.parametrize(
    ("before", "ended_at_ms"),
    [((), EXPIRY), ((EXPIRED,), EXPIRY), ((REVOKED,), 1_200), ((RENEWED,), 1_900)],
    ids=["run out", "expiry recorded", "revoked", "renewed and run out"],
)
def test_a_lease_ended_when_it_ran_out_not_when_the_attempt_closed(
    before, ended_at_ms
) -> None:
    late = make(AttemptCancelled, occurred_at_ms=5_000)
    assert attempt_after(STARTED, *before, late).lease_ended_at_ms == ended_at_ms


@pytest.mark.parametrize(
    "event_type",
    [each for each in get_args(AnyAttemptEvent) if each is not AttemptStarted],
    ids=lambda each: each.TOPIC,
)
def test_a_stream_that_begins_otherwise_is_refused(event_type) -> None:
    with pytest.raises(ValueError, match=rf"begins with .*not {event_type.TOPIC}"):
        attempts.evolve(None, make(event_type))


def test_a_second_start_is_refused() -> None:
    with pytest.raises(ValueError, match="starts once"):
        attempts.evolve(attempt_after(STARTED), STARTED)


FREE = {
    "held, before the expiry": ((), EXPIRY - 1, (False, False)),
    "held, at the expiry": ((), EXPIRY, (True, True)),
    "renewed past the first expiry": ((RENEWED,), EXPIRY, (False, False)),
    "expiry recorded": ((EXPIRED,), NOW, (True, True)),
    "revoked": ((REVOKED,), EXPIRY + 1, (False, True)),
    "resumed": ((EXPIRED, RESUMED), 2_399, (False, False)),
    "ended": ((make(AttemptSucceeded),), 5_000, (False, False)),
}


@pytest.mark.parametrize("case", FREE)
def test_a_lease_runs_out_at_its_expiry_and_a_revoked_one_is_free(case) -> None:
    events, now_ms, (run_out, free) = FREE[case]
    attempt = attempt_after(STARTED, *events)
    assert attempt.has_run_out(now_ms=now_ms) is run_out
    assert attempt.is_free(now_ms=now_ms) is free


def test_the_facts_of_an_attempt_are_those_of_its_current_lease() -> None:
    assert attempt_after(STARTED).facts == FACTS
    assert attempt_after(STARTED, RESUMED).facts == {
        "execution_id": EXECUTION,
        "attempt_index": 0,
        "lease_id": NEXT_LEASE,
        "lease_epoch": 2,
        "worker_id": "worker-2",
        "worker_instance_id": None,
    }


@pytest.mark.parametrize(
    ("now_ms", "expires_at_ms"),
    [(1_200, 1_200 + TTL), (NOW + 1, EXPIRY + 1), (NOW, EXPIRY + 1), (1, EXPIRY + 1)],
    ids=["later", "a millisecond later", "at the same time", "after a step back"],
)
def test_a_renewal_runs_a_ttl_from_now_and_always_longer(now_ms, expires_at_ms) -> None:
    renewed = attempts.renew(attempt_after(STARTED), now_ms=now_ms)
    assert renewed == AttemptLeaseRenewed(
        **FACTS, occurred_at_ms=now_ms, lease_expires_at_ms=expires_at_ms
    )


def test_a_renewal_after_a_resumption_uses_the_new_ttl() -> None:
    renewed = attempts.renew(attempt_after(STARTED, RESUMED), now_ms=2_000)
    assert (renewed.lease_expires_at_ms, renewed.lease_epoch) == (2_700, 2)


@pytest.mark.parametrize(
    ("percent", "message"), [(25, None), (None, "halfway"), (0, ""), (12.5, "x")]
)
def test_progress_says_what_was_given(percent, message) -> None:
    attempt = attempt_after(STARTED)
    reported = attempts.progress(
        attempt, percent=percent, message=message, now_ms=1_100
    )
    assert reported == (
        AttemptProgressed(
            **FACTS, occurred_at_ms=1_100, percent=percent, message=message
        ),
    )


def test_progress_with_neither_is_nothing() -> None:
    attempt = attempt_after(STARTED)
    assert attempts.progress(attempt, percent=None, message=None, now_ms=1_100) == ()


@pytest.mark.parametrize("cause", [LeaseCause.SWEEP, LeaseCause.CLAIM])
def test_an_expiry_is_recorded_from_its_very_millisecond(cause) -> None:
    attempt = attempt_after(STARTED)
    assert attempts.expire_lease(attempt, cause=cause, now_ms=EXPIRY - 1) == ()
    assert attempts.expire_lease(attempt, cause=cause, now_ms=EXPIRY) == (
        AttemptLeaseExpired(
            **FACTS, occurred_at_ms=EXPIRY, lease_expires_at_ms=EXPIRY, cause=cause
        ),
    )


@pytest.mark.parametrize(
    "event", [EXPIRED, REVOKED, make(AttemptSucceeded)], ids=lambda event: event.TOPIC
)
def test_what_is_over_does_not_expire_again(event) -> None:
    attempt = attempt_after(STARTED, event)
    swept = attempts.expire_lease(attempt, cause=LeaseCause.SWEEP, now_ms=10**12)
    assert swept == ()


def test_the_states_of_a_lease_are_stored_under_these_names() -> None:
    assert [str(state) for state in LeaseState] == [
        *("held", "expired", "revoked", "ended")
    ]


def test_a_resumed_attempt_is_held_by_the_instance_that_resumed_it() -> None:
    resumed = make(AttemptLeaseReclaimed, worker_instance_id="another:7")
    assert attempt_after(STARTED, resumed).worker_instance_id == "another:7"
