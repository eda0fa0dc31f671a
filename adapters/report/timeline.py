"""Lay the picture out: sheets of rows, and in them bars, ticks and marks.

All places are numbers of percent of the width, so that a page can draw the picture as
wide as it likes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from leasehold.adapters.report import details, palette, scale
from leasehold.adapters.report.model import Story
from leasehold.adapters.report.palette import WorkerStyle
from leasehold.adapters.report.scale import Label, Span, TimeScale
from leasehold.adapters.rows import LeaseEventRow, TenureRow
from leasehold.domain.findings import Severity
from leasehold.domain.states import TenureEnd, TenureOrigin

ROWS_PER_SHEET: Final = 16
TICKS_MAX: Final = 20_000
"""How many renewals are drawn; of more, each bar gets fewer, evenly spread."""
MARKS_PER_SHEET_MAX: Final = 250

_BAR_WIDTH_MIN: Final = 0.25
_MARK_ROOM: Final = 1.2
_PIXELS_PER_PERCENT: Final = 8.6
"""On a screen of usual width; a script that runs measures again."""
_CODE_PIXELS: Final = 16
_LETTER_PIXELS: Final = 6.6

_START_MARKS: Final = {
    TenureOrigin.RECLAIM: "takeover",
    TenureOrigin.RESUME_GRANT: "resume",
}
_END_MARKS: Final = {TenureEnd.EXPIRED: "expiry", TenureEnd.OPERATOR: "revocation"}


@dataclass(frozen=True, slots=True)
class Bar:
    """A tenure.

    Attributes:
        style: The look of its worker.
        left: Where it begins.
        width: How wide it is, at least what can be seen.
        level: 0, or more where it overlaps bars before it, which never should be.
        hatched: Where the orphaned time after it begins, and how wide that is.
        ticks: Where it was renewed.
        start_mark: `takeover`, `resume` or nothing.
        end_mark: `expiry`, `revocation` or nothing.
        live: Whether it goes on at the audit.
        room: What there is room for in it: its `name`, its `code` or `none`.
        details: What it tells when asked; the first line is a heading.
    """

    style: WorkerStyle
    left: float
    width: float
    level: int
    hatched: tuple[float, float] | None
    ticks: tuple[float, ...]
    start_mark: str
    end_mark: str
    live: bool
    room: str
    details: tuple[str, ...]

    @property
    def right(self) -> float:
        """Where it ends."""
        return self.left + self.width


@dataclass(frozen=True, slots=True)
class Mark:
    """Refused writes, one or several that lie too close to be told apart.

    Attributes:
        at: Where.
        count: How many.
        workers: Those whose writes they were, by index.
        details: What it tells when asked.
    """

    at: float
    count: int
    workers: tuple[int, ...]
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """An execution.

    Attributes:
        story: What is drawn of it.
        bars: Its tenures.
        marks: Its refusals.
        levels: On how many levels its bars lie; more than one where they overlap.
        has: What can be looked for: `finding`, `refusal`, `takeover`, `expiry`,
            `orphan`, `overlap`.
    """

    story: Story
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    levels: int
    has: tuple[str, ...]

    @property
    def workers(self) -> tuple[int, ...]:
        """The workers in it, by index."""
        found = {bar.style.index for bar in self.bars}
        return tuple(sorted(found.union(*(mark.workers for mark in self.marks))))


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows that share a scale of time.

    Attributes:
        number: From 1.
        rows: Its executions, in the order of their first tenures.
        scale: Its scale of time.
        labels: The times beside the axis.
    """

    number: int
    rows: tuple[Row, ...]
    scale: TimeScale
    labels: tuple[Label, ...]

    @property
    def workers(self) -> tuple[int, ...]:
        """The workers in it, by index."""
        return tuple(sorted({index for row in self.rows for index in row.workers}))

    @property
    def severity(self) -> Severity | None:
        """The gravest of what was found about one of its executions."""
        found = {row.story.severity for row in self.rows}
        return next((severity for severity in Severity if severity in found), None)


