"""What was found out about the peers, as tables in Markdown."""

from __future__ import annotations

import statistics
from itertools import groupby
from typing import Any

_RATES = (
    "peer, and what was in force",
    "at once",
    "peer, lives/s",
    "leasehold, lives/s",
)
_CLAIMS = ("ratio", "claim of the peer, ms", "of leasehold, ms")
_RECORDS = ("peer", "rows", "bytes", "of leasehold", "taken over", "by leasehold")


def tables(rows: dict[str, dict[str, Any]]) -> str:
    """Return a table of the speeds and one of what is on record."""
    measured = {name: row for name, row in rows.items() if "error" not in row}
    lines = [
        *_head([*_RATES, *_CLAIMS], "-::::::"),
        *(line for row in measured.values() for line in _rates(row)),
        "",
        *_head([*_RECORDS, "what differs"], "-:::::-"),
        *(_record(name, row) for name, row in measured.items()),
    ]
    failed = [
        f"* {row['package']}: {row['error']}" for row in rows.values() if "error" in row
    ]
    return "\n".join([*lines, "", *failed]) if failed else "\n".join(lines)


def _head(heads: list[str], kinds: str) -> list[str]:
    rule = " | ".join("---:" if kind == ":" else "---" for kind in kinds)
    return [f"| {' | '.join(heads)} |", f"| {rule} |"]


def _rates(row: dict[str, Any]) -> list[str]:
    def by_concurrency(turn: dict[str, Any]) -> int:
        return int(turn["concurrency"])

    both = []
    for side in ("peer", "leasehold"):
        turns = sorted(row[side]["turns"], key=by_concurrency)
        both.append({n: list(of) for n, of in groupby(turns, key=by_concurrency)})
    lines = []
    for number, (concurrency, turns) in enumerate(both[0].items()):
        ours = both[1][concurrency]
        ratio = statistics.median(
            our["lives_per_s"] / turn["lives_per_s"]
            for our, turn in zip(ours, turns, strict=True)
        )
        name = "" if number else f"{row['package']}: {turns[0]['durability']}"
        cells = [name, concurrency, _spread(turns), _spread(ours), f"{ratio:.2f}"]
        lines.append(_line([*cells, _claims(turns), _claims(ours)]))
    return lines


def _spread(turns: list[dict[str, Any]]) -> str:
    rates = [turn["lives_per_s"] for turn in turns]
    low, middle, high = min(rates), statistics.median(rates), max(rates)
    return f"{middle:,.0f} ({low:,.0f}–{high:,.0f})"


def _claims(turns: list[dict[str, Any]]) -> str:
    known = [turn["claim_ms"] for turn in turns if turn["claim_ms"]]
    if not known:
        return "–"
    p50, p95 = (statistics.median(column) for column in zip(*known, strict=True))
    return f"{p50:.2f} / {p95:.2f}"


def _record(name: str, row: dict[str, Any]) -> str:
    peer, ours = row["peer"], row["leasehold"]
    record, our_record = peer["on_record"], ours["on_record"]
    return _line(
        [
            name,
            f"{record['rows']:.1f}",
            f"{record['bytes']:,}",
            f"{our_record['rows']:.1f}, {our_record['bytes']:,}",
            _after(peer["taken_after_s"]),
            _after(ours["taken_after_s"]),
            row["differs"],
        ]
    )


def _after(seconds: float | None) -> str:
    return "no" if seconds is None else f"after {seconds:.1f} s"


def _line(cells: list[Any]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
