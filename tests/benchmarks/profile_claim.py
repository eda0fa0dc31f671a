"""Where the time of a call goes: `python profile_claim.py [claim|renew|complete|…]`.

Prints the plain time of a call, then the profiler's own-time by part of the library and
by function. The profiler adds to every Python call and nothing to SQLite's own work, so
read the shares, not the sums.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import leasehold
from leasehold.adapters.benching.hot_path import OPERATIONS, Caller
from leasehold.adapters.benching.measuring import microseconds_each

PARTS = ("domain", "projections", "adapters", "eventsourcing", "pydantic", "uuid_utils")


def part_of(function: tuple[str, int, str]) -> str:
    """Return the part of the program that a function belongs to."""
    file, _, name = function
    if file == "~":
        return "sqlite3" if "sqlite3" in name else "built-in functions"
    folders = Path(file).parts
    return next((part for part in PARTS if part in folders), "standard library")


def profiled(caller: Caller, operation: str, count: int) -> tuple[float, pstats.Stats]:
    """Return the plain time of a call, and a profile of as many calls again."""
    profile, plain_us = cProfile.Profile(), 0.0
    for number in range(2):
        caller.begin_round(number)
        for name in OPERATIONS[: OPERATIONS.index(operation) + 1]:
            call, items = caller.calls(name, count)
            if name != operation:
                microseconds_each(call, items)
            elif number == 0:
                plain_us = microseconds_each(call, items)
            else:
                profile.runcall(microseconds_each, call, items)
    return plain_us, pstats.Stats(profile)


def shares(stats: pstats.Stats, count: int) -> dict[str, float]:
    """Return microseconds of own time a call, by part, largest first."""
    parts: dict[str, float] = defaultdict(float)
    for function, (_, _, own_s, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        parts[part_of(function)] += own_s * 1e6 / count
    return dict(sorted(parts.items(), key=lambda it: -it[1]))


def lines(stats: pstats.Stats, count: int, most: int) -> list[str]:
    """Return the functions with the most own time."""
    rows: list[tuple[Any, ...]] = [
        (own_s * 1e6 / count, total_s * 1e6 / count, calls / count, function)
        for function, (_, calls, own_s, total_s, _) in stats.stats.items()  # type: ignore[attr-defined]
    ]
    found = [f"{'own µs':>9}{'all µs':>9}{'calls':>7}  function"]
    for own_us, all_us, calls, (file, line, name) in sorted(rows, reverse=True)[:most]:
        place = name if file == "~" else f"{Path(file).name}:{line} {name}"
        found.append(f"{own_us:>9.1f}{all_us:>9.1f}{calls:>7.1f}  {place}")
    return found


def main() -> int:
    """Profile one operation and print where its time goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operation", nargs="?", default="claim", choices=OPERATIONS)
    parser.add_argument("--count", type=int, default=2_000, help="calls to profile")
    parser.add_argument("--durability", default="normal", choices=("full", "normal"))
    parser.add_argument("--lines", type=int, default=30, help="functions to print")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.db"
        with leasehold.open(url, durability=chosen.durability) as ledger:
            caller = Caller(ledger)
            plain_us, stats = profiled(caller, chosen.operation, chosen.count)
    print(f"{chosen.operation}: {plain_us:.1f} µs a call, unprofiled")
    for part, own_us in shares(stats, chosen.count).items():
        print(f"{own_us:>9.1f} µs  {part}")
    print("\n".join(lines(stats, chosen.count, chosen.lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
