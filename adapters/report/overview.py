"""The strip above the picture: how much was held and orphaned, over all tenures."""

from collections.abc import Sequence
from dataclasses import dataclass

from leasehold.adapters.report import wording
from leasehold.adapters.report.density import Interval
from leasehold.adapters.report.timeline import Sheet


@dataclass(frozen=True, slots=True)
class Column:
    """An interval of time.

    Attributes:
        left: Where it begins, in percent of the width.
        held: The height of what was held, in percent of the height.
        orphaned: The height of what was orphaned, which stands upon it.
        details: What it tells when asked.
    """

    left: float
    held: float
    orphaned: float
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """The strip.

    Attributes:
        columns: From left to right, without those that hold nothing.
        width: The width of each.
        start_ms: Where the first interval begins.
        end_ms: Where the last one ends.
        most: The greatest height, in leases.
        windows: Where each sheet of the picture lies: left and width.
    """

    columns: tuple[Column, ...]
    width: float
    start_ms: int
    end_ms: int
    most: float
    windows: tuple[tuple[float, float], ...]


def draw(intervals: Sequence[Interval], sheets: Sequence[Sheet]) -> Overview | None:
    """Lay out the strip; None where a single sheet shows it all."""
    if len(sheets) <= 1 or not intervals:
        return None
    start_ms, end_ms = intervals[0].start_ms, intervals[-1].end_ms
    whole_ms = end_ms - start_ms
    width = 100 / len(intervals)
    most = max(interval.held + interval.orphaned for interval in intervals)
    scale = 100 / most if most else 0.0
    columns = tuple(
        Column(
            index * width,
            interval.held * scale,
            interval.orphaned * scale,
            _details(interval),
        )
        for index, interval in enumerate(intervals)
        if interval.held or interval.orphaned
    )
    windows = tuple(
        (
            100 * (sheet.scale.start_ms - start_ms) / whole_ms,
            max(100 * (sheet.scale.end_ms - sheet.scale.start_ms) / whole_ms, 0.3),
        )
        for sheet in sheets
    )
    return Overview(columns, width, start_ms, end_ms, most, windows)


def _details(interval: Interval) -> tuple[str, ...]:
    length = wording.lasting(interval.end_ms - interval.start_ms)
    return (
        wording.time_text(interval.start_ms),
        f"Interval: {length}",
        f"Leases held: {interval.held:,.2f} on average",
        f"Orphaned: {interval.orphaned:,.2f} on average",
    )