@dataclass(frozen=True, slots=True)
class Picture:
    """All that is drawn.

    Attributes:
        sheets: In the order of time; none where nothing was ever claimed.
        workers: Those in it, with their looks.
        lanes: Those in it, by name.
        ticks: How many renewals are drawn.
        renewals: How many renewals the drawn tenures have.
    """

    sheets: tuple[Sheet, ...]
    workers: tuple[WorkerStyle, ...]
    lanes: tuple[str, ...]
    ticks: int
    renewals: int

    @property
    def rows(self) -> Iterator[Row]:
        """All rows of all sheets."""
        return (row for sheet in self.sheets for row in sheet.rows)


def draw(stories: Sequence[Story], at_ms: int) -> Picture:
    """Lay out the executions.

    Args:
        stories: In the order of their first tenures.
        at_ms: The time of the audit: until then live tenures are drawn.
    """
    styles = palette.assign(list(_workers(stories)))
    most = _ticks_most(stories)
    starts = range(0, len(stories), ROWS_PER_SHEET)
    sheets = tuple(
        _sheet(number, stories[start : start + ROWS_PER_SHEET], at_ms, styles, most)
        for number, start in enumerate(starts, start=1)
    )
    bars = [bar for sheet in sheets for row in sheet.rows for bar in row.bars]
    return Picture(
        sheets=sheets,
        workers=tuple(styles.values()),
        lanes=tuple(sorted({story.lane_id for story in stories})),
        ticks=sum(len(bar.ticks) for bar in bars),
        renewals=sum(row.renewals for story in stories for row in story.tenures),
    )


@dataclass(frozen=True, slots=True)
class _Canvas:
    """What all rows of a sheet are drawn with."""

    times: TimeScale
    at_ms: int
    styles: Mapping[str, WorkerStyle]
    ticks_most: int
    mark_room: float


def _workers(stories: Iterable[Story]) -> Iterator[str]:
    for story in stories:
        yield from (row.worker_id for row in story.tenures)
        yield from (row.worker_id for row in story.refusals if row.worker_id)


def _ticks_most(stories: Sequence[Story]) -> int:
    """Return how many ticks a bar may have, so that there are not too many in all."""
    counts = [
        len(story.renewed_at_ms.get(row.lease_id, ()))
        for story in stories
        for row in story.tenures
    ]
    most = max(counts, default=0)
    while sum(min(count, most) for count in counts) > TICKS_MAX:
        most //= 2
    return most


def _sheet(
    number: int,
    stories: Sequence[Story],
    at_ms: int,
    styles: Mapping[str, WorkerStyle],
    ticks_most: int,
) -> Sheet:
    times = scale.fit(span for story in stories for span in _spans(story, at_ms))
    room = _mark_room(stories, times)
    canvas = _Canvas(times, at_ms, styles, ticks_most, room)
    rows = tuple(_row(story, canvas) for story in stories)
    return Sheet(number, rows, times, tuple(scale.labels(times)))


def _end_ms(row: TenureRow, at_ms: int) -> int:
    end_ms = at_ms if row.ended_at_ms is None else row.ended_at_ms
    return max(end_ms, row.acquired_at_ms)


def _orphaned_until(story: Story, row: TenureRow, at_ms: int) -> int | None:
    if row.orphaned_ms is not None:
        return _end_ms(row, at_ms) + max(row.orphaned_ms, 0)
    return at_ms if story.orphaned and row is story.tenures[-1] else None


def _spans(story: Story, at_ms: int) -> Iterator[Span]:
    """Return the times during which there is something to draw."""
    for row in story.tenures:
        end_ms = _end_ms(row, at_ms)
        yield (row.acquired_at_ms, _orphaned_until(story, row, at_ms) or end_ms)
    for refusal in story.refusals:
        yield (refusal.occurred_at_ms, refusal.occurred_at_ms)


