"""The scale of time of a picture: where a moment stands between left and right.

A place is a number of percent of the width. Where nothing happens for long, the scale
is broken, so that what happens before and after can be seen.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Final

from leasehold.adapters.report import wording

LEFT: Final = 1.5
RIGHT: Final = 98.5
_BREAK_WIDTH: Final = 2.0
_BREAKS_MAX: Final = 12
_BROKEN_FROM: Final = 0.4
"""A gap of more than this share of all that is left to draw is a break.

So is one that is longer than all the times with something in them together.
"""
_LABEL_ROOM: Final = 9.0
_EDGE: Final = 6.0

Span = tuple[int, int]
"""A time with something in it, from and until, in ms."""

_STEPS_MS: Final = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(count * wording.SECOND_MS for count in (1, 2, 5, 10, 15, 30)),
    *(count * wording.MINUTE_MS for count in (1, 2, 5, 10, 15, 30)),
    *(count * wording.HOUR_MS for count in (1, 2, 3, 6, 12)),
    *(count * wording.DAY_MS for count in (1, 2, 7, 14, 30, 90, 365, 3650)),
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time that is drawn evenly.

    Attributes:
        start_ms: Where it begins, at `left`.
        end_ms: Where it ends, at `right`.
        left: In percent.
        right: In percent.
        broken: Whether it is a gap that is drawn narrow.
    """

    start_ms: int
    end_ms: int
    left: float
    right: float
    broken: bool

    @property
    def length_ms(self) -> int:
        """How long it lasts."""
        return self.end_ms - self.start_ms


@dataclass(frozen=True, slots=True)
class Label:
    """A time beside the axis.

    Attributes:
        at: Where, in percent.
        text: The time of day, or the day where the scale is that coarse.
        day: The day; empty where it is that of the label before.
        anchor: How the text lies at its place: `start`, `middle` or `end`.
    """

    at: float
    text: str
    day: str
    anchor: str


@dataclass(frozen=True, slots=True)
class TimeScale:
    """Where times stand between left and right."""

    stretches: tuple[Stretch, ...]

    @property
    def start_ms(self) -> int:
        """The first time."""
        return self.stretches[0].start_ms

    @property
    def end_ms(self) -> int:
        """The last time."""
        return self.stretches[-1].end_ms

    @property
    def breaks(self) -> tuple[Stretch, ...]:
        """The gaps that are drawn narrow."""
        return tuple(stretch for stretch in self.stretches if stretch.broken)

    def place(self, at_ms: int) -> float:
        """Return where a time stands, in percent; outside of it all, at the edge."""
        starts = [stretch.start_ms for stretch in self.stretches]
        stretch = self.stretches[max(bisect_right(starts, at_ms) - 1, 0)]
        share = (at_ms - stretch.start_ms) / max(stretch.length_ms, 1)
        within = min(max(share, 0.0), 1.0)
        return stretch.left + within * (stretch.right - stretch.left)


def fit(spans: Iterable[Span]) -> TimeScale:
    """Make the scale that shows all the spans.

    Args:
        spans: At least one, in any order; they may overlap.
    """
    busy = _merged(spans)
    gaps = [(before[1], after[0]) for before, after in pairwise(busy)]
    busy_ms = sum(end - start for start, end in busy)
    broken = _broken(gaps, busy_ms, busy[-1][1] - busy[0][0])
    edges = [busy[0][0], *(at for gap in broken for at in gap), busy[-1][1]]
    drawn = list(zip(edges[::2], edges[1::2], strict=True))
    total_ms = sum(end - start for start, end in drawn)
    width = RIGHT - LEFT - _BREAK_WIDTH * len(broken)
    stretches: list[Stretch] = []
    left = LEFT
    for index, (start, end) in enumerate(drawn):
        if index:
            right = left + _BREAK_WIDTH
            before = drawn[index - 1][1]
            stretches.append(Stretch(before, start, left, right, broken=True))
            left = right
        right = left + width * (end - start) / total_ms
        stretches.append(Stretch(start, end, left, right, broken=False))
        left = right
    return TimeScale(tuple(stretches))


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            # A moment is as long as the least that can be told from another.
            merged.append((start, max(start + 1, end)))
    return merged


def _broken(gaps: Iterable[Span], busy_ms: int, whole_ms: int) -> list[Span]:
    """Choose the gaps to draw narrow: the longest, where they would take the room."""
    chosen: list[Span] = []
    left_ms = whole_ms
    for start, end in sorted(gaps, key=lambda gap: gap[0] - gap[1]):
        enough = min(_BROKEN_FROM * left_ms, busy_ms)
        if len(chosen) == _BREAKS_MAX or end - start <= enough:
            break
        chosen.append((start, end))
        left_ms -= end - start
    return sorted(chosen)


def labels(scale: TimeScale) -> list[Label]:
    """Return the times to write beside the axis, with room between them."""
    drawn = [stretch for stretch in scale.stretches if not stretch.broken]
    length_ms = sum(stretch.length_ms for stretch in drawn)
    width = sum(stretch.right - stretch.left for stretch in drawn)
    room_ms = length_ms / width * _LABEL_ROOM
    step_ms = next((step for step in _STEPS_MS if step >= room_ms), ceil(room_ms))
    found: list[Label] = []
    day, free_from = "", LEFT
    for stretch in drawn:
        marked = _marked(stretch, step_ms)
        for at_ms in marked:
            at = scale.place(at_ms)
            at_break = stretch is not drawn[-1] and at > stretch.right - _EDGE / 2
            if at >= free_from and (at_ms == marked[0] or not at_break):
                label = _label(at, at_ms, step_ms, day)
                found.append(label)
                day = label.day or day
                free_from = at + _LABEL_ROOM
    return found


def _marked(stretch: Stretch, step_ms: int) -> list[int]:
    """Return the round times of a stretch, or its beginning where it has none."""
    first = -(-stretch.start_ms // step_ms) * step_ms
    return list(range(first, stretch.end_ms + 1, step_ms)) or [stretch.start_ms]


def _label(at: float, at_ms: int, step_ms: int, day_before: str) -> Label:
    moment = wording.moment(at_ms)
    if moment is None:
        return Label(at, f"{at_ms} ms", "", _anchor(at))
    day = f"{moment:%Y-%m-%d}"
    if step_ms >= wording.DAY_MS:
        return Label(at, day, "", _anchor(at))
    text = f"{moment:%H:%M}"
    if step_ms < wording.MINUTE_MS or at_ms % wording.MINUTE_MS:
        text = f"{moment:%H:%M:%S}"
    if step_ms < wording.SECOND_MS or at_ms % wording.SECOND_MS:
        text += f".{at_ms % wording.SECOND_MS:03d}"
    return Label(at, text, "" if day == day_before else day, _anchor(at))


def _anchor(at: float) -> str:
    if at < LEFT + _EDGE:
        return "start"
    return "end" if at > RIGHT - _EDGE else "middle"
