"""Walking through a store execution by execution: its events beside its rows.

Memory is bounded by the largest execution, and by a page of the log and of each table:
1,000 rows at most, and some 8 MiB. The order is that of execution ids, by bytes, in the
log as in every table.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import heappop, heappush, heapreplace
from itertools import chain
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from leasehold.adapters import codec
from leasehold.adapters.store import PAGE_BYTES, ReadSession, Row, state_bytes
from leasehold.domain import streams
from leasehold.domain.errors import StoreError
from leasehold.domain.events import DomainEvent
from leasehold.domain.frames import FrameMode
from leasehold.domain.records import RecordedEvent
from leasehold.domain.streams import EXECUTION_ID_CHARACTERS
from leasehold.projections import stream_frame
from leasehold.projections.registry import KEYS
from leasehold.projections.tables import Key, TableRow

PAGE: Final = 1_000
"""How many events are read at once, at most; see also `PAGE_BYTES`."""

_BEST_EFFORT: Final = FrameMode.BEST_EFFORT.value

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
        self._has_modes = table == stream_frame.TABLE
        self._rows = rows
        self._next = next(rows, None)
        self.place = self._place()

    def _place(self) -> "_Order | None":
        """Return the execution that the next row is of, as a place in the order."""
        return None if self._next is None else _order(self._next["execution_id"])

    def take(self, execution_id: object) -> dict[Key, TableRow]:
        """Take the rows of an execution off."""
        taken: dict[Key, TableRow] = {}
        key, row = self._key, self._next
        while row is not None and row["execution_id"] == execution_id:
            if not self._has_modes or row["mode"] != _BEST_EFFORT:
                taken[tuple([row[column] for column in key])] = row
            row = next(self._rows, None)
        self._next = row
        self.place = self._place()
        return taken


_Order = tuple[int, Any]
_NO_ROWS: Final[Mapping[Key, TableRow]] = {}


def _order(value: object) -> _Order:
    """Place a value as the databases do: NULL, numbers, text by its bytes, bytes."""
    if isinstance(value, str):
        return 2, value
    if value is None:
        return 0, None
    return (3, value) if isinstance(value, bytes) else (1, value)


def walk(session: ReadSession) -> Iterator[Walked]:
    """Give each execution that has events or rows, in the order of ids."""
    shelves = [
        (table, _Shelf(table, session.rows(table, by_execution=True))) for table in KEYS
    ]
    log = events_by_execution(session)
    logged = next(log, None)
    while True:
        known = [shelf.place for _, shelf in shelves if shelf.place is not None]
        logged_place = None if logged is None else _order(logged[0])
        if logged_place is not None:
            known.append(logged_place)
        if not known:
            return
        current = min(known)
        execution_id = current[1]
        rows = {
            table: shelf.take(execution_id) if shelf.place == current else _NO_ROWS
            for table, shelf in shelves
        }
        if logged is not None and logged_place == current:
            yield Walked(*logged, rows)
            logged = next(log, None)
        else:
            yield Walked(execution_id, [], rows)


def events_by_execution(session: ReadSession) -> Iterator[tuple[Any, list[Row]]]:
    """Give the events of each execution, by stream and version."""
    current: Any = None
    events: list[Row] = []
    for row in chain.from_iterable(pages_by_stream(session)):
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
    position, stream_id, version, topic, _ = row
    event, sha256 = event_in(row)
    return RecordedEvent(
        position, stream_id, version, topic, event.occurred_at_ms, event, sha256
    )


def event_in(row: Row) -> tuple[DomainEvent, str]:
    """Return what `decoded` does without its place: the event and its hash in hex."""
    position, stream_id, version, topic, state = row
    event, sha256 = codec.read(position, stream_id, version, topic, state)
    execution_id = stream_id[:EXECUTION_ID_CHARACTERS]
    if (
        _id_in(execution_id) != event.execution_id
        or streams.of_event(event, execution_id) != stream_id
    ):
        home = streams.of_event(event, event.execution_id)
        message = (
            f"the event at position {position} tells of stream {home}, and stands in "
            f"stream {stream_id}, version {version}"
        )
        raise StoreError(message, code="corrupt_event")
    return event, sha256


@lru_cache(maxsize=64)
def _id_in(text: str) -> UUID | None:
    """Return the id that a text is, written as the ledger writes it."""
    try:
        found = UUID(text)
    except (ValueError, TypeError):  # bytes, in a damaged row
        return None
    return found if str(found) == text else None


def log(session: ReadSession, after: int = 0) -> Iterator[Row]:
    """Give the log behind a position, as the session sees it."""
    while True:
        rows = session.fetch_page("log", bytes_most=PAGE_BYTES, after=after, most=PAGE)
        if not rows:
            return
        after = rows[-1][0]
        yield from rows
        # Or there were two pages in memory while the next one is read.
        del rows


def history(
    session: ReadSession, execution_id: str, *, bytes_most: int = PAGE_BYTES
) -> Iterator[Row]:
    """Give the events of an execution over all its streams, in log order."""
    after = 0
    while True:
        rows = session.fetch_page(
            "history_page",
            bytes_most=bytes_most,
            execution_id=execution_id,
            after=after,
            most=PAGE,
        )
        if not rows:
            return
        after = rows[-1][0]
        yield from rows
        del rows


def merged(sources: Iterable[tuple[int, Callable[[], Iterator[Row]]]]) -> Iterator[Row]:
    """Give the events of several sources in the order of positions.

    A source is opened when its first event is due, so that of many only a few are open
    at a time.

    Args:
        sources: Each with the position of its first event.
    """
    closed = sorted(sources, key=itemgetter(0), reverse=True)
    opened: list[tuple[int, int, Row, Iterator[Row]]] = []
    while closed or opened:
        while closed and (not opened or closed[-1][0] <= opened[0][0]):
            rows = closed.pop()[1]()
            row = next(rows)
            heappush(opened, (row[0], len(closed), row, rows))
        _, number, row, rows = opened[0]
        yield row
        following = next(rows, None)
        if following is None:
            heappop(opened)
        else:
            heapreplace(opened, (following[0], number, following, rows))


def pages_by_stream(session: ReadSession) -> Iterator[list[Row]]:
    """Give the log by stream and version, page by page."""
    after_stream, after_version, known, known_bytes = "", 0, 0, 0
    while True:
        rows = session.fetch_page(
            "log_by_stream",
            bytes_most=PAGE_BYTES + known_bytes,
            after_stream=after_stream,
            after_version=after_version,
            most=PAGE + known,
        )
        page = rows[known:]
        if not page:
            return
        # Go on after the last stream whose id can be asked for.
        for known, row in enumerate(reversed(rows)):  # noqa: B007 - and below
            if _is_writable(row[1]):
                after_stream, after_version = row[1], row[2]
                break
        else:
            known = len(rows)
        known_bytes = sum(map(state_bytes, rows[len(rows) - known :]))
        del rows, row
        yield page
        del page


def _is_writable(stream_id: object) -> bool:
    """Say whether an id can be written: text of any bytes has lone surrogates."""
    try:
        return not isinstance(stream_id, str) or bool(stream_id.encode())
    except UnicodeEncodeError:
        return False
