"""Rebuilding the projections from the events, and holding the two side by side."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

from leasehold.adapters import codec
from leasehold.adapters.sqlite.connecting import Target
from leasehold.adapters.sqlite.store import SQLiteStore
from leasehold.adapters.store import ReadSession, Store
from leasehold.domain.frames import FrameMode
from leasehold.domain.records import RecordedEvent
from leasehold.projections.registry import KEYS, PROJECTION_VERSION

_PAGE: Final = 1_000

Difference = tuple[str, dict[str, Any] | None, dict[str, Any] | None]
"""A table, its row in the one store and its row in the other."""


def _log(session: ReadSession) -> Iterator[tuple[RecordedEvent, bytes]]:
    """Read the whole log in pages: each event, and its bytes as stored."""
    after = 0
    while True:
        rows = session.fetch_all("log", after=after, most=_PAGE)
        for row in rows:
            yield codec.decode(*row), row[4]
        if len(rows) < _PAGE:
            return
        after = rows[-1][0]


def rebuild_projections(store: Store, *, only_older: bool = False) -> None:
    """Make the projections of a store anew, in one transaction.

    Args:
        store: The store.
        only_older: Do nothing where another process has done so meanwhile.

    Raises:
        StoreError: `corrupt_event`: an event cannot be read; the old rows stand.
    """
    with store.write(any_version=True) as session:
        if only_older and session.projection_version() >= PROJECTION_VERSION:
            return
        session.empty_projections()
        for recorded, _ in _log(session):
            session.project(recorded)


@contextmanager
def replayed(store: Store) -> Iterator[SQLiteStore]:
    """Give a private store in memory, replayed from the events of another one."""
    target = Target(path=None, durability="normal", read_only=False)
    with closing(SQLiteStore(target)) as private:
        private.prepare()
        with store.read() as source, private.write() as session:
            for recorded, state in _log(source):
                session.restore(recorded, state)
                session.project(recorded)
        yield private


def differences(one: Store, other: Store) -> list[Difference]:
    """Return the rows in which the projections of two stores differ.

    Best-effort frames are no projections and are left out.
    """
    found: list[Difference] = []
    with one.read() as left, other.read() as right:
        for table, key in KEYS.items():
            theirs = {_key(row, key): row for row in _rows(right, table)}
            for row in _rows(left, table):
                twin = theirs.pop(_key(row, key), None)
                if twin != row:
                    found.append((table, row, twin))
            found += [(table, None, row) for row in theirs.values()]
    return found


def _rows(session: ReadSession, table: str) -> Iterator[dict[str, Any]]:
    return (
        row
        for row in session.rows(table)
        if row.get("mode") != FrameMode.BEST_EFFORT.value
    )


def _key(row: dict[str, Any], key: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(row[column] for column in key)
