"""Applying row changes to the tables of any database."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, Protocol, Self

from leasehold.domain import merge_patch
from leasehold.domain.merge_patch import canonical_json
from leasehold.projections.changes import (
    POSITION,
    Change,
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
def insert_statement(table: str, columns: Columns, mark: str) -> str:
    """Return the statement that adds a row.

    Args:
        table: Its table.
        columns: Its columns.
        mark: What stands for a value in the driver's SQL.
    """
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
        f"{insert_statement(table, (*key, *columns), mark)} "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {assignments}"
    )


@cache
def _select_statement(table: str, key: Columns, column: str, mark: str) -> str:
    return f"SELECT {column} FROM {table} WHERE {_condition(key, mark)}"  # noqa: S608


def _condition(key: Columns, mark: str) -> str:
    return " AND ".join(f"{column} = {mark}" for column in key)


def apply(
    cursor: Cursor, changes: Iterable[Change], position: int | None, mark: str
) -> list[Insert]:
    """Apply the changes that the event at a position makes.

    Args:
        cursor: Of the transaction.
        changes: What the event projects.
        position: Where the event stands in the log; None where it has no place yet.
        mark: What stands for a value in the driver's SQL.

    Returns:
        The rows that wait for the position, if it is None.
    """
    waiting = []
    for change in changes:
        match change:
            case Insert(table, values):
                if position is None and POSITION in values.values():
                    waiting.append(change)
                else:
                    statement = insert_statement(table, tuple(values), mark)
                    cursor.execute(statement, _bound(values, position))
            case Update(table, key, values):
                statement = _update_statement(table, tuple(key), tuple(values), mark)
                cursor.execute(statement, (*values.values(), *key.values()))
            case Upsert(table, key, values):
                statement = _upsert_statement(table, tuple(key), tuple(values), mark)
                cursor.execute(statement, (*key.values(), *values.values()))
            case Merge():
                _merge(cursor, change, mark)
    return waiting


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
        statement = insert_statement(change.table, tuple(values), mark)
        cursor.execute(statement, tuple(values.values()))
    else:
        statement = _update_statement(change.table, key, tuple(values), mark)
        cursor.execute(statement, (*values.values(), *change.key.values()))
