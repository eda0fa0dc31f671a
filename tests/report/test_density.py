"""How much was held when: added up over intervals that stay few."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from report_samples import START_MS

from leasehold.adapters.report import overview
from leasehold.adapters.report.density import Density


def area(density: Density) -> tuple[float, float]:
    """Return the held and the orphaned time, in ms."""
    intervals = density.intervals()
    return (
        sum(one.held * (one.end_ms - one.start_ms) for one in intervals),
        sum(one.orphaned * (one.end_ms - one.start_ms) for one in intervals),
    )


def test_nothing_added_is_nothing():
    assert Density().intervals() == []
    assert overview.draw([], ()) is None


def test_a_lease_counts_for_the_time_that_it_was_held():
    density = Density()
    density.add_held(START_MS + 500, START_MS + 2_250)
    assert [one.held for one in density.intervals()] == [0.5, 1.0, 0.25]
    assert density.intervals()[0].start_ms == START_MS


@pytest.mark.parametrize("seed", range(5))
def test_no_time_is_lost_however_wide_the_intervals_grow(seed):
    dice = random.Random(seed)
    density, held, orphaned = Density(), 0, 0
    for _ in range(300):
        start_ms = START_MS + dice.randrange(-(10**9), 10**10)
        length_ms = int(10 ** dice.uniform(0, 8))
        density.add_held(start_ms, start_ms + length_ms)
        density.add_orphaned(start_ms + length_ms, start_ms + 2 * length_ms)
        held += length_ms
        orphaned += length_ms
    assert 100 < len(density.intervals()) <= 240
    assert area(density) == pytest.approx((held, orphaned))
    edges = density.intervals()
    assert all(one.end_ms == other.start_ms for one, other in pairwise(edges))
