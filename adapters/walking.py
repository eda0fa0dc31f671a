"""Walking through a store execution by execution: its events beside its rows.

Memory is bounded by the largest execution, whatever the size of the store. The order
is that of execution ids, by bytes, in the log as in every table.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from leasehold.adapters import codec
from leasehold.adapters.store import ReadSession, Row
from leasehold.domain import streams
from leasehold.domain.errors import StoreError
from leasehold.domain.frames import FrameMode
from leasehold.domain.records import RecordedEvent
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

    execution_id: Any
    events: list[Row] = field(default_factory=list)
    rows: Mapping[str, Mapping[Key, TableRow]] = field(default_factory=dict)


class _Shelf:
    """The rows of one table, taken off one execution at a time."""

    def __init__(self, table: str, rows: Iterator[dict[str, Any]]) -> None:
        self._key = KEYS[table]
        self._rows = rows
        self._next = next(rows, None)

    def first(self) -> "_Order | None":
        """Return the execution that the next row is of, as a place in the order."""
        return None if self._next is None else _order(self._next["execution_id"])

    def take(self, execution_id: object) -> dict[Key, TableRow]:
        """Take the rows of an execution off."""
        taken: dict[Key, TableRow] = {}
        row = self._next
        while row is not None and row["execution_id"] == execution_id:
            if row.get("mode") != FrameMode.BEST_EFFORT.value:
                taken[tuple([row[column] for column in self._key])] = row
            row = self._next = next(self._rows, None)
        return taken


_Order = tuple[int, Any]


def _order(value: object) -> _Order:
    """Place a value as the databases do: NULL, numbers, text by its bytes, bytes."""
    if isinstance(value, str):
        return 2, value
    if value is None:
        return 0, None
    return (3, value) if isinstance(value, bytes) else (1, value)


def walk(session: ReadSession) -> Iterator[Walked]:
    """Give each execution that has events or rows, in the order of ids."""
    shelves = {
        table: _Shelf(table, session.rows(table, by_execution=True)) for table in KEYS
    }
    log = events_by_execution(session)
    logged = next(log, None)
    while True:
        waiting = [shelf.first() for shelf in shelves.values()]
        known = [place for place in waiting if place is not None]
        if logged is not None:
            known.append(_order(logged[0]))
        if not known:
            return
        current = min(known)
        execution_id = current[1]
        rows = {
            table: {} if place != current else shelf.take(execution_id)
            for (table, shelf), place in zip(shelves.items(), waiting, strict=True)
        }
        if logged is not None and current == _order(logged[0]):
            yield Walked(*logged, rows)
            logged = next(log, None)
        else:
            yield Walked(execution_id, [], rows)


def events_by_execution(session: ReadSession) -> Iterator[tuple[Any, list[Row]]]:
    """Give the events of each execution, by stream and version."""
    current: Any = None
    events: list[Row] = []
    for row in _by_stream(session):
        execution_id = row[1][:EXECUTION_ID_CHARACTERS]
        if execution_id != current:
            if events:
                yield current, events
            current, events = execution_id, []
        events.append(row)
    if events:
        yield current, events


def decoded(row: Row) -> RecordedEvent:
    """Return the event of a row of the log.

    Raises:
        StoreError: `corrupt_event`: it cannot be decoded, or tells of another stream
            than the one that it stands in.
    """
    position, stream_id, version, topic, state = row
    recorded = codec.decode(position, stream_id, version, topic, state)
    home = streams.of_event(recorded.event, recorded.event.execution_id)
    if home != stream_id:
        message = (
            f"the event at position {position} tells of stream {home}, and stands in "
            f"stream {stream_id}, version {version}"
        )
        raise StoreError(message, code="corrupt_event")
    return recorded


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
