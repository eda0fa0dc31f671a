"""Applying row changes to the tables of any database."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, Protocol, Self, assert_never

from leasehold.domain import merge_patch
from leasehold.domain.merge_patch import canonical_json
from leasehold.projections.changes import (
    POSITION,
    Change,
    Delete,
    Insert,
    Merge,
    Update,
    Upsert,
    Value,
    Values,
)

Columns = tuple[str, ...]

QUESTION_MARK: Final = "?"
PERCENT_S: Final = "%s"


class Cursor(Protocol):
    """What a driver's cursor offers."""

    def execute(self, statement: str, parameters: Sequence[Any], /) -> Self:
        """Run a statement."""
        ...

    def fetchone(self) -> Sequence[Any] | None:
        """Return the next row."""
        ...


@cache
def _insert_statement(table: str, columns: Columns, mark: str) -> str:
    places = ", ".join([mark] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608


@cache
def _update_statement(table: str, key: Columns, columns: Columns, mark: str) -> str:
    assignments = ", ".join(f"{column} = {mark}" for column in columns)
    return f"UPDATE {table} SET {assignments} WHERE {_condition(key, mark)}"  # noqa: S608


@cache
def _upsert_statement(table: str, key: Columns, columns: Columns, mark: str) -> str:
    assignments = ", ".join(f"{column} = excluded.{column}" for column in columns)
    return (
        f"{_insert_statement(table, (*key, *columns), mark)} "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {assignments}"
    )


@cache
def _select_statement(table: str, key: Columns, column: str, mark: str) -> str:
    return f"SELECT {column} FROM {table} WHERE {_condition(key, mark)}"  # noqa: S608


def _condition(key: Columns, mark: str) -> str:
    return " AND ".join(f"{column} = {mark}" for column in key)


def written(
    change: Insert | Update | Upsert | Delete, position: int | None, mark: str
) -> tuple[str, Sequence[Value]]:
    """Return the statement that makes a change, and the values in the order of marks.

    Args:
        change: What the event projects; a Merge has to read its row first.
        position: Where the event stands in the log.
        mark: What stands for a value in the driver's SQL.
    """
    match change:
        case Insert(table, values):
            statement = _insert_statement(table, tuple(values), mark)
            return statement, _bound(values, position)
        case Update(table, key, values):
            statement = _update_statement(table, tuple(key), tuple(values), mark)
            return statement, (*values.values(), *key.values())
        case Upsert(table, key, values):
            statement = _upsert_statement(table, tuple(key), tuple(values), mark)
            return statement, (*key.values(), *values.values())
        case Delete(table, key):
            # SQLite lets NULL into a key, from outside.
            known = {name: value for name, value in key.items() if value is not None}
            parts = [f"{name} IS NULL" for name in key if name not in known]
            parts += [f"{name} = {mark}" for name in known]
            statement = f"DELETE FROM {table} WHERE {' AND '.join(parts)}"  # noqa: S608
            return statement, tuple(known.values())
        case _:
            assert_never(change)


def apply(
    cursor: Cursor, changes: Iterable[Change], position: int | None, mark: str
) -> None:
    """Apply the changes that the event at a position makes.

    Args:
        cursor: Of the transaction.
        changes: What the event projects.
        position: Where the event stands in the log; None for changes that do not tell.
        mark: What stands for a value in the driver's SQL.
    """
    for change in changes:
        if isinstance(change, Merge):
            _merge(cursor, change, mark)
        else:
            cursor.execute(*written(change, position, mark))


def _bound(values: Values, position: int | None) -> list[Value]:
    return [position if value is POSITION else value for value in values.values()]


def _merge(cursor: Cursor, change: Merge, mark: str) -> None:
    key = tuple(change.key)
    statement = _select_statement(change.table, key, change.column, mark)
    row = cursor.execute(statement, tuple(change.key.values())).fetchone()
    document = {} if row is None else json.loads(row[0])
    merged = canonical_json(
        merge_patch.apply(document, change.patch, null_sentinel=change.null_sentinel)
    )
    values = {**change.values, change.column: merged}
    if row is None:
        values = {**change.key, **change.initial, **values}
        statement = _insert_statement(change.table, tuple(values), mark)
        cursor.execute(statement, tuple(values.values()))
    else:
        statement = _update_statement(change.table, key, tuple(values), mark)
        cursor.execute(statement, (*values.values(), *change.key.values()))
