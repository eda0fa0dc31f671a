"""The benchmark: its parts, one after another, in stores of its own."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from leasehold.adapters.benching import hot_path, kills, lives, replay
from leasehold.adapters.benching.measuring import ROUNDS_LEAST, circumstances
from leasehold.adapters.benching.places import Place
from leasehold.adapters.benching.rows import (
    BenchOrder,
    Measure,
    Part,
    PartReport,
    Show,
)
from leasehold.adapters.opening import open_ledger

EXECUTIONS_LEAST: Final = 100
"""Fewer executions a round than this measure nothing either."""

PARTS: Final[Mapping[Part, Measure]] = {
    Part.HOT_PATH: hot_path.measure,
    Part.LIVES: lives.measure,
    Part.REPLAY: replay.measure,
    Part.KILLS: kills.measure,
}


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What the benchmark gave.

    Attributes:
        circumstances: Versions, the machine, the store and its durability.
        order: How much was measured.
        parts: What each part gave.
    """

    circumstances: Mapping[str, str]
    order: BenchOrder
    parts: Mapping[Part, PartReport]

    @property
    def ok(self) -> bool:
        """Whether no part met anything that must not be."""
        return not any(any(part.wrong.values()) for part in self.parts.values())

    @property
    def is_measured(self) -> bool:
        """Whether there were enough rounds, and enough in them, to tell something."""
        order = self.order
        return order.rounds >= ROUNDS_LEAST and order.executions >= EXECUTIONS_LEAST


def bench(
    place: Place, order: BenchOrder, only: Collection[Part], show: Show
) -> BenchReport:
    """Measure.

    Args:
        place: Where the stores are made.
        order: How much.
        only: These parts; all of them where it is empty.
        show: Told in words how far it is.

    Raises:
        StoreError: A store could not be made or worked on.
    """
    with open_ledger(place.url_of("facts"), durability=order.durability) as ledger:
        facts = ledger.read.store_facts()
    names = ("backend", "backend_version", "durability", "synchronous_commit", "fsync")
    told = {name: str(facts[name]) for name in names if name in facts}
    parts = {
        part: measure(place, order, show)
        for part, measure in PARTS.items()
        if not only or part in only
    }
    return BenchReport({**circumstances(), **told}, order, parts)
