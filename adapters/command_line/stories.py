"""Lay events out as a story: when, who, under which epoch, and what changed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from rich.cells import cell_len

import leasehold
from leasehold.adapters.command_line import output, tables, wording
from leasehold.domain.attempts import AttemptLeaseRenewed

STYLES: Final = {
    "execution.created": "bold",
    "execution.completed": "green",
    "execution.failed": "bold red",
    "execution.cancelled": "magenta",
    "execution.expired": "magenta",
    "execution.replayed": "bold",
    "attempt.failed": "red",
    "attempt.lease_expired": "yellow",
    "attempt.lease_revoked": "yellow",
    "refusal.recorded": "red",
}
"""How what an event changed is shown on a terminal, by its topic."""

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
_DATE_CHARACTERS: Final = 10
_GAP: Final = "  "
_WIDE: Final = 110
_WHO_WIDTH: Final = 8
_WHO_MAX_NARROW: Final = 10
_WHO_MAX: Final = 24


def since_text(since_ms: int) -> str:
    """Write the time since a beginning: seconds, and from a minute on as a clock."""
    sign = "-" if since_ms < 0 else "+"
    size_ms = abs(since_ms)
    if size_ms < _MINUTE_MS:
        return f"{sign}{size_ms / 1000:.3f} s"
    days, rest_ms = divmod(size_ms, _DAY_MS)
    clock = timedelta(seconds=rest_ms // 1000)
    if days:
        return f"{sign}{days} d {clock}"
    return f"{sign}{clock}.{rest_ms % 1000:03d}"


def day_and_time(at_ms: int) -> tuple[str, str]:
    """Return the day and the time of day; of a time beyond all days the time alone."""
    text = output.time_text(at_ms).removesuffix("Z")
    day, _, time_of_day = text.partition(" ")
    return (f"{day} UTC", time_of_day) if len(day) == _DATE_CHARACTERS else ("", text)


def _who_that_fits(who: str, width: int) -> str:
    return output.cut(who, _WHO_MAX if width >= _WIDE else _WHO_MAX_NARROW)


@dataclass
class _Told:
    """An event, or a run of renewals that is told as one."""

    record: leasehold.RecordedEvent
    epoch: str
    who: str
    text: str
    count: int = 1

    @property
    def what(self) -> str:
        """What changed."""
        return self.text if self.count == 1 else f"{self.text} (×{self.count})"


def _told(
    records: Iterable[leasehold.RecordedEvent], holders: wording.Holders
) -> list[_Told]:
    return [_Told(record, *wording.story_of(record, holders)) for record in records]


def _renewals_joined(told: Iterable[_Told]) -> list[_Told]:
    joined: list[_Told] = []
    for entry in told:
        last = joined[-1] if joined else None
        if (
            last is not None
            and _is_renewal(last)
            and _is_renewal(entry)
            and (last.epoch == entry.epoch)
        ):
            entry.count = last.count + 1
            joined[-1] = entry
        else:
            joined.append(entry)
    return joined


def _is_renewal(entry: _Told) -> bool:
    return isinstance(entry.record.event, AttemptLeaseRenewed)


def print_history(
    row: leasehold.ExecutionRow,
    records: Sequence[leasehold.RecordedEvent],
    holders: wording.Holders,
) -> None:
    """Print what happened to an execution.

    On a terminal renewals that follow each other are one line, and days are headings.
    In a pipe each event is a line.
    """
    told = _told(records, holders)
    if not output.console().is_terminal:
        _print_lines(row, told)
        return
    output.print_line(
        f"execution {row.execution_id}, {row.public_state}",
        style=output.STATE_STYLES.get(row.public_state),
    )
    told = _renewals_joined(told)
    heads = [f"{line}{_GAP}" for line in _heads(row, told)]
    what = "what" if tables.is_room_beside(heads[0]) else ""
    output.print_line(f"{heads[0]}{what}", style="bold")
    day = None
    for head, entry in zip(heads[1:], told, strict=True):
        day = print_day(entry.record.recorded_at_ms, day)
        style = STYLES.get(entry.record.topic)
        tables.print_hanging(head, entry.what, style=style)


def _heads(row: leasehold.ExecutionRow, told: Iterable[_Told]) -> list[str]:
    """Return what stands before each entry on a terminal, under names, all as wide."""
    terminal_width = output.console().width
    cells = [["pos.", "time", "since", "epoch", "who"]]
    for entry in told:
        at_ms = entry.record.recorded_at_ms
        cells.append(
            [
                str(entry.record.position),
                day_and_time(at_ms)[1],
                since_text(at_ms - row.created_at_ms),
                entry.epoch,
                _who_that_fits(entry.who, terminal_width),
            ]
        )
    lines = tables.aligned(cells)
    width = max(map(cell_len, lines))
    return [line + " " * (width - cell_len(line)) for line in lines]


def print_day(at_ms: int, before: str | None) -> str:
    """Print the day of a time as a heading, where it is another one than before."""
    day, _ = day_and_time(at_ms)
    if day != before:
        output.print_line(day, style="bold dim")
    return day


def _print_lines(row: leasehold.ExecutionRow, told: Iterable[_Told]) -> None:
    columns = ["position", "at", "since", "epoch", "who", "topic", "what"]
    cells = [
        [
            str(entry.record.position),
            output.time_text(entry.record.recorded_at_ms),
            since_text(entry.record.recorded_at_ms - row.created_at_ms),
            entry.epoch,
            entry.who,
            entry.record.topic,
            entry.what,
        ]
        for entry in told
    ]
    for line in tables.aligned([columns, *cells]):
        output.print_line(line)


class Teller:
    """Prints events one by one, as they come."""

    def __init__(self, *, of_one: UUID | None = None) -> None:
        """Begin.

        Args:
            of_one: The execution that all of them are of.
        """
        self._of_one = of_one
        self._holders = wording.Holders()
        self._day: str | None = None

    def tell(self, record: leasehold.RecordedEvent) -> None:
        """Print an event: a line in a pipe, a short one on a terminal."""
        epoch, who, what = wording.story_of(record, self._holders)
        execution_id = str(record.event.execution_id)
        target = output.console()
        if not target.is_terminal:
            at = output.time_text(record.recorded_at_ms)
            topic = record.topic
            output.print_line(
                f"{record.position:>6}  {at}  {execution_id}  {epoch:>3}  {who:<12}  "
                f"{topic:<24}  {what}"
            )
            return
        self._day = print_day(record.recorded_at_ms, self._day)
        _, time_of_day = day_and_time(record.recorded_at_ms)
        named = [] if self._of_one else [_name_that_fits(execution_id, target.width)]
        head = [
            f"{record.position:>6}",
            time_of_day,
            *named,
            f"{epoch:>3}",
            _who_that_fits(who, target.width).ljust(_WHO_WIDTH),
            "",
        ]
        tables.print_hanging(_GAP.join(head), what, style=STYLES.get(record.topic))


def _name_that_fits(execution_id: str, width: int) -> str:
    """Return an id, or where that leaves no room the last part of it."""
    return execution_id if width >= _WIDE else f"…{execution_id.rpartition('-')[2]}"
