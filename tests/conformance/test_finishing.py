"""Completing and failing: what is kept, and when a failure is tried again."""

import json

import pytest

import leasehold

TRANSIENT = leasehold.FailureClass.TRANSIENT
CLASSES = leasehold.FailureClass


@pytest.mark.parametrize("result", [None, b"", b"\x00answer\xff"])
def test_complete_keeps_the_result(result, ledger, clock, start, core) -> None:
    handle = start()
    clock.advance(20)
    assert ledger.complete(handle, result) is None
    row = core(handle.execution_id)
    assert row["result"] == result
    assert row["terminal_at_ms"] == clock()


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_run_of_bytes_serves(kind, ledger, start, core, sql) -> None:
    handle = start(payload=kind(b"in"))
    ledger.append_frame(handle, leasehold.Frame(kind(b"frame")))
    ledger.complete(handle, kind(b"out"))
    assert core(handle.execution_id)["payload"] == b"in"
    assert core(handle.execution_id)["result"] == b"out"
    assert sql("SELECT payload FROM stream_frame") == [{"payload": b"frame"}]


def test_complete_ends_the_lease(ledger, clock, start, attempt_row, lease_rows) -> None:
    handle = start(worker="w")
    clock.advance(20)
    ledger.complete(handle)
    attempt = attempt_row(handle.execution_id)
    assert attempt["outcome"] == "success"
    assert attempt["lease_expires_at_ms"] is None
    assert attempt["terminal_at_ms"] == clock()
    assert attempt["failure_class"] is None
    last = lease_rows(handle.execution_id)[-1]
    assert (last["event_type"], last["cause"]) == ("revoked", "completed")
    assert last["lease_id"] == str(handle.lease_id)
    assert (last["lease_epoch"], last["attempt_index"]) == (1, 0)
    assert last["worker_id"] == "w"
    assert last["occurred_at_ms"] == clock()


@pytest.mark.parametrize("failure_class", ["TRANSIENT", "INFRA_CRASH"])
def test_a_passing_failure_is_tried_again(
    failure_class, ledger, clock, start, core, lease_story
) -> None:
    handle = start()
    outcome = ledger.fail(handle, "flaky", CLASSES[failure_class])
    assert outcome == leasehold.RetryScheduled(
        attempt_index=1, delay_until_ms=clock() + 1_000
    )
    row = core(handle.execution_id)
    assert row["public_state"] == "delayed"
    assert row["eligible_at_ms"] == clock() + 1_000
    assert row["terminal_at_ms"] is None
    assert lease_story(handle.execution_id)[-1] == ("revoked", "retry_scheduled")


@pytest.mark.parametrize("failure_class", ["PERMANENT", "TIMEOUT", "CANCELLED"])
def test_a_lasting_failure_is_the_end(
    failure_class, ledger, clock, start, core, lease_story
) -> None:
    handle = start()
    outcome = ledger.fail(handle, "broken", CLASSES[failure_class])
    assert outcome == leasehold.TerminalFailed("not_retryable")
    row = core(handle.execution_id)
    assert row["public_state"] == "failed"
    assert row["terminal_at_ms"] == clock()
    assert lease_story(handle.execution_id)[-1] == ("revoked", "failed")


@pytest.mark.parametrize("failure_class", ["TRANSIENT", "PERMANENT"])
def test_message_detail_and_class_are_kept_on_the_attempt(
    failure_class, ledger, clock, start, attempt_row, core
) -> None:
    handle = start()
    clock.advance(5)
    reason = leasehold.FailureReason("out of memory", detail="Traceback: …")
    ledger.fail(handle, reason, CLASSES[failure_class])
    row = attempt_row(handle.execution_id)
    assert row["failure_message"] == "out of memory"
    assert row["failure_detail"] == "Traceback: …"
    assert row["failure_class"].lower() == failure_class.lower()
    assert row["terminal_at_ms"] == clock()
    assert row["lease_expires_at_ms"] is None
    raw = json.loads(core(handle.execution_id)["raw_fields"])
    assert raw == {"last_failure_message": "out of memory"}


def test_a_reason_may_be_plain_text(ledger, start, attempt_row) -> None:
    handle = start()
    ledger.fail(handle, "plain", TRANSIENT)
    row = attempt_row(handle.execution_id)
    assert (row["failure_message"], row["failure_detail"]) == ("plain", None)


