"""What a part of the benchmark gives: rows of figures, and what must not be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from leasehold.adapters.benching.measuring import Figure
from leasehold.adapters.benching.places import Place


class Part(StrEnum):
    """Name a part of the benchmark."""

    HOT_PATH = "hot-path"
    """The calls of a worker, against raw writes of the same rows."""
    LIVES = "lives"
    """Executions submitted, claimed and completed by processes side by side."""
    REPLAY = "replay"
    """What goes through the whole log, and how large that is."""
    KILLS = "kills"
    """Workers killed, and how soon others take over."""


@dataclass(frozen=True, slots=True)
class BenchOrder:
    """How much is measured.

    Attributes:
        rounds: Of each part; medians are of so many values.
        executions: How many a round is about; some parts take more or less of them.
        workers: How many processes live side by side, in turn.
        durability: As of `leasehold.open`.
    """

    rounds: int
    executions: int
    workers: tuple[int, ...]
    durability: Literal["full", "normal"]


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one thing.

    Attributes:
        name: What it is.
        figures: By name, with the unit at the end of that.
    """

    name: str
    figures: Mapping[str, Figure]

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        figures = {name: figure.document() for name, figure in self.figures.items()}
        return {"name": self.name, **figures}


@dataclass(frozen=True, slots=True)
class PartReport:
    """What a part gave.

    Attributes:
        rows: What was measured.
        wrong: How often there was what must not be, by kind.
        texts: The first of that, in words.
    """

    rows: tuple[Row, ...]
    wrong: Mapping[str, int] = field(default_factory=dict)
    texts: tuple[str, ...] = ()


Show = Callable[[str], object]
"""Is told in words how far a part is."""

Measure = Callable[[Place, BenchOrder, Show], PartReport]
"""Measures a part, in stores of its own."""
