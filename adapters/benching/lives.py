"""Executions submitted, claimed and completed by processes side by side."""

import queue
from collections import defaultdict
from contextlib import ExitStack
from typing import Any, Final

from leasehold.adapters.benching.children import Child, Told
from leasehold.adapters.benching.living import MODULE
from leasehold.adapters.benching.measuring import Figure, percentile
from leasehold.adapters.benching.places import Place
from leasehold.adapters.benching.rows import BenchOrder, PartReport, Row, Show
from leasehold.adapters.opening import open_ledger
from leasehold.domain.errors import StoreError

STEPS: Final = ("submit", "claim", "complete")
WHOLE: Final = "all three"
PERCENTILES: Final = (50, 95, 99)

_LOOK_S: Final = 0.5
_NS_IN_MS: Final = 1_000_000
_NS_IN_S: Final = 1_000_000_000

Rounds = dict[str, list[float]]
"""The values of the rounds, by the name of a figure."""


class Processes:
    """Processes that live when they are told to; those not told to wait."""

    def __init__(self, url: str, durability: str, count: int, end: ExitStack) -> None:
        """Start them, and wait until all of them are ready.

        Raises:
            StoreError: One of them ended.
        """
        self._told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._children = []
        for number in range(count):
            order = {"worker": f"worker-{number}", "durability": durability}
            child = Child(f"worker-{number}", MODULE, order, url, self._hear)
            end.callback(child.kill)
            self._children.append(child)
        for _ in self._children:
            self._next()

    def _hear(self, _child: Child, told: Told) -> None:
        self._told.put(told)

    def _next(self) -> Told:
        while True:
            try:
                return self._told.get(timeout=_LOOK_S)
            except queue.Empty:
                for child in self._children:
                    if child.status() is not None:
                        child.kill()
                        raise StoreError(child.why()) from None

    def live(self, workers: int, lane_id: str, lives: int) -> list[Any]:
        """Have some of them live; return what they told."""
        count = max(1, lives // workers)
        for child in self._children[:workers]:
            child.send([lane_id, count])
        return [self._next() for _ in range(workers)]


def measure(place: Place, order: BenchOrder, show: Show) -> PartReport:
    """Time lives, with each number of workers in turn, round by round."""
    url = place.url_of("lives")
    found: dict[int, dict[str, Rounds]] = {}
    with ExitStack() as end:
        open_ledger(url, durability=order.durability).close()
        most = max(order.workers)
        show(f"lives: starting {most} processes")
        processes = Processes(url, order.durability, most, end)
        for number in range(order.rounds):
            for workers in order.workers:
                show(
                    f"lives: round {number + 1} of {order.rounds}, {workers} at a time"
                )
                told = processes.live(
                    workers, f"lane-{number}-{workers}", order.executions
                )
                steps = found.setdefault(workers, {})
                for step, figures in _figures(told).items():
                    rounds = steps.setdefault(step, defaultdict(list))
                    for name, value in figures.items():
                        rounds[name].append(value)
    return PartReport(
        tuple(
            Row(
                f"{_counted(workers)}, {step}",
                {name: Figure.of(values) for name, values in rounds.items()},
            )
            for workers, steps in found.items()
            for step, rounds in steps.items()
        )
    )


def _counted(workers: int) -> str:
    return f"{workers} worker" if workers == 1 else f"{workers} workers"


def _figures(told: list[Any]) -> dict[str, dict[str, float]]:
    """Return what came of a round: for the whole lives, and for each step of them."""
    lives = [steps for _, _, _, of_one in told for steps in of_one]
    begin_ns = min(begin for _, begin, _, _ in told)
    end_ns = max(end for _, _, end, _ in told)
    whole = {
        "per_s": len(lives) * _NS_IN_S / (end_ns - begin_ns),
        **_percentiles([sum(steps) for steps in lives]),
    }
    each = zip(STEPS, zip(*lives, strict=True), strict=True)
    return {WHOLE: whole} | {step: _percentiles(list(ns)) for step, ns in each}


def _percentiles(times_ns: list[int]) -> dict[str, float]:
    return {
        f"p{percent}_ms": percentile(times_ns, percent) / _NS_IN_MS
        for percent in PERCENTILES
    }