def test_a_retry_is_claimed_fresh_when_its_time_has_come(
    ledger, clock, start, core, attempt_row
) -> None:
    handle = start()
    outcome = ledger.fail(handle, "flaky", TRANSIENT)
    clock.advance(999)
    assert ledger.claim(worker_id="w2") is None
    clock.advance(1)
    assert clock() == outcome.delay_until_ms

    retried = ledger.claim(worker_id="w2")

    assert retried.kind is leasehold.HandleKind.FRESH
    assert (retried.attempt_index, retried.lease_epoch) == (1, 2)
    assert core(handle.execution_id)["lease_reclaim_count"] == 0
    assert attempt_row(handle.execution_id, 0)["outcome"] == "retry"
    assert attempt_row(handle.execution_id, 1)["outcome"] is None


def delays_of(ledger, clock, handle):
    """Fail until the end; return the delays and the last outcome."""
    delays = []
    while True:
        outcome = ledger.fail(handle, "flaky", TRANSIENT)
        if isinstance(outcome, leasehold.TerminalFailed):
            return delays, outcome
        delays.append(outcome.delay_until_ms - clock())
        clock.set(max(clock(), outcome.delay_until_ms))
        handle = ledger.claim(worker_id="w")
        assert handle.attempt_index == outcome.attempt_index == len(delays)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (leasehold.RetryPolicy(), [1_000, 2_000, 4_000]),
        (leasehold.RetryPolicy(max_retries=0), []),
        (
            leasehold.RetryPolicy(
                max_retries=5,
                backoff=leasehold.Exponential(
                    initial_ms=100, multiplier=3.0, max_ms=1_000
                ),
            ),
            [100, 300, 900, 1_000, 1_000],
        ),
        (
            leasehold.RetryPolicy(max_retries=2, backoff=leasehold.Fixed(250)),
            [250, 250],
        ),
    ],
)
def test_the_backoff_is_that_of_the_policy(
    policy, expected, ledger, clock, start, core
) -> None:
    handle = start(retry_policy=policy)
    delays, last = delays_of(ledger, clock, handle)
    assert delays == expected
    assert last == leasehold.TerminalFailed("retries_exhausted")
    assert core(handle.execution_id)["public_state"] == "failed"


def test_many_retries_never_overflow_the_backoff(ledger, clock, start) -> None:
    backoff = leasehold.Exponential(initial_ms=1, multiplier=1_000.0, max_ms=2)
    policy = leasehold.RetryPolicy(max_retries=150, backoff=backoff)
    delays, _ = delays_of(ledger, clock, start(retry_policy=policy))
    assert delays == [1] + [2] * 149


def test_jitter_spreads_the_delay_around_its_middle(ledger, clock) -> None:
    policy = leasehold.RetryPolicy(
        backoff=leasehold.Exponential(initial_ms=10_000, jitter=0.5)
    )
    ledger.create_executions([{"retry_policy": policy}] * 40)
    delays = []
    while handle := ledger.claim(worker_id="w"):
        outcome = ledger.fail(handle, "flaky", TRANSIENT)
        delays.append(outcome.delay_until_ms - clock())
    assert len(delays) == 40
    assert all(5_000 <= delay <= 15_000 for delay in delays)
    assert len(set(delays)) > 30
    assert min(delays) < 10_000 < max(delays)


def test_no_backoff_at_all_is_due_at_once(ledger, clock, start, core) -> None:
    policy = leasehold.RetryPolicy(backoff=leasehold.Fixed(0))
    handle = start(retry_policy=policy)
    outcome = ledger.fail(handle, "flaky", TRANSIENT)
    assert outcome == leasehold.RetryScheduled(1, clock())
    assert core(handle.execution_id)["public_state"] == "pending"
    assert ledger.claim(worker_id="w").attempt_index == 1


def test_take_overs_do_not_use_up_retries(ledger, clock, start) -> None:
    policy = leasehold.RetryPolicy(max_retries=1, backoff=leasehold.Fixed(0))
    start(ttl=1_000, retry_policy=policy)
    for _ in range(3):
        clock.advance(1_000)
        handle = ledger.claim(worker_id="w", lease_ttl_ms=1_000)
    assert handle.attempt_index == 3
    outcome = ledger.fail(handle, "flaky", TRANSIENT)
    assert outcome == leasehold.RetryScheduled(4, clock())
    last = ledger.fail(ledger.claim(worker_id="w"), "flaky", TRANSIENT)
    assert last == leasehold.TerminalFailed("retries_exhausted")


def test_a_replay_gives_the_retries_back(ledger, clock, start) -> None:
    policy = leasehold.RetryPolicy(max_retries=1, backoff=leasehold.Fixed(0))
    handle = start(retry_policy=policy)
    delays_of(ledger, clock, handle)
    ledger.replay_execution(handle.execution_id, actor="ann", reason="again")
    outcome = ledger.fail(ledger.claim(worker_id="w"), "flaky", TRANSIENT)
    assert isinstance(outcome, leasehold.RetryScheduled)
    assert outcome.attempt_index == 3
