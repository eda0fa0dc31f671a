"""When held leases are renewed, together with which, and what each answer changes.

On a virtual clock and without the threads: a test takes their steps itself.
"""

import logging
import os
import time

import pytest
from slow_store import Fate, SlowStore

import leasehold
from leasehold.adapters.holding import elapsing
from leasehold.adapters.holding.keeping import Kept, RenewOn

TTL_MS = 900
THIRD_MS = 300


@pytest.fixture
def store():
    return SlowStore(ttl_ms=TTL_MS, margin_ms=90)


def work_for(store, ms, *, step_ms=10):
    """Let time pass, with a look at what is due every few milliseconds."""
    for _ in range(ms // step_ms):
        store.pass_ms(step_ms)
        store.keeper.renew_due()
        store.keeper.declare_losses()


def test_a_lease_is_renewed_at_every_third_of_its_ttl(store):
    kept = store.claim()
    work_for(store, 10 * TTL_MS)
    assert len(store.batches) == 30
    assert not kept.is_lost


def test_what_is_nearly_due_is_renewed_along(store):
    first = store.claim()
    store.pass_ms(29)
    second = store.claim()
    store.pass_ms(THIRD_MS - 29)
    store.keeper.renew_due()
    assert store.batches == [2]
    assert first.due_ns == second.due_ns
    store.pass_ms(31)
    third = store.claim()
    store.pass_ms(THIRD_MS - 31)
    store.keeper.renew_due()
    assert store.batches == [2, 2]
    assert third.due_ns - store.now_ns() == 31 * 1_000_000


def test_two_hundred_leases_take_a_few_calls_of_the_store(store):
    kept = [store.claim() for _ in range(200)]
    work_for(store, TTL_MS)
    assert sum(store.batches) >= 3 * 200
    assert len(store.batches) <= 9
    assert not any(one.is_lost for one in kept)


def test_a_call_of_the_store_renews_five_hundred_at_most(store):
    kept = [store.claim() for _ in range(501)]
    store.pass_ms(THIRD_MS)
    store.keeper.renew_due()
    store.keeper.renew_due()
    store.keeper.renew_due()
    assert store.batches == [500, 1]
    assert len({one.due_ns for one in kept}) == 1


def test_a_failure_of_the_store_is_retried_and_is_no_lost_lease(store):
    kept = store.claim()
    store.request = lambda: Fate.REQUEST_LOST
    work_for(store, 780)
    assert not kept.is_lost
    assert 6 < len(store.batches) < 20
    store.request = lambda: Fate.APPLIED
    work_for(store, 2 * TTL_MS)
    assert not kept.is_lost
    assert kept.remaining_ms > TTL_MS / 3


def test_failures_of_the_store_lose_the_lease_when_its_time_runs_out(store):
    kept = store.claim()
    store.request = lambda: Fate.ANSWER_LOST
    work_for(store, 800)
    assert not kept.changed.is_set()
    work_for(store, 20)
    assert kept.changed.is_set()
    assert isinstance(kept.reason, leasehold.LeaseExpiredError)
    assert "the connection broke" in str(kept.reason)
    assert isinstance(kept.reason.__cause__, leasehold.StoreError)
    calls = len(store.batches)
    work_for(store, TTL_MS)
    assert len(store.batches) == calls


def test_a_failure_that_is_no_answer_is_logged_and_retried(store, caplog):
    kept = store.claim()

    def request():
        raise ZeroDivisionError("the caller's clock")

    store.request = request
    with caplog.at_level(logging.WARNING, "leasehold"):
        work_for(store, THIRD_MS)
    assert "leases could not be renewed" in caplog.text
    store.request = lambda: Fate.APPLIED
    work_for(store, TTL_MS)
    assert not kept.is_lost


def test_a_refused_renewal_is_a_lost_lease_at_once(store):
    kept = store.claim()
    other = store.claim()
    store.expires_at_ms[kept.handle] = 0
    work_for(store, THIRD_MS)
    assert kept.is_lost
    assert str(kept.reason) == "it ran out"
    assert not other.is_lost
    calls = sum(store.batches)
    work_for(store, THIRD_MS)
    assert sum(store.batches) == calls + 1


def test_an_answer_that_comes_when_the_time_has_run_out_is_too_late(store):
    kept = store.claim()
    store.answer = lambda: store.pass_ms(TTL_MS)
    store.pass_ms(THIRD_MS)
    store.keeper.renew_due()
    assert kept.reason is not None
    assert "1200 ms ago" in str(kept.reason)


def test_a_lease_runs_out_while_its_renewal_hangs(store):
    kept = store.claim()
    seen = []

    def request():
        store.pass_ms(TTL_MS)
        store.keeper.declare_losses()
        seen.append(kept.changed.is_set())
        return Fate.APPLIED

    store.request = request
    store.pass_ms(THIRD_MS)
    store.keeper.renew_due()
    assert seen == [True]


def test_a_lease_that_ran_out_unnoticed_is_not_renewed(store):
    kept = store.claim()
    store.pass_ms(TTL_MS - 90)
    store.keeper.renew_due()
    assert store.batches == []
    assert kept.reason is not None


def test_a_loss_is_told_once_and_the_first_reason_counts(store):
    kept = store.claim()
    told = []
    kept.hooks.append(lambda: told.append(kept.reason))
    first = leasehold.LeaseRevokedError("an operator")
    kept.lose(first)
    kept.lose(leasehold.LeaseConflictError("another"))
    store.pass_ms(2 * TTL_MS)
    store.keeper.declare_losses()
    assert told == [first]
    with pytest.raises(leasehold.LeaseRevokedError, match="an operator") as raised:
        kept.check()
    assert raised.value is not first


def test_a_hook_of_a_closed_event_loop_spoils_nothing(store, caplog):
    kept = store.claim()

    def closed():
        raise RuntimeError("Event loop is closed")

    told = []
    kept.hooks += [closed, lambda: told.append(1)]
    kept.lose(leasehold.LeaseRevokedError("an operator"))
    assert told == [1]
    assert "could not be told" in caplog.text


def test_a_body_that_reports_keeps_its_lease(store):
    kept = store.claim(RenewOn.PROGRESS)
    for _ in range(20):
        work_for(store, THIRD_MS)
        store.keeper.beat(kept)
    assert not kept.is_lost
    assert 15 <= len(store.batches) <= 20


def test_a_body_that_hangs_loses_its_lease(store):
    kept = store.claim(RenewOn.PROGRESS)
    work_for(store, 100)
    store.keeper.beat(kept)
    work_for(store, THIRD_MS + TTL_MS)
    assert len(store.batches) == 1
    assert kept.is_lost


def test_a_body_that_never_reports_loses_its_lease_after_the_ttl(store):
    kept = store.claim(RenewOn.PROGRESS)
    work_for(store, 800)
    assert not kept.is_lost
    work_for(store, 20)
    assert kept.is_lost
    assert store.batches == []


def test_a_late_report_is_renewed_for_at_once(store):
    kept = store.claim(RenewOn.PROGRESS)
    work_for(store, 600)
    store.keeper.beat(kept)
    store.keeper.renew_due()
    assert store.batches == [1]
    assert kept.remaining_ms == TTL_MS - 90


def test_a_report_is_not_used_up_by_a_renewal_that_failed(store):
    kept = store.claim(RenewOn.PROGRESS)
    store.keeper.beat(kept)
    store.request = lambda: Fate.REQUEST_LOST
    work_for(store, THIRD_MS)
    store.request = lambda: Fate.APPLIED
    work_for(store, THIRD_MS)
    assert store.batches == [1, 1]
    assert not kept.is_lost


def test_nothing_is_renewed_while_the_attempt_is_being_ended(store):
    kept = store.claim()
    store.pass_ms(THIRD_MS)
    store.keeper.begin_ending(kept)
    store.keeper.renew_due()
    assert store.batches == []
    store.keeper.finish_ending(kept, has_ended=False)
    store.keeper.renew_due()
    assert store.batches == [1]
    store.keeper.begin_ending(kept)
    store.keeper.finish_ending(kept, has_ended=True)
    work_for(store, 2 * TTL_MS)
    assert store.batches == [1]
    assert not kept.is_lost
    assert kept.remaining_ms == 0


def test_a_call_that_ends_the_attempt_is_not_told_of_a_loss(store):
    kept = store.claim()
    store.keeper.begin_ending(kept)
    store.pass_ms(TTL_MS)
    store.keeper.declare_losses()
    assert not kept.changed.is_set()
    assert kept.is_lost
    store.keeper.finish_ending(kept, has_ended=True)
    assert not kept.is_lost


def test_a_call_that_did_not_end_the_attempt_in_time_has_lost_the_lease(store):
    kept = store.claim()
    store.keeper.begin_ending(kept)
    store.pass_ms(TTL_MS)
    store.keeper.finish_ending(kept, has_ended=False)
    assert kept.changed.is_set()


def test_a_closed_keeper_has_lost_all_and_takes_no_more(store):
    kept = store.claim()
    store.keeper.close()
    store.keeper.close()
    assert isinstance(kept.lost_because, leasehold.StoreError)
    with pytest.raises(leasehold.StoreError, match="closed"):
        store.claim()


def test_a_lease_that_is_forgotten_is_renewed_no_more(store):
    kept = store.claim()
    del kept
    work_for(store, TTL_MS)
    assert store.batches == []


def test_draws_spread_the_renewals(store):
    store.draw = 0.5
    kept = store.claim()
    assert kept.due_ns - store.now_ns() == THIRD_MS * 0.95 * 1e6


def test_a_reading_of_the_monotonic_clock_is_taken_for_no_later_than_it_was():
    before_ns = elapsing.elapsed_ns()
    reading_s = time.monotonic()
    after_ns = elapsing.elapsed_ns()
    taken_ns = elapsing.since_ns(reading_s)
    assert taken_ns <= after_ns
    # A microsecond is lost to the float; the rest only if this host was suspended.
    if elapsing._ahead_ns() - elapsing._AHEAD_NS < 1_000_000:
        assert taken_ns >= before_ns - 1_000_000


@pytest.mark.parametrize("reading", [-1, True, "1", 1.8e12, float("nan")])
def test_what_is_no_reading_of_the_monotonic_clock_is_refused(reading):
    with pytest.raises(leasehold.InvalidInputError, match=r"time\.monotonic\(\)"):
        elapsing.since_ns(reading)


def test_a_kept_lease_knows_the_process_that_it_is_kept_in(store, monkeypatch):
    kept: Kept = store.claim()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert kept.is_lost
    assert kept.remaining_ms == 0
    with pytest.raises(leasehold.StoreError, match="forked"):
        kept.check()


def test_a_lease_that_was_let_go_of_before_it_was_kept_is_not_kept(store):
    """A task is cancelled while its thread enters; the watching would never rest."""
    kept = store.claim()
    store.keeper.let_go(kept)
    store.keeper.keep(kept)
    assert list(store.keeper._all_kept) == []
