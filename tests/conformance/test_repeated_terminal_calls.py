"""A complete or fail said twice by the same lease answers as the first did."""

import uuid

import pytest

import leasehold

TRANSIENT = leasehold.FailureClass.TRANSIENT
PERMANENT = leasehold.FailureClass.PERMANENT
REASON = leasehold.FailureReason("broke", detail="where")

CALLS = {
    "complete": lambda ledger, handle: ledger.complete(handle, b"answer"),
    "complete with nothing": lambda ledger, handle: ledger.complete(handle),
    "fail for good": lambda ledger, handle: ledger.fail(handle, REASON, PERMANENT),
    "fail to a retry": lambda ledger, handle: ledger.fail(handle, REASON, TRANSIENT),
}

every_call = pytest.mark.parametrize("call_name", CALLS)


def assert_repeats(ledger, handle, call_name, first, snapshot):
    before = snapshot()
    for _ in range(3):
        assert CALLS[call_name](ledger, handle) == first
    assert snapshot() == before


@every_call
def test_a_repeat_answers_as_the_first_and_records_nothing(
    call_name, ledger, start, snapshot
) -> None:
    handle = start()
    first = CALLS[call_name](ledger, handle)
    assert_repeats(ledger, handle, call_name, first, snapshot)


@every_call
def test_a_repeat_is_answered_long_after_the_lease_ran_out(
    call_name, ledger, clock, start, snapshot
) -> None:
    handle = start(ttl=1_000)
    clock.advance(999)
    first = CALLS[call_name](ledger, handle)
    clock.advance(10_000_000)
    assert_repeats(ledger, handle, call_name, first, snapshot)


@every_call
def test_a_repeat_is_answered_after_a_replay(
    call_name, ledger, clock, start, snapshot
) -> None:
    handle = start()
    first = CALLS[call_name](ledger, handle)
    if call_name == "fail to a retry":
        ledger.cancel_execution(handle.execution_id, actor="ann", reason="end")
    ledger.replay_execution(handle.execution_id, actor="ann", reason="again")
    assert_repeats(ledger, handle, call_name, first, snapshot)
    new = ledger.claim(worker_id="w2")
    assert_repeats(ledger, handle, call_name, first, snapshot)
    ledger.complete(new, b"another answer")
    assert_repeats(ledger, handle, call_name, first, snapshot)


def test_a_repeat_is_answered_after_the_retry_was_claimed_by_another(
    ledger, clock, start, snapshot
) -> None:
    handle = start()
    first = ledger.fail(handle, REASON, TRANSIENT)
    clock.advance(1_000)
    retried = ledger.claim(worker_id="w2")
    assert retried.attempt_index == 1
    assert_repeats(ledger, handle, "fail to a retry", first, snapshot)
    ledger.fail(retried, REASON, PERMANENT)
    assert_repeats(ledger, handle, "fail to a retry", first, snapshot)


def test_a_repeat_after_the_last_retry_names_the_cause(ledger, start) -> None:
    handle = start(retry_policy=leasehold.RetryPolicy(max_retries=0))
    first = ledger.fail(handle, REASON, TRANSIENT)
    assert first == leasehold.TerminalFailed("retries_exhausted")
    assert ledger.fail(handle, REASON, TRANSIENT) == first


def test_a_resumed_lease_may_repeat_itself_but_not_the_one_before(
    ledger, clock, start, snapshot
) -> None:
    old = start(ttl=1_000)
    clock.advance(1_000)
    grant = ledger.issue_resume_grant(old.execution_id, worker_id="w2")
    resumed = ledger.claim_from_resume_grant(grant, worker_id="w2")
    ledger.complete(resumed, b"answer")
    assert_repeats(ledger, resumed, "complete", None, snapshot)
    with pytest.raises(leasehold.ExecutionNotActiveError):
        ledger.complete(old, b"answer")


DIFFERENT = {
    "complete": [
        lambda ledger, handle: ledger.complete(handle, b"other"),
        lambda ledger, handle: ledger.complete(handle),
        lambda ledger, handle: ledger.complete(handle, b""),
        lambda ledger, handle: ledger.fail(handle, REASON, PERMANENT),
    ],
    "complete with nothing": [
        lambda ledger, handle: ledger.complete(handle, b""),
        lambda ledger, handle: ledger.complete(handle, b"other"),
    ],
    "fail for good": [
        lambda ledger, handle: ledger.fail(handle, "broke", PERMANENT),
        lambda ledger, handle: ledger.fail(handle, REASON, TRANSIENT),
        lambda ledger, handle: ledger.fail(
            handle, leasehold.FailureReason("other", detail="where"), PERMANENT
        ),
        lambda ledger, handle: ledger.complete(handle),
    ],
    "fail to a retry": [
        lambda ledger, handle: ledger.fail(handle, "broke", TRANSIENT),
        lambda ledger, handle: ledger.fail(
            handle, REASON, leasehold.FailureClass.INFRA_CRASH
        ),
        lambda ledger, handle: ledger.complete(handle, b"answer"),
    ],
}


@every_call
def test_with_other_arguments_it_is_refused(call_name, ledger, start, core) -> None:
    handle = start()
    CALLS[call_name](ledger, handle)
    before = core(handle.execution_id)
    for different in DIFFERENT[call_name]:
        with pytest.raises(leasehold.ExecutionNotActiveError):
            different(ledger, handle)
    assert core(handle.execution_id) == before


@every_call
def test_another_lease_with_equal_arguments_is_refused(
    call_name, ledger, start, mismatched
) -> None:
    handle = start()
    CALLS[call_name](ledger, handle)
    for presented in (mismatched(handle), handle.replace(lease_id=uuid.uuid4())):
        with pytest.raises(leasehold.ExecutionNotActiveError):
            CALLS[call_name](ledger, presented)


def test_with_other_arguments_a_retry_in_other_hands_is_a_conflict(
    ledger, clock, start
) -> None:
    handle = start()
    ledger.fail(handle, REASON, TRANSIENT)
    clock.advance(1_000)
    assert ledger.claim(worker_id="w2") is not None
    with pytest.raises(leasehold.LeaseConflictError):
        ledger.fail(handle, "something else", TRANSIENT)
    with pytest.raises(leasehold.LeaseConflictError):
        ledger.complete(handle)


@every_call
def test_a_repeat_is_answered_from_another_ledger_on_the_same_store(
    call_name, shared_url, clock
) -> None:
    with leasehold.open(shared_url, clock=clock) as first_ledger:
        first_ledger.create_execution()
        handle = first_ledger.claim(worker_id="w")
        first = CALLS[call_name](first_ledger, handle)
    with leasehold.open(shared_url, clock=clock) as second_ledger:
        again = leasehold.Handle.parse(str(handle))
        assert CALLS[call_name](second_ledger, again) == first
