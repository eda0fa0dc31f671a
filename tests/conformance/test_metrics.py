"""The live figures of a ledger: what its calls did, and the oldest orphan."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, astuple, replace

import pytest

import leasehold
from leasehold import FailureClass, HandleKind

NONE = leasehold.Metrics(
    claims=dict.fromkeys(HandleKind, 0),
    empty_claims=0,
    renewals=0,
    refusals={},
    errors={},
    expiries=0,
    creations=0,
    completions=0,
    failures=0,
    retries=0,
    cancellations=0,
    deadlines_passed=0,
    time_to_reclaim=None,
    renewal_headroom=None,
    commit_time=None,
    oldest_orphan_ms=None,
)


def counts(ledger):
    """Return the figures without the times."""
    return replace(
        ledger.metrics(),
        time_to_reclaim=None,
        renewal_headroom=None,
        commit_time=None,
    )


def expected(**figures):
    claims = {kind: figures.pop(kind.value, 0) for kind in HandleKind}
    return replace(NONE, claims=claims, **figures)


def times(timing):
    """Return the times but the buckets."""
    return astuple(timing)[:-1]


def filled(timing):
    """Return the buckets that hold something."""
    return {bound: count for bound, count in timing.buckets.items() if count}


def test_a_ledger_that_was_just_opened_did_nothing(ledger) -> None:
    assert counts(ledger) == NONE
    metrics = ledger.metrics()
    for timing in (
        metrics.time_to_reclaim,
        metrics.renewal_headroom,
        metrics.commit_time,
    ):
        assert times(timing) == (0, 0.0, None, None, None)
        assert filled(timing) == {}
        assert list(timing.buckets)[-1] == math.inf
        assert list(timing.buckets) == sorted(timing.buckets)


def test_what_a_worker_does_is_counted(ledger, clock, start) -> None:
    handle = start()
    clock.advance(10_000)
    ledger.renew(handle)
    clock.advance(29_000)
    ledger.renew(handle)
    ledger.progress(handle, 50)
    ledger.append_frame(handle, leasehold.Frame(b"line"))
    ledger.complete(handle, b"done")
    ledger.complete(handle, b"done")  # Answered as before: nothing happens.
    assert ledger.claim(worker_id="w") is None
    assert counts(ledger) == expected(
        fresh=1, creations=1, renewals=2, completions=1, empty_claims=1
    )
    headroom = ledger.metrics().renewal_headroom
    assert times(headroom) == (2, 21_000, 1_000, 20_000, 1_000)
    assert filled(headroom) == {1_000: 1, 30_000: 1}


def test_how_executions_end_is_counted(ledger, clock, start) -> None:
    ledger.fail(start(), "broke", FailureClass.TRANSIENT)
    ledger.fail(start(), "broke", FailureClass.PERMANENT)
    one = start().execution_id
    for _ in range(2):
        ledger.cancel_execution(one, actor="ann", reason="no use")
    ledger.create_execution(deadline_at_ms=clock() + 10)
    clock.advance(10)
    ledger.sweep()
    assert counts(ledger) == expected(
        fresh=3,
        creations=4,
        retries=1,
        failures=1,
        cancellations=1,
        deadlines_passed=1,
    )


def test_the_time_to_reclaim_counts_from_the_end_of_the_lease(
    ledger, clock, start
) -> None:
    start(ttl=1_000)
    clock.advance(1_250)
    second = ledger.claim(worker_id="w2", lease_ttl_ms=1_000)
    clock.advance(1_000)
    assert ledger.sweep().leases_expired == 1
    clock.advance(40)
    third = ledger.claim(worker_id="w3")
    assert (second.kind, third.kind) == (HandleKind.RECLAIMED, HandleKind.RECLAIMED)
    clock.advance(7)
    ledger.revoke_lease(third.execution_id, actor="ann", reason="stuck")
    clock.advance(300)
    grant = ledger.issue_resume_grant(third.execution_id, worker_id="w4")
    assert ledger.claim_from_resume_grant(grant, worker_id="w4") is not None
    assert counts(ledger) == expected(
        fresh=1, reclaimed=2, resumed=1, creations=1, expiries=2
    )
    reclaims = ledger.metrics().time_to_reclaim
    assert times(reclaims) == (3, 590, 40, 300, 300)
    assert filled(reclaims) == {50: 1, 250: 1, 500: 1}


def test_an_execution_that_is_taken_over_too_often_has_failed(
    ledger, clock, start
) -> None:
    start(ttl=1_000, max_reclaim_count=0)
    clock.advance(1_000)
    assert ledger.claim(worker_id="w") is None
    assert counts(ledger) == expected(
        fresh=1, creations=1, expiries=1, failures=1, empty_claims=1
    )
    assert ledger.metrics().time_to_reclaim.count == 0


def test_a_grant_that_comes_too_early_is_an_empty_claim(ledger, start) -> None:
    grant = ledger.issue_resume_grant(start().execution_id, worker_id="w")
    assert ledger.claim_from_resume_grant(grant, worker_id="w") is None
    assert counts(ledger) == expected(fresh=1, creations=1, empty_claims=1)


def test_every_refusal_is_counted_recorded_or_not(
    ledger, clock, start, mismatched, call, topics
) -> None:
    handle = start(ttl=1_000)
    for operation in ("renew", "progress", "append_frame", "complete", "fail"):
        with pytest.raises(leasehold.LeaseConflictError):
            call(ledger, operation, wrong := mismatched(handle))
        with pytest.raises(leasehold.LeaseConflictError):
            call(ledger, operation, wrong)
    clock.advance(1_000)
    for _ in range(3):
        with pytest.raises(leasehold.LeaseExpiredError):
            ledger.renew(handle)
    ledger.cancel_execution(handle.execution_id, actor="ann", reason="late")
    with pytest.raises(leasehold.ExecutionNotActiveError):
        ledger.complete(handle)
    with pytest.raises(leasehold.InvalidGrantError):
        ledger.claim_from_resume_grant(
            leasehold.ResumeGrant(uuid.uuid4(), handle.execution_id, "w", clock() + 9),
            worker_id="w",
        )
    metrics = ledger.metrics()
    assert metrics.refusals == {
        "lease_conflict": 10,
        "lease_expired": 3,
        "execution_not_active": 1,
        "invalid_grant": 1,
    }
    assert metrics.errors == {}
    assert metrics.empty_claims == 0
    assert topics(handle.execution_id).count("refusal.recorded") < 14


def test_the_parts_of_a_call_of_several_count_one_by_one(
    ledger, start, mismatched
) -> None:
    one, two = start(), start()
    renewed, refused = ledger.renew_many([one, mismatched(two)])
    assert isinstance(renewed, leasehold.LeaseRenewal)
    assert isinstance(refused, leasehold.LeaseConflictError)
    assert ledger.claim_many(5, worker_id="w") == []
    assert counts(ledger) == expected(
        fresh=2, creations=2, renewals=1, refusals={"lease_conflict": 1}, empty_claims=1
    )


def test_what_is_rolled_back_counts_nowhere(ledger) -> None:
    ledger.create_execution(idempotency_key="order", payload=b"1")
    specs = [{"payload": b"2"}, {"idempotency_key": "order", "payload": b"3"}]
    with pytest.raises(leasehold.ConflictError):
        ledger.create_executions(specs)
    assert counts(ledger) == expected(creations=1, errors={"conflict": 1})
    assert ledger.metrics().commit_time.count == 1


def test_a_claim_that_ends_in_an_error_counts_as_that_error(ledger, clock) -> None:
    ledger.create_execution()
    clock.set("soon")
    with pytest.raises(leasehold.InvalidInputError):
        ledger.claim(worker_id="w")
    clock.set(1_700_000_000_001)
    assert counts(ledger) == expected(creations=1, errors={"invalid_input": 1})
    assert ledger.claim(worker_id="w") is not None
    assert ledger.metrics().claims[HandleKind.FRESH] == 1


def test_an_error_that_is_none_of_the_library_is_counted_by_its_type(
    store_url,
) -> None:
    def broken():
        raise BrokenClockError

    with leasehold.open(store_url, clock=broken) as ledger:
        with pytest.raises(BrokenClockError):
            ledger.create_execution()
        assert ledger.metrics(ask_store=False).errors == {"BrokenClockError": 1}


class BrokenClockError(Exception):
    pass


def test_what_is_refused_before_the_store_is_asked_counts_nowhere(
    ledger, start
) -> None:
    handle = start()
    with pytest.raises(leasehold.InvalidInputError):
        ledger.claim(worker_id="")
    with pytest.raises(leasehold.InvalidInputError):
        ledger.renew(handle.replace(backend=leasehold.BackendTag.VALKEY))
    assert counts(ledger) == expected(fresh=1, creations=1)


def test_a_commit_of_nothing_is_not_timed(ledger, start) -> None:
    ledger.claim(worker_id="w")
    ledger.sweep()
    assert ledger.metrics().commit_time.count == 0
    handle = start()
    ledger.progress(handle)
    ledger.progress(handle, 50)
    ledger.append_frame(handle, leasehold.Frame(b"line"))
    ledger.complete(handle)
    commits = ledger.metrics().commit_time
    assert commits.count == 5
    assert 0 < commits.min_ms <= commits.last_ms <= commits.max_ms <= commits.sum_ms
    assert sum(commits.buckets.values()) == 5


def test_the_figures_of_a_story_are_those_of_its_log(told) -> None:
    events = [stored.event for stored in told.read.events()]
    happened = Counter(event.TOPIC for event in events)
    started = [event for event in events if event.TOPIC == "attempt.started"]
    taken_over = sum(event.taken_over for event in started)
    resumed = happened["attempt.lease_reclaimed"]
    metrics = counts(told)
    assert taken_over
    assert resumed
    assert metrics == expected(
        fresh=len(started) - taken_over,
        reclaimed=taken_over,
        resumed=resumed,
        renewals=happened["attempt.lease_renewed"],
        expiries=happened["attempt.lease_expired"],
        creations=happened["execution.created"],
        completions=happened["execution.completed"],
        failures=happened["execution.failed"],
        retries=happened["execution.retry_scheduled"],
        cancellations=happened["execution.cancelled"],
        deadlines_passed=happened["execution.expired"],
        empty_claims=metrics.empty_claims,
        refusals=metrics.refusals,
        oldest_orphan_ms=metrics.oldest_orphan_ms,
    )
    assert sum(metrics.refusals.values()) >= happened["refusal.recorded"] > 0
    assert told.metrics().time_to_reclaim.count == taken_over + resumed


def test_each_ledger_counts_its_own(shared_url, clock) -> None:
    with (
        leasehold.open(shared_url, clock=clock) as one,
        leasehold.open(shared_url, clock=clock) as two,
    ):
        one.create_execution()
        handle = two.claim(worker_id="w", lease_ttl_ms=1_000)
        assert counts(one) == expected(creations=1)
        assert counts(two) == expected(fresh=1)
        clock.advance(1_500)
        assert handle is not None
        assert one.metrics().oldest_orphan_ms == 500
        assert two.metrics().oldest_orphan_ms == 500


def test_threads_lose_no_count(ledger) -> None:
    def work(number):
        lane = f"lane-{number}"
        for _ in range(30):
            ledger.create_execution(lane_id=lane)
            handle = ledger.claim(lane, worker_id=lane)
            ledger.renew(handle)
            ledger.complete(handle)
            ledger.claim(lane, worker_id=lane)
            with pytest.raises(leasehold.ExecutionNotActiveError):
                ledger.renew(handle)
            ledger.metrics(ask_store=False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert counts(ledger) == expected(
        fresh=120,
        creations=120,
        renewals=120,
        completions=120,
        empty_claims=120,
        refusals={"execution_not_active": 120},
    )
    assert ledger.metrics().commit_time.count == 600  # Refusals are recorded.


def test_calls_are_counted_before_anybody_asks(ledger) -> None:
    for _ in range(250):
        ledger.claim(worker_id="w")
    assert len(ledger._meter.ended) < 100
    assert ledger.metrics().empty_claims == 250


def test_a_large_batch_is_counted_at_once(ledger) -> None:
    ledger.create_executions([{}] * 150)
    assert not ledger._meter.ended
    assert ledger.metrics().creations == 150


def test_metrics_do_not_change_once_taken(ledger) -> None:
    before = ledger.metrics()
    ledger.create_execution()
    assert before.creations == 0
    assert before.commit_time.count == 0
    with pytest.raises(FrozenInstanceError):
        before.creations = 1


def test_the_figures_can_be_had_when_the_store_cannot(ledger) -> None:
    ledger.create_execution()
    ledger.close()
    with pytest.raises(leasehold.StoreError, match="closed"):
        ledger.claim(worker_id="w")
    with pytest.raises(leasehold.StoreError, match="closed"):
        ledger.metrics()
    metrics = ledger.metrics(ask_store=False)
    assert metrics.creations == 1
    assert metrics.errors == {"store_unavailable": 1}
    assert metrics.oldest_orphan_ms is None


def test_a_ledger_that_is_read_only_tells_the_oldest_orphan(shared_url, clock) -> None:
    with leasehold.open(shared_url, clock=clock) as ledger:
        ledger.create_execution()
        ledger.claim(worker_id="w", lease_ttl_ms=1_000)
    clock.advance(1_001)
    with leasehold.open(shared_url, clock=clock, read_only=True) as ledger:
        with pytest.raises(leasehold.StoreError):
            ledger.claim(worker_id="w")
        assert counts(ledger) == expected(
            oldest_orphan_ms=1, errors={"store_unavailable": 1}
        )


def orphan(ledger):
    found = ledger.read.oldest_orphan()
    return (
        None if found is None else (found.lane_id, found.worker_id, found.orphaned_ms)
    )


def test_the_oldest_orphan_is_the_lease_that_is_over_for_longest(
    ledger, clock, start
) -> None:
    assert orphan(ledger) is None
    a = start("worker-a", 1_000, lane_id="a")
    start("worker-b", 2_000, lane_id="b")
    c = start("worker-c", 60_000, lane_id="c")
    clock.advance(999)
    assert orphan(ledger) is None
    clock.advance(1)
    assert orphan(ledger) == ("a", "worker-a", 0)
    clock.advance(1_500)
    assert orphan(ledger) == ("a", "worker-a", 1_500)
    found = ledger.read.oldest_orphan()
    assert (found.execution_id, found.attempt_index) == (a.execution_id, 0)
    assert (found.lease_id, found.lease_epoch) == (a.lease_id, 1)
    assert found.worker_instance_id is None
    assert found.lapsed_at_ms == clock() - 1_500
    ledger.sweep()  # Recorded or not is all the same.
    assert orphan(ledger) == ("a", "worker-a", 1_500)
    ledger.revoke_lease(c.execution_id, actor="ann", reason="stuck")
    clock.advance(100)
    assert orphan(ledger) == ("a", "worker-a", 1_600)
    assert ledger.claim("a", worker_id="w") is not None
    assert orphan(ledger) == ("b", "worker-b", 600)
    assert ledger.claim("b", worker_id="w") is not None
    assert orphan(ledger) == ("c", "worker-c", 100)
    assert ledger.metrics().oldest_orphan_ms == 100
    assert ledger.claim("c", worker_id="w") is not None
    assert orphan(ledger) is None


@pytest.mark.parametrize("end", ["complete", "cancel", "deadline"])
def test_what_has_ended_is_no_orphan(ledger, clock, start, end) -> None:
    handle = start(ttl=1_000, deadline_at_ms=clock() + 2_000)
    if end == "complete":
        ledger.complete(handle)
    elif end == "cancel":
        ledger.cancel_execution(handle.execution_id, actor="ann", reason="no use")
    clock.advance(2_000)
    if end == "deadline":
        assert orphan(ledger) is not None
        ledger.sweep()
    assert orphan(ledger) is None


def test_a_clock_that_was_set_back_makes_no_negative_age(ledger, clock, start) -> None:
    start(ttl=1_000)
    clock.advance(1_000)
    ledger.sweep()
    clock.advance(-5_000)
    assert orphan(ledger) == ("default", "worker-1", 0)


def test_the_oldest_orphan_of_an_earlier_time(ledger, clock, start) -> None:
    start(ttl=1_000)
    clock.advance(3_000)
    then = clock()
    ledger.sweep()
    clock.advance(2_000)
    assert ledger.claim(worker_id="w") is not None
    assert orphan(ledger) is None
    with ledger.as_of(at_ms=then) as reader:
        assert reader.oldest_orphan().orphaned_ms == 2_000


def test_the_store_counts_by_its_own_clock_where_none_is_given(store_url) -> None:
    with leasehold.open(store_url) as ledger:
        ledger.create_execution()
        handle = ledger.claim(worker_id="w", lease_ttl_ms=86_400_000)
        assert orphan(ledger) is None
        ledger.revoke_lease(handle.execution_id, actor="ann", reason="stuck")
        assert 0 <= ledger.metrics().oldest_orphan_ms < 60_000
