"""The projected tables in memory: what the events of a history add up to.

Replays use it where no database is wanted: to verify a store, to say what differs and
why a column has its value. It follows the rules of `changes` and holds no SQL.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, assert_never

from leasehold.domain import merge_patch
from leasehold.domain.errors import StoreError
from leasehold.domain.events import DomainEvent
from leasehold.domain.merge_patch import canonical_json
from leasehold.domain.records import RecordedEvent
from leasehold.projections import exec_core
from leasehold.projections.changes import (
    POSITION,
    Change,
    Changes,
    Delete,
    Insert,
    Merge,
    Place,
    Update,
    Upsert,
)
from leasehold.projections.registry import KEYS, project

Key = tuple[Any, ...]
TableRow = dict[str, Any]

DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {exec_core.BLOB: {"payload": b""}}
"""What a column of a new row holds that the row was not given, if not NULL."""

_NO_DEFAULTS: Final[Mapping[str, Any]] = {}


def key_of(change: Change, position: int) -> Key:
    """Return the key of the row that a change of the event at a position is about."""
    if isinstance(change, Insert):
        values = change.values
        key = tuple(values[column] for column in KEYS[change.table])
        return tuple(position if part is POSITION else part for part in key)
    return tuple(change.key.values())


class Tables:
    """All projected tables, as rows by key.

    A column that a row was never given is absent where the database has NULL.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._rows: dict[str, dict[Key, TableRow]] = {name: {} for name in KEYS}

    def clear(self) -> None:
        """Begin anew."""
        for rows in self._rows.values():
            rows.clear()

    def rows(self, table: str) -> Mapping[Key, TableRow]:
        """Return the rows of a table by their keys."""
        return self._rows[table]

    def project(self, recorded: RecordedEvent) -> None:
        """Apply what a stored event projects.

        Raises:
            StoreError: `corrupt_event`: the event was damaged, so that its rows cannot
                be worked out.
        """
        place = Place(recorded.stream_id, recorded.version, recorded.sha256)
        self.project_at(recorded.event, place, recorded.position)

    def project_at(self, event: DomainEvent, place: Place, position: int) -> None:
        """Apply what an event projects that stands at a place and a position.

        Raises:
            StoreError: `corrupt_event`, as `project` says.
        """
        self.apply(_changes_of(event, place, position), position)

    def apply(self, changes: Iterable[Change], position: int) -> None:
        """Apply the changes that the event at a position makes."""
        try:
            for change in changes:
                self._apply(change, position)
        except (ValueError, TypeError, KeyError) as error:
            raise _unprojectable(position, error) from error

    def _apply(self, change: Change, position: int) -> None:
        name = change.table
        table = self._rows[name]
        if isinstance(change, Update):
            found = table.get(tuple(change.key.values()))
            if found is not None:
                found.update(change.values)
        elif isinstance(change, Insert):
            row = {**DEFAULTS.get(name, _NO_DEFAULTS), **change.values}
            key = KEYS[name]
            for column in key:
                if row[column] is POSITION:
                    row[column] = position
            table[tuple([row[column] for column in key])] = row
        elif isinstance(change, Upsert):
            begun = {**DEFAULTS.get(name, _NO_DEFAULTS), **change.key}
            table.setdefault(tuple(change.key.values()), begun).update(change.values)
        elif isinstance(change, Merge):
            _merge(table, change)
        elif isinstance(change, Delete):
            table.pop(tuple(change.key.values()), None)
        else:
            assert_never(change)


def changes_of(recorded: RecordedEvent) -> Changes:
    """Return what a stored event changes.

    Raises:
        StoreError: `corrupt_event`: the event was damaged, so that its rows cannot be
            worked out: a summary frame that is no JSON, say.
    """
    place = Place(recorded.stream_id, recorded.version, recorded.sha256)
    return _changes_of(recorded.event, place, recorded.position)


def _changes_of(event: DomainEvent, place: Place, position: int) -> Changes:
    try:
        return project(event, place)
    except (ValueError, TypeError, KeyError) as error:
        raise _unprojectable(position, error) from error


def _unprojectable(position: int, error: Exception) -> StoreError:
    message = f"the event at position {position} cannot be projected: {error}"
    return StoreError(message, code="corrupt_event")


def _merge(table: dict[Key, TableRow], change: Merge) -> None:
    key = tuple(change.key.values())
    row = table.get(key)
    if row is None:
        row = table[key] = {**change.key, **change.initial, change.column: "{}"}
    merged = merge_patch.apply(
        json.loads(row[change.column]),
        change.patch,
        null_sentinel=change.null_sentinel,
    )
    row.update({**change.values, change.column: canonical_json(merged)})
