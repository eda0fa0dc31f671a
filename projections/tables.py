"""The projected tables in memory: what the events of a history add up to.

Replays use it where no database is wanted: to verify a store, to say what differs and
why a column has its value. It follows the rules of `changes` and holds no SQL.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, assert_never

from leasehold.domain import merge_patch
from leasehold.domain.merge_patch import canonical_json
from leasehold.domain.records import RecordedEvent
from leasehold.projections import exec_core
from leasehold.projections.changes import (
    POSITION,
    Change,
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
        """Apply what a stored event projects."""
        place = Place(recorded.stream_id, recorded.version, recorded.sha256)
        self.apply(project(recorded.event, place), recorded.position)

    def apply(self, changes: Iterable[Change], position: int) -> None:
        """Apply the changes that the event at a position makes."""
        for change in changes:
            self._apply(change, position)

    def _apply(self, change: Change, position: int) -> None:
        table = self._rows[change.table]
        match change:
            case Insert(name, values):
                row = {
                    column: position if value is POSITION else value
                    for column, value in values.items()
                }
                row = {**DEFAULTS.get(name, {}), **row}
                table[tuple(row[column] for column in KEYS[name])] = row
            case Update(_, key, values):
                found = table.get(tuple(key.values()))
                if found is not None:
                    found.update(values)
            case Upsert(name, key, values):
                begun = {**DEFAULTS.get(name, {}), **key}
                table.setdefault(tuple(key.values()), begun).update(values)
            case Merge():
                _merge(table, change)
            case Delete(_, key):
                table.pop(tuple(key.values()), None)
            case _:
                assert_never(change)


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
