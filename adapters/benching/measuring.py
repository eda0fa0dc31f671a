"""Interleaved rounds, medians, and the facts that a figure is worthless without."""

import importlib.metadata
import os
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

ROUNDS_LEAST: Final = 5
"""Fewer rounds than this show that everything works, and measure nothing."""

_PERCENT: Final = 100
_PROCESSORS: Final = Path("/proc/cpuinfo")
_INSTALLED: Final = ("leasehold", "eventsourcing", "pydantic")


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured round by round.

    Attributes:
        rounds: A value each, one at least.
    """

    rounds: tuple[float, ...]

    @classmethod
    def of(cls, rounds: Iterable[float]) -> Self:
        """Make it of the values of the rounds."""
        return cls(tuple(rounds))

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.rounds)

    @property
    def least(self) -> float:
        """The least of them."""
        return min(self.rounds)

    @property
    def most(self) -> float:
        """The greatest of them."""
        return max(self.rounds)

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "median": round(self.median, 3),
            "least": round(self.least, 3),
            "most": round(self.most, 3),
            "rounds": len(self.rounds),
        }


@dataclass
class Comparison:
    """Two ways of doing something, timed in turn; `bound` is the highest ratio allowed.

    Attributes:
        name: What is compared.
        base: What `base_us` is: the raw writes, the empty store, the first call.
        bound: None when the figure is for information.
        base_us: Microseconds per call of the base, round by round.
        tried_us: The same for what is held against it.
    """

    name: str
    base: str
    bound: float | None = None
    base_us: list[float] = field(default_factory=list)
    tried_us: list[float] = field(default_factory=list)

    def add_round(self, base: Callable[[], float], tried: Callable[[], float]) -> None:
        """Time one round of each; which goes first changes from round to round."""
        if len(self.base_us) % 2:
            self.tried_us.append(tried())
            self.base_us.append(base())
        else:
            self.base_us.append(base())
            self.tried_us.append(tried())

    @property
    def ratios(self) -> list[float]:
        """Return tried by base, round by round."""
        return [t / b for b, t in zip(self.base_us, self.tried_us, strict=True)]

    @property
    def ratio(self) -> float:
        """Return the median of the rounds' ratios."""
        return statistics.median(self.ratios)

    @property
    def ok(self) -> bool:
        """Say whether the ratio is within its bound."""
        return self.bound is None or self.ratio <= self.bound

    def figures(self) -> dict[str, Any]:
        """Return what the table and the JSON show."""
        return {
            "name": self.name,
            "base": self.base,
            "base_us": round(statistics.median(self.base_us), 1),
            "tried_us": round(statistics.median(self.tried_us), 1),
            "ratio": round(self.ratio, 2),
            "ratio_min": round(min(self.ratios), 2),
            "ratio_max": round(max(self.ratios), 2),
            "rounds": len(self.ratios),
            "bound": self.bound,
            "ok": self.ok,
        }


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the least value that at least so many percent do not exceed.

    Args:
        values: One at least, in any order.
        percent: 1 … 100.
    """
    ordered = sorted(values)
    return ordered[-(-len(ordered) * percent // _PERCENT) - 1]


def microseconds_each(call: Callable[[Any], object], items: Iterable[Any]) -> float:
    """Make the call for each item; return the mean time of a call in microseconds."""
    given = list(items)
    begin_ns = time.perf_counter_ns()
    for item in given:
        call(item)
    return (time.perf_counter_ns() - begin_ns) / len(given) / 1000


def circumstances() -> dict[str, str]:
    """Return versions and the machine's facts; no names, no paths."""
    return {
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        **{name: importlib.metadata.version(name) for name in _INSTALLED},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
    }


def _processor() -> str:
    """Return the processor's model, where the system tells."""
    if _PROCESSORS.exists():
        for line in _PROCESSORS.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
