"""Time never steps back within an execution, whatever the clock does."""

import pytest

import leasehold

TTL_MS = 30_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def times(ledger, execution_id):
    history = ledger.read.history(execution_id)
    return [(e.topic, e.event.occurred_at_ms, e.event.clock_at_ms) for e in history]


def test_the_clocks_own_reading_is_kept_only_where_clamped(
    ledger, clock, start
) -> None:
    begun = clock()
    handle = start()
    clock.advance(-1)
    ledger.renew(handle)
    clock.advance(1)
    ledger.progress(handle, 1)
    clock.advance(5)
    ledger.progress(handle, 2)
    assert times(ledger, handle.execution_id) == [
        ("execution.created", begun, None),
        ("execution.claimed", begun, None),
        ("attempt.started", begun, None),
        ("attempt.lease_renewed", begun, begun - 1),
        ("attempt.progressed", begun, None),
        ("attempt.progressed", begun + 5, None),
    ]


def test_a_claim_before_the_creation_is_clamped_to_it(ledger, clock, core) -> None:
    execution_id = ledger.create_execution()
    created = clock()
    clock.advance(-5_000)
    handle = ledger.claim(worker_id="w", lease_ttl_ms=1_000)
    assert handle.lease_expires_at_ms == created + 1_000
    assert core(execution_id)["started_at_ms"] == created
    assert times(ledger, execution_id)[-1][1:] == (created, created - 5_000)


@pytest.mark.parametrize("stream", ["execution", "attempt", "frames", "refusals"])
def test_the_last_time_of_every_stream_counts(
    stream, ledger, clock, start, mismatched
) -> None:
    handle = start(ttl=100_000)
    latest = clock.advance(50_000)
    if stream == "execution":
        ledger.change_priority(handle.execution_id, 5, actor="ann")
    elif stream == "attempt":
        ledger.progress(handle, 1)
    elif stream == "frames":
        ledger.append_frame(handle, leasehold.Frame(b"x"))
    else:
        with pytest.raises(leasehold.LeaseConflictError):
            ledger.renew(mismatched(handle))

    for call in (
        lambda: ledger.renew(handle),
        lambda: ledger.progress(handle, 2),
        lambda: ledger.append_frame(handle, leasehold.Frame(b"y")),
        lambda: ledger.change_priority(handle.execution_id, 6, actor="ann"),
        lambda: ledger.complete(handle),
    ):
        clock.set(latest - 20_000)
        call()
        assert times(ledger, handle.execution_id)[-1][1:] == (latest, clock())


def test_time_never_steps_back_under_a_wild_clock(ledger, clock, mismatched) -> None:
    base = clock()
    steps = [0, 300, -700, 20, -5, 900, -2_000, 1_500, -100, 50, 2_500, -1, 4_000]
    policy = leasehold.RetryPolicy(max_retries=99, backoff=leasehold.Fixed(0))
    execution_id = ledger.create_execution(retry_policy=policy)
    clock.set(base)
    for number, step in enumerate(steps):
        clock.advance(step)
        handle = ledger.claim(worker_id="w", lease_ttl_ms=60_000)
        assert handle is not None
        clock.advance(-step)
        ledger.renew(handle)
        ledger.append_frame(handle, leasehold.Frame(b"x"))
        clock.advance(2 * step)
        with pytest.raises(leasehold.LeaseConflictError):
            ledger.progress(mismatched(handle), number)
        clock.advance(-3 * step)
        ledger.fail(handle, "again", leasehold.FailureClass.TRANSIENT)
    moments = [moment for _, moment, _ in times(ledger, execution_id)]
    assert moments == sorted(moments)


def test_an_expired_lease_does_not_come_back_to_life(ledger, clock, start) -> None:
    handle = start(ttl=1_000)
    clock.advance(1_500)
    with pytest.raises(leasehold.LeaseExpiredError):
        ledger.renew(handle)
    clock.advance(-1_000)
    with pytest.raises(leasehold.LeaseExpiredError):
        ledger.complete(handle)


