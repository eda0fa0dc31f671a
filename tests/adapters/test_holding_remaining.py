"""A held lease never outlives the store's, whatever is slow, lost or late.

On virtual clocks: that of the host, and that of the store, which may be faster by as
much as the margin is for. What is tested is the code that is used, without its threads:
its steps are taken in every order, also while a renewal is under way.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_store import MILLION, Fate, SlowStore

import leasehold
from leasehold.adapters.holding.keeping import RenewOn
from leasehold.adapters.holding.remaining import NS_IN_MS, Trust, margin_of

TTL_MS = 120
MARGIN_MS = 12
FASTER_PPM_MOST = (MARGIN_MS - 1) * MILLION // (TTL_MS - MARGIN_MS)

delays_ms = st.one_of(
    st.just(0.0),
    st.floats(0, 15),
    st.floats(0, 1.5 * TTL_MS),
    st.sampled_from([TTL_MS - MARGIN_MS, TTL_MS, TTL_MS + 0.000_001]),
)
steps = st.deferred(lambda: st.lists(step, max_size=8))
renewal = st.tuples(
    st.sampled_from(["due", "now"]),
    delays_ms,
    st.sampled_from([*Fate, Fate.APPLIED, Fate.APPLIED]),
    delays_ms,
    # What happens while the request, and while the answer is under way.
    st.deferred(lambda: st.lists(step, max_size=3)),
    st.deferred(lambda: st.lists(step, max_size=3)),
)
step = st.one_of(
    st.tuples(st.just("pass"), delays_ms),
    renewal,
    st.tuples(st.just("beat")),
    st.tuples(st.just("watch")),
)


class Body:
    """Takes steps, and holds what it is told against what the store knows."""

    def __init__(self, store, renew_on):
        self.store = store
        self.kept = store.claim(renew_on)
        self.was_lost = False

    def look(self):
        kept, store = self.kept, self.store
        is_lost, remaining_ms = kept.is_lost, kept.remaining_ms
        if is_lost:
            assert remaining_ms == 0
            assert kept.lost_because is not None
            assert kept.changed.is_set()
        else:
            assert not self.was_lost
            later_ns = remaining_ms * NS_IN_MS
            assert store.is_held(kept.handle)
            assert store.is_held(kept.handle, later_ns=later_ns)
        self.was_lost = is_lost

    def take(self, taken):
        for name, *rest in taken:
            self.look()
            if name == "pass":
                self.store.pass_ms(*rest)
            elif name == "beat":
                self.store.keeper.beat(self.kept)
            elif name == "watch":
                self.store.keeper.declare_losses()
            else:
                self.renew(name, *rest)
            self.look()

    def renew(self, name, sending_ms, fate, answering_ms, meanwhile, later):
        store = self.store
        before = store.request, store.answer

        def request():
            # Steps in between bring renewals of their own.
            store.request, store.answer = before
            self.take(meanwhile)
            store.pass_ms(sending_ms)
            store.answer = answer
            return fate

        def answer():
            store.request, store.answer = before
            self.take(later)
            store.pass_ms(answering_ms)

        store.request = request
        try:
            if name == "due":
                store.keeper.renew_due()
            else:
                store.keeper.renew_now(self.kept)
        except leasehold.LeaseholdError:
            self.look()
        store.request, store.answer = before


@settings(deadline=None)
@given(
    steps,
    st.integers(-FASTER_PPM_MOST, FASTER_PPM_MOST)
    | st.sampled_from([FASTER_PPM_MOST, 0]),
    st.sampled_from(RenewOn),
    st.floats(0, 0.999_999),
)
def test_a_body_never_believes_in_a_lease_that_the_store_has_let_go(
    taken, faster_ppm, renew_on, draw
):
    store = SlowStore(TTL_MS, MARGIN_MS, faster_ppm, draw=draw)
    Body(store, renew_on).take(taken)


@settings(deadline=None)
@given(st.integers(2, 86_400_000), st.data())
def test_the_margin_is_for_a_clock_that_is_faster_by_so_much(ttl_ms, data):
    margin_ms = data.draw(st.integers(1, ttl_ms - 1))
    faster_ppm = (margin_ms - 1) * MILLION // (ttl_ms - margin_ms)
    store = SlowStore(ttl_ms, margin_ms, faster_ppm)
    kept = store.claim()
    store.passed_ns = kept.trust.until_ns - store.now_ns() - 1
    assert not kept.is_lost
    assert store.is_held(kept.handle)
    store.passed_ns += 1
    assert kept.is_lost


@settings(deadline=None)
@given(st.integers(11, 86_400_000))
def test_the_default_margin_is_for_a_clock_that_is_faster_by_a_ninth(ttl_ms):
    margin_ms = margin_of(ttl_ms, None)
    assert margin_ms < ttl_ms
    assert margin_ms <= max(10, ttl_ms / 10 + 2)
    assert (margin_ms - 1) * 9 >= ttl_ms - margin_ms


@pytest.mark.parametrize("ttl_ms", [1, 9, 10])
def test_a_lease_without_room_for_the_margin_cannot_be_held(ttl_ms):
    with pytest.raises(leasehold.InvalidInputError, match="too short to be held"):
        margin_of(ttl_ms, None)


@pytest.mark.parametrize("margin_ms", [0, 100, -1, 5.0, True])
def test_a_margin_leaves_something_of_the_lease(margin_ms):
    with pytest.raises(leasehold.InvalidInputError, match="margin_ms"):
        margin_of(100, margin_ms)


@pytest.mark.parametrize("margin_ms", [1, 99])
def test_a_margin_may_be_given(margin_ms):
    assert margin_of(100, margin_ms) == margin_ms


def trust(ttl_ms=900, margin_ms=90, sent_ms=0):
    return Trust(
        ttl_ns=ttl_ms * NS_IN_MS,
        margin_ns=margin_ms * NS_IN_MS,
        sent_at_ns=sent_ms * NS_IN_MS,
    )


def test_an_older_renewal_that_is_answered_late_proves_nothing_new():
    assert trust(sent_ms=50).renewed(sent_at_ns=40 * NS_IN_MS) == trust(sent_ms=50)
    assert trust(sent_ms=50).renewed(sent_at_ns=60 * NS_IN_MS) == trust(sent_ms=60)


def test_a_lease_is_renewed_at_a_third_of_its_ttl_or_a_little_earlier():
    assert trust().due_ns(0) == 300 * NS_IN_MS
    assert trust().due_ns(0.999_999) == pytest.approx(270 * NS_IN_MS, rel=1e-5)


def test_with_a_great_margin_it_is_renewed_at_half_of_what_is_left():
    assert trust(margin_ms=800).due_ns(0) == 50 * NS_IN_MS


def test_pauses_after_failures_are_short_and_grow():
    pauses = [trust().pause_ns(failures, 0, 0) / NS_IN_MS for failures in range(1, 7)]
    assert pauses == [9.375, 18.75, 37.5, 75, 75, 75]
    assert trust().pause_ns(1, 0, 0.5) == 9.375 * 0.75 * NS_IN_MS
    assert trust(ttl_ms=86_400_000).pause_ns(9_999, 0, 0) == 1_000 * NS_IN_MS
    assert trust(ttl_ms=2, margin_ms=1).pause_ns(1, 0, 0) == NS_IN_MS


def test_a_pause_leaves_time_for_another_try():
    almost_ns = trust().until_ns - 40 * NS_IN_MS
    assert trust().pause_ns(9, almost_ns, 0) == 20 * NS_IN_MS


def test_what_is_due_within_a_tenth_is_renewed_along():
    assert trust().company_ns == 30 * NS_IN_MS


def test_nothing_remains_of_what_has_run_out():
    until_ns = trust().until_ns
    assert trust().remaining_ns(until_ns - 1) == 1
    assert trust().remaining_ns(until_ns) == 0
    assert trust().remaining_ns(until_ns + 5) == 0


def test_times_are_whole_nanoseconds():
    almost_ns = trust().until_ns - 40 * NS_IN_MS
    for margin_ms in (90, 800):
        chosen = trust(margin_ms=margin_ms)
        assert isinstance(chosen.interval_ns, int)
        assert isinstance(chosen.due_ns(0.5), int)
    assert isinstance(trust().pause_ns(9, almost_ns, 0), int)
