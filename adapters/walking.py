"""Walking through a store execution by execution: its events beside its rows.

Memory is bounded by the largest execution, whatever the size of the store. The order
is that of execution ids, by bytes, in the log as in every table.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from leasehold.adapters.store import ReadSession, Row
from leasehold.domain.frames import FrameMode
from leasehold.domain.streams import EXECUTION_ID_CHARACTERS
from leasehold.projections.registry import KEYS
from leasehold.projections.tables import Key, TableRow

PAGE: Final = 1_000

Progress = Callable[[int, int], None]
"""Told how many events are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Walked:
    """One execution: what the log and the tables hold of it.

    Attributes:
        execution_id: Its id as text, or whatever stands in its place.
        events: Rows of the log by stream and version: position, stream id, version,
            topic and state, not decoded.
        rows: The rows of every table by their keys, without best-effort frames.
    """

    execution_id: str
    events: list[Row] = field(default_factory=list)
    rows: Mapping[str, Mapping[Key, TableRow]] = field(default_factory=dict)


class _Shelf:
    """The rows of one table, taken off one execution at a time."""

    def __init__(self, table: str, rows: Iterator[dict[str, Any]]) -> None:
        self._key = KEYS[table]
        self._rows = rows
        self._next = next(rows, None)

    def first(self) -> str | None:
        """Return the execution that the next row is of."""
        return None if self._next is None else str(self._next["execution_id"])

    def take(self, execution_id: str) -> dict[Key, TableRow]:
        """Take the rows of an execution off."""
        taken: dict[Key, TableRow] = {}
        while self._next is not None and self.first() == execution_id:
            row = self._next
            if row.get("mode") != FrameMode.BEST_EFFORT.value:
                taken[tuple(row[column] for column in self._key)] = row
            self._next = next(self._rows, None)
        return taken


def walk(session: ReadSession) -> Iterator[Walked]:
    """Give each execution that has events or rows, in the order of ids."""
    shelves = {
        table: _Shelf(table, session.rows(table, by_execution=True)) for table in KEYS
    }
    log = events_by_execution(session)
    execution_id, events = next(log, (None, []))
    while True:
        waiting = [execution_id, *(shelf.first() for shelf in shelves.values())]
        known = [name for name in waiting if name is not None]
        if not known:
            return
        current = min(known)
        rows = {table: shelf.take(current) for table, shelf in shelves.items()}
        if current == execution_id:
            yield Walked(current, events, rows)
            execution_id, events = next(log, (None, []))
        else:
            yield Walked(current, [], rows)


def events_by_execution(session: ReadSession) -> Iterator[tuple[str, list[Row]]]:
    """Give the events of each execution, by stream and version."""
    current: str | None = None
    events: list[Row] = []
    for row in _by_stream(session):
        execution_id = str(row[1])[:EXECUTION_ID_CHARACTERS]
        if execution_id != current:
            if current is not None:
                yield current, events
            current, events = execution_id, []
        events.append(row)
    if current is not None:
        yield current, events


def _by_stream(session: ReadSession) -> Iterator[Row]:
    after_stream, after_version = "", 0
    while True:
        rows = session.fetch_all(
            "log_by_stream",
            after_stream=after_stream,
            after_version=after_version,
            most=PAGE,
        )
        yield from rows
        if len(rows) < PAGE:
            return
        after_stream, after_version = rows[-1][1], rows[-1][2]
