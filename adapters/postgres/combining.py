"""Row changes that wait, to be made by one statement with the events.

Statements are what a call on PostgreSQL costs: each is a message that the server wakes
up for. So the last changes of a transaction go along with its events.
"""

from typing import Any, Final

from leasehold.adapters.applying import PERCENT_S, written
from leasehold.projections.changes import Delete, Insert, Update, Upsert, Value
from leasehold.projections.registry import KEYS

COMBINED_MAX: Final = 12
"""How many changes one statement makes; more are made one by one."""

Single = Insert | Update | Upsert | Delete
"""A change that is made without reading a row first."""


class PendingChanges:
    """Changes of one transaction that were not sent yet, one a row."""

    def __init__(self) -> None:
        """Begin with none."""
        self._by_row: dict[tuple[Any, ...], Single] = {}

    def add(self, change: Single) -> bool:
        """Take a change, if it can be made together with those that wait.

        Two updates of a row become one. Any other second change of a row has to come
        after the first.
        """
        row = _row_of(change)
        earlier = self._by_row.get(row)
        if earlier is None:
            if len(self._by_row) == COMBINED_MAX:
                return False
        elif isinstance(earlier, Update) and isinstance(change, Update):
            values = {**earlier.values, **change.values}
            change = Update(change.table, change.key, values)
        else:
            return False
        self._by_row[row] = change
        return True

    def take(self) -> list[Single]:
        """Return the changes, and begin anew."""
        changes = list(self._by_row.values())
        self._by_row = {}
        return changes


def _row_of(change: Single) -> tuple[Any, ...]:
    given = change.values if isinstance(change, Insert) else change.key
    return change.table, *(given[column] for column in KEYS[change.table])


def as_expressions(changes: list[Single]) -> tuple[list[str], list[Value]]:
    """Return the changes as common table expressions, and the values of all."""
    expressions: list[str] = []
    values: list[Value] = []
    for number, change in enumerate(changes):
        statement, given = written(change, None, PERCENT_S)
        expressions.append(f"change_{number} AS ({statement})")
        values += given
    return expressions, values
