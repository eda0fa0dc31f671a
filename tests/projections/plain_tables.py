"""Rows in dictionaries, changed as the projections ask: enough to read columns by."""

import json
from typing import Any

from leasehold.domain import merge_patch
from leasehold.domain.events import DomainEvent
from leasehold.domain.merge_patch import canonical_json
from leasehold.projections.changes import (
    POSITION,
    Change,
    Changes,
    Insert,
    Merge,
    Place,
    Update,
    Upsert,
    Values,
)
from leasehold.projections.registry import KEYS, project

Key = tuple[Any, ...]


class PlainTables:
    """All tables, as rows by key."""

    def __init__(self) -> None:
        """Begin empty."""
        self.rows: dict[str, dict[Key, dict[str, Any]]] = {name: {} for name in KEYS}

    def tell(self, *events: DomainEvent) -> None:
        """Project events, each at the next position."""
        for position, event in enumerate(events, start=1):
            place = Place(str(event.execution_id), position, f"{position:064x}")
            self.apply(project(event, place), position)

    def apply(self, changes: Changes, position: int) -> None:
        """Make the changes of one event."""
        for change in changes:
            self._apply(change, position)

    def _apply(self, change: Change, position: int) -> None:
        table = self.rows[change.table]
        match change:
            case Insert(name, values):
                row = {
                    column: position if value is POSITION else value
                    for column, value in values.items()
                }
                key = tuple(row[column] for column in KEYS[name])
                assert key not in table, f"{name} has {key} already"
                table[key] = row
            case Update(name, key, values):
                self._matching(name, key).update(values)
            case Upsert(_, key, values):
                row = table.setdefault(tuple(key.values()), dict(key))
                row.update(values)
            case Merge():
                self._merge(change)

    def _matching(self, table: str, key: Values) -> dict[str, Any]:
        assert tuple(key) == KEYS[table]
        return self.rows[table].get(tuple(key.values()), {})

    def _merge(self, change: Merge) -> None:
        row = self._matching(change.table, change.key)
        if not row:
            row = {**change.key, **change.initial, change.column: "{}"}
            self.rows[change.table][tuple(change.key.values())] = row
        merged = merge_patch.apply(
            json.loads(row[change.column]),
            change.patch,
            null_sentinel=change.null_sentinel,
        )
        row.update({**change.values, change.column: canonical_json(merged)})
