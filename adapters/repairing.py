"""Rebuilding the projections while writers go on: replay beside them, then repair.

What the events add up to is worked out beside the live rows, execution by execution, on
one consistent view, which keeps nobody from writing. Where the rows differ they are put
right in one transaction at the end; there an execution is replayed once more if it has
changed meanwhile. So readers never meet a missing, half or older row, nobody waits
longer than the repair takes, and a run that is killed has changed nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from leasehold.adapters.differing import (
    EXEC_CORE,
    SHOWN_AS,
    RowDifference,
    core_row,
    differing_rows,
)
from leasehold.adapters.store import ReadSession, Row, Store, WriteSession
from leasehold.adapters.walking import Progress, Walked, event_in, walk
from leasehold.domain.errors import StoreError
from leasehold.domain.events import DomainEvent
from leasehold.domain.frames import FrameMode
from leasehold.projections import exec_core
from leasehold.projections.changes import Delete, Insert, Place
from leasehold.projections.registry import KEYS, PROJECTION_VERSION
from leasehold.projections.tables import Key, TableRow, Tables

_NO_LIMIT: Final = -1


@dataclass(frozen=True, slots=True)
class Suspect:
    """An execution with rows that are not what its events add up to.

    Attributes:
        execution_id: Its id as text, or whatever stands in its place.
        last_position: That of its last event.
        differences: The rows that differ, by the tables that they are kept in.
        shown: The same by the tables that people query.
    """

    execution_id: object
    last_position: int
    differences: tuple[RowDifference, ...]
    shown: tuple[RowDifference, ...]


def rebuild(store: Store, progress: Progress | None = None) -> list[RowDifference]:
    """Hold all rows against the replay of the log, and put right what differs.

    Raises:
        StoreError: `corrupt_event`: an event cannot be read; the old rows stand.
            `schema_version`: another version has changed the tables meanwhile.
    """
    if store.read_only:
        message = f"{store.shown} was opened with read_only=True"
        raise StoreError(message)
    events, suspects = 0, []
    with store.read() as session:
        expected = session.fetch_all("last_position")[0][0]
        for walked in walk(session):
            suspect = suspected(walked)
            if suspect is not None:
                suspects.append(suspect)
            events += len(walked.events)
            if progress is not None:
                progress(events, max(events, expected))
    if not suspects:
        return []
    with store.write(any_version=True) as session:
        if session.projection_version() != PROJECTION_VERSION:
            message = (
                f"another version of leasehold has changed the tables of {store.shown} "
                "meanwhile; open the ledger again with that version"
            )
            raise StoreError(message, code="schema_version")
        return _repair(session, suspects)


def suspected(walked: Walked) -> Suspect | None:
    """Return in what the rows of an execution differ; None where they do not.

    Raises:
        StoreError: `corrupt_event`: an event cannot be read.
    """
    rows = sorted(walked.events, key=_position_of)
    return suspected_by(walked, ((row, *event_in(row)) for row in rows))


def suspected_by(
    walked: Walked, read: Iterable[tuple[Row, DomainEvent, str]]
) -> Suspect | None:
    """Return what `suspected` does, where the events have been read already.

    Args:
        walked: The execution.
        read: Its rows of the log by position, with the event and the hash in each.

    Raises:
        StoreError: `corrupt_event`: an event cannot be projected.
    """
    tables, last = Tables(), 0
    for (last, stream_id, version, *_), event, sha256 in read:
        tables.project_at(event, Place(stream_id, version, sha256), last)
    found = [
        _difference(table, key, before, after)
        for table, key, before, after, _ in differing_rows(walked.rows, tables)
    ]
    if not found:
        return None
    shown = _as_people_know(walked, tables, found)
    return Suspect(walked.execution_id, last, tuple(found), tuple(shown))


def _position_of(row: Row) -> int:
    return int(row[0])


def _difference(
    table: str, key: Key, before: TableRow | None, after: TableRow | None
) -> RowDifference:
    named = dict(zip(KEYS.get(table, ("execution_id",)), key, strict=True))
    return RowDifference(table, named, before, after)


def _as_people_know(
    walked: Walked, tables: Tables, found: Iterable[RowDifference]
) -> list[RowDifference]:
    """Put the two tables of exec_core together."""
    of_core: dict[Key, None] = {}
    others: list[RowDifference] = []
    for difference in found:
        if difference.table in SHOWN_AS:
            of_core[tuple(difference.key.values())] = None
        else:
            others.append(difference)
    there, wanted = walked.rows, {name: tables.rows(name) for name in SHOWN_AS}
    core = [
        _difference(
            EXEC_CORE,
            key,
            *(
                core_row(side[exec_core.STATE].get(key), side[exec_core.BLOB].get(key))
                for side in (there, wanted)
            ),
        )
        for key in of_core
    ]
    return [*core, *others]


def _repair(session: WriteSession, suspects: Iterable[Suspect]) -> list[RowDifference]:
    """Put the rows right; return what was wrong with them.

    All that is wrong goes first: a row that is right may need its place.
    """
    confirmed = [
        now for suspect in suspects if (now := _looked_at_again(session, suspect))
    ]
    differences = [found for suspect in confirmed for found in suspect.differences]
    session.repair(Delete(found.table, found.key) for found in differences)
    session.repair(
        Insert(found.table, found.after)
        for found in differences
        if found.after is not None
    )
    return [found for suspect in confirmed for found in suspect.shown]


def _looked_at_again(session: WriteSession, suspect: Suspect) -> Suspect | None:
    """Return in what an execution differs now that nobody else writes."""
    execution_id = str(suspect.execution_id)
    newer = session.fetch_all(
        "history", execution_id=execution_id, after=suspect.last_position, most=1
    )
    tables = {found.table for found in suspect.differences}
    rows = {table: _rows_of(session, table, suspect.execution_id) for table in tables}
    if not newer and all(
        rows[found.table].get(tuple(found.key.values())) == found.before
        for found in suspect.differences
    ):
        return suspect
    return suspected(read_walked(session, suspect.execution_id))


def read_walked(session: ReadSession, execution_id: object) -> Walked:
    """Return the events and the rows of one execution."""
    events = session.fetch_all(
        "history", execution_id=str(execution_id), after=0, most=_NO_LIMIT
    )
    rows = {table: _rows_of(session, table, execution_id) for table in KEYS}
    return Walked(execution_id, events, rows)


def _rows_of(
    session: ReadSession, table: str, execution_id: object
) -> dict[Key, TableRow]:
    named: str = execution_id  # type: ignore[assignment] # bytes too, in a damaged row
    return {
        tuple(row[column] for column in KEYS[table]): row
        for row in session.rows_of(table, named)
        if row.get("mode") != FrameMode.BEST_EFFORT.value
    }