def _row(story: Story, canvas: _Canvas) -> Row:
    level_ends: list[int] = []
    bars = []
    for row in story.tenures:
        end_ms = _end_ms(row, canvas.at_ms)
        level = _level(level_ends, row.acquired_at_ms, end_ms)
        bars.append(_bar(story, row, level, canvas))
    marks = tuple(
        _mark(close, canvas)
        for close in _close_together(story.refusals, canvas.times, canvas.mark_room)
    )
    levels = max(len(level_ends), 1)
    return Row(story, tuple(bars), marks, levels, _has(story, bars, levels))


def _mark(close: Sequence[LeaseEventRow], canvas: _Canvas) -> Mark:
    names = {row.worker_id for row in close if row.worker_id}
    return Mark(
        at=canvas.times.place(close[0].occurred_at_ms),
        count=len(close),
        workers=tuple(sorted(canvas.styles[name].index for name in names)),
        details=details.of_refusals(close),
    )


def _level(ends_ms: list[int], start_ms: int, end_ms: int) -> int:
    """Find the first level that is free from the start on, and take it."""
    for level, taken_until in enumerate(ends_ms):
        if taken_until <= start_ms:
            ends_ms[level] = end_ms
            return level
    ends_ms.append(end_ms)
    return len(ends_ms) - 1


def _bar(story: Story, row: TenureRow, level: int, canvas: _Canvas) -> Bar:
    times, at_ms = canvas.times, canvas.at_ms
    left, right = times.place(row.acquired_at_ms), times.place(_end_ms(row, at_ms))
    width = max(right - left, _BAR_WIDTH_MIN)
    until_ms = _orphaned_until(story, row, at_ms)
    hatched = None
    if until_ms is not None:
        hatched = (right, max(times.place(until_ms) - right, _BAR_WIDTH_MIN))
    renewed_at_ms = _thinned(
        story.renewed_at_ms.get(row.lease_id, ()), canvas.ticks_most
    )
    style = canvas.styles[row.worker_id]
    return Bar(
        style=style,
        left=left,
        width=width,
        level=level,
        hatched=hatched,
        ticks=tuple(times.place(each_ms) for each_ms in renewed_at_ms),
        start_mark=_START_MARKS.get(row.acquired_by, ""),
        end_mark=_END_MARKS.get(row.ended_by, "") if row.ended_by else "",
        live=row.ended_at_ms is None,
        room=_room(style, width),
        details=details.of_tenure(story, row, at_ms),
    )


def _thinned(times_ms: Sequence[int], most: int) -> Sequence[int]:
    """Keep at most so many, evenly spread."""
    count = len(times_ms)
    if count <= most:
        return times_ms
    return [times_ms[index * count // most] for index in range(most)]


def _room(style: WorkerStyle, width: float) -> str:
    pixels = width * _PIXELS_PER_PERCENT
    if pixels > len(style.name) * _LETTER_PIXELS + _CODE_PIXELS:
        return "name"
    return "code" if pixels > _CODE_PIXELS * len(style.code) else "none"


def _mark_room(stories: Sequence[Story], times: TimeScale) -> float:
    """Return how close refusals are put together, so that not too many marks remain."""
    room = _MARK_ROOM
    while room < scale.RIGHT:
        count = sum(
            1 for story in stories for _ in _close_together(story.refusals, times, room)
        )
        if count <= MARKS_PER_SHEET_MAX:
            break
        room *= 2
    return room


def _close_together(
    refusals: Sequence[LeaseEventRow], times: TimeScale, room: float
) -> Iterator[list[LeaseEventRow]]:
    close: list[LeaseEventRow] = []
    for row in refusals:
        if close:
            away = times.place(row.occurred_at_ms) - times.place(
                close[0].occurred_at_ms
            )
            if away >= room:
                yield close
                close = []
        close.append(row)
    if close:
        yield close


def _has(story: Story, bars: Sequence[Bar], levels: int) -> tuple[str, ...]:
    told = {
        "finding": story.severity is not None,
        "error": story.severity is Severity.ERROR,
        "overlap": levels > 1,
        "takeover": any(bar.start_mark for bar in bars),
        "expiry": any(bar.end_mark for bar in bars),
        "orphan": any(bar.hatched for bar in bars),
        "refusal": bool(story.refusals),
    }
    return tuple(name for name, holds in told.items() if holds)