def test_another_executions_time_does_not_count(ledger, clock, start) -> None:
    clock.advance(10_000)
    start()
    clock.advance(-10_000)
    execution_id = ledger.create_execution()
    assert times(ledger, execution_id) == [("execution.created", clock(), None)]


def test_a_clamped_terminal_time_is_in_the_tables(
    ledger, clock, start, core, attempt_row, lease_rows
) -> None:
    handle = start()
    latest = clock.advance(500)
    ledger.progress(handle, 1)
    clock.advance(-400)
    ledger.complete(handle)
    assert core(handle.execution_id)["terminal_at_ms"] == latest
    assert attempt_row(handle.execution_id)["terminal_at_ms"] == latest
    assert lease_rows(handle.execution_id)[-1]["occurred_at_ms"] == latest


def test_recorded_at_is_the_time_of_the_event(ledger, clock, start) -> None:
    handle = start()
    clock.advance(100)
    ledger.progress(handle, 1)
    assert ledger.read.history(handle.execution_id)[-1].recorded_at_ms == clock()


def test_without_a_clock_the_time_of_the_store_counts(store_url, store_now_ms) -> None:
    with leasehold.open(store_url) as ledger:
        before = store_now_ms()
        row = ledger.read.execution(ledger.create_execution())
        assert before <= row.created_at_ms <= store_now_ms()


def test_a_lease_given_by_a_clock_that_is_ahead_stands_until_then_or_until_revoked(
    ledger, clock
) -> None:
    execution_id = ledger.create_execution()
    begun = clock()
    clock.advance(DAY_MS)
    ahead = ledger.claim(worker_id="ahead", lease_ttl_ms=TTL_MS)
    clock.set(begun)
    assert ledger.claim(worker_id="w") is None
    assert ledger.sweep().leases_expired == 0
    ledger.revoke_lease(execution_id, actor="ann", reason="its clock was a day ahead")
    taken_over = ledger.claim(worker_id="w", lease_ttl_ms=TTL_MS)
    assert taken_over.lease_epoch == ahead.lease_epoch + 1
    with pytest.raises(leasehold.LeaseConflictError):
        ledger.complete(ahead)
    # Time stands still there until the clock is where it has been.
    assert taken_over.lease_expires_at_ms == begun + DAY_MS + TTL_MS
    clock.set(begun + DAY_MS - 1)
    ledger.complete(taken_over)
    assert_only_the_clock_is_wondered_at(ledger)


def test_a_clock_that_jumps_ahead_ends_the_leases_of_others_who_are_refused(
    ledger, clock, start
) -> None:
    held, begun = start(ttl=TTL_MS), clock()
    clock.advance(DAY_MS)
    taken_over = ledger.claim(worker_id="ahead", lease_ttl_ms=TTL_MS)
    assert taken_over.execution_id == held.execution_id
    clock.set(begun + 1)
    with pytest.raises(leasehold.LeaseConflictError):
        ledger.complete(held)
    ledger.complete(taken_over)
    assert_only_the_clock_is_wondered_at(ledger)


def test_a_step_back_makes_a_lease_last_longer_by_the_step(
    ledger, clock, start
) -> None:
    held = start(ttl=TTL_MS)
    clock.advance(-HOUR_MS)
    renewed = [ledger.renew(held).expires_at_ms for _ in range(3)]
    assert renewed == [held.lease_expires_at_ms + more for more in (1, 2, 3)]
    clock.set(renewed[-1] - 1)
    assert ledger.claim(worker_id="w") is None
    clock.advance(1)
    assert ledger.claim(worker_id="w").lease_epoch == 2
    assert_only_the_clock_is_wondered_at(ledger)


def assert_only_the_clock_is_wondered_at(ledger) -> None:
    report = ledger.audit()
    assert report.ok
    found = {finding.check.value for finding in report.findings}
    assert found - {"refused_write"} == {"clock_regression"}
