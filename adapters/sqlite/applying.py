"""Applying row changes to SQLite tables."""

import json
import sqlite3
from collections.abc import Iterable
from functools import cache

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


@cache
def _insert_statement(table: str, columns: Columns) -> str:
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608


@cache
def _update_statement(table: str, key: Columns, columns: Columns) -> str:
    assignments = ", ".join(f"{column} = ?" for column in columns)
    return f"UPDATE {table} SET {assignments} WHERE {_condition(key)}"  # noqa: S608


@cache
def _upsert_statement(table: str, key: Columns, columns: Columns) -> str:
    assignments = ", ".join(f"{column} = excluded.{column}" for column in columns)
    return (
        f"{_insert_statement(table, (*key, *columns))} "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {assignments}"
    )


@cache
def _select_statement(table: str, key: Columns, column: str) -> str:
    return f"SELECT {column} FROM {table} WHERE {_condition(key)}"  # noqa: S608


def _condition(key: Columns) -> str:
    return " AND ".join(f"{column} = ?" for column in key)


def apply(cursor: sqlite3.Cursor, changes: Iterable[Change], position: int) -> None:
    """Apply the changes that the event at a position makes."""
    for change in changes:
        match change:
            case Insert(table, values):
                statement = _insert_statement(table, tuple(values))
                cursor.execute(statement, _bound(values, position))
            case Update(table, key, values):
                statement = _update_statement(table, tuple(key), tuple(values))
                cursor.execute(statement, (*values.values(), *key.values()))
            case Upsert(table, key, values):
                statement = _upsert_statement(table, tuple(key), tuple(values))
                cursor.execute(statement, (*key.values(), *values.values()))
            case Merge():
                _merge(cursor, change)


def _bound(values: Values, position: int) -> list[Value]:
    return [position if value is POSITION else value for value in values.values()]


def _merge(cursor: sqlite3.Cursor, change: Merge) -> None:
    key = tuple(change.key)
    statement = _select_statement(change.table, key, change.column)
    row = cursor.execute(statement, tuple(change.key.values())).fetchone()
    document = {} if row is None else json.loads(row[0])
    merged = canonical_json(
        merge_patch.apply(document, change.patch, null_sentinel=change.null_sentinel)
    )
    values = {**change.values, change.column: merged}
    if row is None:
        values = {**change.key, **change.initial, **values}
        statement = _insert_statement(change.table, tuple(values))
        cursor.execute(statement, tuple(values.values()))
    else:
        statement = _update_statement(change.table, key, tuple(values))
        cursor.execute(statement, (*values.values(), *change.key.values()))
