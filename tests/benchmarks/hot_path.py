"""The hot path against raw SQLite, and what must stay flat: `python hot_path.py`.

Prints a table, or JSON with `--json`; exit status 1 when a ratio is beyond its bound.
`--quick` runs small sizes to see that everything works, and holds nothing to its bound.
Each figure is the median of rounds in which the two sides take turns, in one process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from flatness import Flatness

from leasehold.adapters.benching.hot_path import against_raw
from leasehold.adapters.benching.measuring import circumstances

if TYPE_CHECKING:
    from leasehold.adapters.benching.measuring import Comparison

DURABILITIES = ("full", "normal")
BOUNDS = {"claim": 2.0, "renew": 2.0, "complete": 2.0}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="small sizes, no bounds")
    parser.add_argument("--only", choices=("worker", "flat"), help="one half only")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each")
    parser.add_argument("--count", type=int, default=150, help="calls in a round")
    parser.add_argument("--folder", help="where to put the stores, to choose the disk")
    return parser.parse_args()


def measured(chosen: argparse.Namespace, folder: Path) -> list[Comparison]:
    """Run what was asked for."""
    rounds = 2 if chosen.quick else chosen.rounds
    count = 10 if chosen.quick else chosen.count
    many, renewals = (500, 50) if chosen.quick else (100_000, 5_000)
    found: list[Comparison] = []
    if chosen.only != "flat":
        for durability in DURABILITIES:
            for comparison in against_raw(folder, durability, rounds, count):
                comparison.bound = BOUNDS.get(comparison.name)
                comparison.name += f", durability {durability}"
                found.append(comparison)
    if chosen.only != "worker":
        # More and shorter rounds: a checkpoint of the log falls into some of them.
        flat = Flatness(folder, 2 * rounds, max(count // 5, 5), many)
        found += [flat.unserved_ahead(), flat.backlog(), flat.payload()]
        found += [flat.renewals(renewals), flat.frames()]
    if chosen.quick:
        for comparison in found:
            comparison.bound = None
    return found


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


def main() -> int:
    """Measure, print, and say by the exit status whether all is within bounds."""
    chosen = arguments()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        found = measured(chosen, Path(folder))
    facts = circumstances()
    if chosen.json:
        figures = [comparison.figures() for comparison in found]
        print(json.dumps({"circumstances": facts, "results": figures}, indent=2))
    else:
        print(", ".join(f"{name} {value}" for name, value in facts.items()))
        print(table(found))
    return 0 if all(comparison.ok for comparison in found) else 1


if __name__ == "__main__":
    sys.exit(main())
