"""Interleaved rounds, medians, and the facts that a figure is worthless without."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


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


def microseconds_each(call: Callable[[Any], object], items: Iterable[Any]) -> float:
    """Make the call for each item; return the mean time of a call in microseconds."""
    given = list(items)
    begin_ns = time.perf_counter_ns()
    for item in given:
        call(item)
    return (time.perf_counter_ns() - begin_ns) / len(given) / 1000


def processor() -> str:
    """Return the processor's model, where the system tells."""
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def circumstances() -> dict[str, str]:
    """Return versions and the machine's facts; no names, no paths."""
    installed = ("leasehold", "eventsourcing", "pydantic")
    return {
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        **{name: importlib.metadata.version(name) for name in installed},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": str(os.cpu_count()),
    }


def table(comparisons: list[Comparison]) -> str:
    """Return the comparisons as lines of text."""
    heads = f"{'what':<44}{'base µs':>10}{'tried µs':>10}"
    lines = [f"{heads}{'ratio':>7}{'spread':>13}{'bound':>7}"]
    for comparison in comparisons:
        it = comparison.figures()
        spread = f"{it['ratio_min']:.2f}-{it['ratio_max']:.2f}"
        bound = "" if it["bound"] is None else f"{it['bound']:.1f}"
        lines.append(
            f"{it['name']:<44}{it['base_us']:>10.1f}{it['tried_us']:>10.1f}"
            f"{it['ratio']:>7.2f}{spread:>13}{bound:>7}"
            + ("" if it["ok"] else "  beyond its bound")
        )
    return "\n".join(lines)
