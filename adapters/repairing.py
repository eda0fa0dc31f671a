"""Rebuilding the projections while writers go on: replay beside them, then repair.

What the events add up to is worked out beside the live rows, execution by execution, on
one consistent view, which keeps nobody from writing. Where the rows differ they are put
right in one transaction at the end, each execution replayed once more there. So readers
never meet a missing, half or older row, nobody waits longer than the repair takes, and
a run that is killed has changed nothing.
"""

from collections.abc import Iterator
from typing import Final

from leasehold.adapters import codec
from leasehold.adapters.differing import RowDifference, differing_columns
from leasehold.adapters.store import ReadSession, Store, WriteSession
from leasehold.adapters.walking import Progress, Walked, walk
from leasehold.projections.changes import Change, Delete, Insert, Update
from leasehold.projections.registry import KEYS, PROJECTION_VERSION
from leasehold.projections.tables import Key, Tables

_NO_LIMIT: Final = -1


def rebuild(store: Store, progress: Progress | None = None) -> list[RowDifference]:
    """Hold all rows against the replay of the log, and put right what differs.

    Raises:
        StoreError: `corrupt_event`: an event cannot be read; the old rows stand.
    """
    events, suspects = 0, []
    with store.read() as session:
        expected = session.fetch_all("last_position")[0][0]
        for walked in walk(session):
            if any(True for _ in differences_of(walked)):
                suspects.append(walked.execution_id)
            events += len(walked.events)
            if progress is not None:
                progress(events, max(events, expected))
    if not suspects:
        return []
    found: list[RowDifference] = []
    with store.write(any_version=True) as session:
        if session.projection_version() == PROJECTION_VERSION:
            for execution_id in suspects:
                found += _repair(session, execution_id)
    return found


def _repair(session: WriteSession, execution_id: str) -> list[RowDifference]:
    differences = list(differences_of(read_walked(session, execution_id)))
    session.repair(_change_for(difference) for difference in differences)
    return differences


def read_walked(session: ReadSession, execution_id: str) -> Walked:
    """Return the events and the rows of one execution."""
    events = session.fetch_all(
        "history", execution_id=execution_id, after=0, most=_NO_LIMIT
    )
    rows = {
        table: {
            tuple(row[column] for column in key): row
            for row in session.rows_of(table, execution_id)
            if row.get("mode") != "best_effort"
        }
        for table, key in KEYS.items()
    }
    return Walked(execution_id, events, rows)


def differences_of(walked: Walked) -> Iterator[RowDifference]:
    """Give the rows of an execution that are not what its events add up to."""
    tables = Tables()
    for row in sorted(walked.events, key=lambda event: int(event[0])):
        tables.project(codec.decode(*row))
    for table, key_columns in KEYS.items():
        there, wanted = walked.rows[table], tables.rows(table)
        keys: dict[Key, None] = dict.fromkeys((*there, *wanted))
        for key in keys:
            if differing_columns(there.get(key), wanted.get(key)) is not None:
                named = dict(zip(key_columns, key, strict=True))
                yield RowDifference(table, named, there.get(key), wanted.get(key))


def _change_for(difference: RowDifference) -> Change:
    if difference.after is None:
        return Delete(difference.table, difference.key)
    if difference.before is None:
        return Insert(difference.table, difference.after)
    values = {
        column: difference.after.get(column)
        for column in difference.before
        if column not in difference.key
    }
    return Update(difference.table, difference.key, values)
