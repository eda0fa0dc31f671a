"""A store's twin: its log replayed into a store in memory, and the two compared."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from leasehold.adapters import codec, walking
from leasehold.adapters.sqlite.connecting import Target
from leasehold.adapters.sqlite.store import SQLiteStore
from leasehold.domain.frames import FrameMode
from leasehold.projections.registry import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leasehold.adapters.store import ReadSession, Store

    Difference = tuple[str, dict[str, Any] | None, dict[str, Any] | None]
    """A table, its row in the one store and its row in the other."""


@contextmanager
def replayed(store: Store) -> Iterator[SQLiteStore]:
    """Give a private store in memory, replayed from the events of another one."""
    target = Target(path=None, durability="normal", read_only=False)
    with closing(SQLiteStore(target)) as private:
        private.prepare()
        with store.read() as source, private.write() as session:
            for row in walking.log(source):
                recorded = codec.decode(*row)
                session.restore(recorded, row[4])
                session.project(recorded)
        yield private


def differences(one: Store, other: Store) -> list[Difference]:
    """Return the rows in which the projections of two stores differ.

    Best-effort frames are no projections and are left out.
    """
    found: list[Difference] = []
    # One after the other: a store in memory has one connection, and may be behind both.
    left, right = rows_by_key(one), rows_by_key(other)
    for table, ours in left.items():
        theirs = right[table]
        for key, row in ours.items():
            twin = theirs.pop(key, None)
            if twin != row:
                found.append((table, row, twin))
        found += [(table, None, row) for row in theirs.values()]
    return found


def rows_by_key(store: Store) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    with store.read() as session:
        return {
            table: {key_of(row, key): row for row in rows_of(session, table)}
            for table, key in KEYS.items()
        }


def rows_of(session: ReadSession, table: str) -> Iterator[dict[str, Any]]:
    return (
        row
        for row in session.rows(table)
        if row.get("mode") != FrameMode.BEST_EFFORT.value
    )


def key_of(row: dict[str, Any], key: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(row[column] for column in key)
