"""Plain SQL on a store, past the ledger, as any client of its database could run it.

What differs between the databases stands here, so that a test can be the same for all.
"""

from __future__ import annotations

import sqlite3
import uuid
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

Rows = list[dict[str, Any]]

SQLITE_FILE = "sqlite:///"
POSTGRES_URL = ("postgresql://", "postgres://")
OPTIONS_OF_A_LEDGER = ("schema", "pool_size", "transaction_pooling")

# Ways to change a stored event that only this database knows.
CHANGES_IN_SQLITE = {
    "update or replace": "UPDATE OR REPLACE stored_events SET originator_version = 1",
    "update or ignore": "UPDATE OR IGNORE stored_events SET topic = 'x'",
    "replace by position": (
        "INSERT OR REPLACE INTO stored_events"
        " (notification_id, originator_id, originator_version, topic, state)"
        " SELECT notification_id, 'x', 1, 'x', x'00' FROM stored_events LIMIT 1"
    ),
    "replace by version": (
        "REPLACE INTO stored_events"
        " (originator_id, originator_version, topic, state)"
        " SELECT originator_id, originator_version, 'x', x'00'"
        " FROM stored_events LIMIT 1"
    ),
    "upsert on any conflict": (
        "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
        " SELECT originator_id, originator_version, 'x', x'00'"
        " FROM stored_events WHERE true LIMIT 1"
        " ON CONFLICT DO UPDATE SET topic = 'x'"
    ),
    "replace by rowid": (
        "REPLACE INTO stored_events"
        " (rowid, originator_id, originator_version, topic, state)"
        " SELECT rowid, 'x', 1, 'x', x'00' FROM stored_events LIMIT 1"
    ),
    "replace by a position in text": (
        "INSERT OR REPLACE INTO stored_events"
        " (oid, originator_id, originator_version, topic, state)"
        " SELECT ' ' || _rowid_, 'x', 1, 'x', x'00' FROM stored_events LIMIT 1"
    ),
    "replace by a version in text": (
        "REPLACE INTO stored_events"
        " (originator_id, originator_version, topic, state)"
        " SELECT originator_id, '' || originator_version, 'x', x'00'"
        " FROM stored_events LIMIT 1"
    ),
    "replace all": (
        "REPLACE INTO stored_events SELECT notification_id, originator_id,"
        " originator_version, 'x', state FROM stored_events"
    ),
    "replace all by those before": (
        "REPLACE INTO stored_events SELECT notification_id + 1, originator_id,"
        " originator_version, topic, state FROM stored_events"
    ),
    "insert or ignore": (
        "INSERT OR IGNORE INTO stored_events SELECT * FROM stored_events LIMIT 1"
    ),
    "move by rowid": "UPDATE stored_events SET rowid = rowid + 1000",
}
CHANGES_IN_POSTGRES = {
    "truncate with others": "TRUNCATE exec_blob, stored_events",
    "delete in a query": (
        "WITH gone AS (DELETE FROM stored_events RETURNING 1) SELECT * FROM gone"
    ),
    "update in a query": (
        "WITH changed AS (UPDATE stored_events SET topic = 'x' RETURNING 1)"
        " SELECT * FROM changed"
    ),
    "delete in a block": "DO 'BEGIN DELETE FROM stored_events; END'",
    "truncate": "TRUNCATE stored_events",
    "truncate with what hangs on it": "TRUNCATE stored_events CASCADE",
    "truncate and begin anew": "TRUNCATE stored_events RESTART IDENTITY",
    "merge": (
        "MERGE INTO stored_events AS e USING (SELECT 1) AS one ON true"
        " WHEN MATCHED THEN UPDATE SET topic = 'x'"
    ),
}


def plain(value: object) -> object:
    """Give a driver's value in the form that every store can be compared in."""
    if isinstance(value, uuid.UUID):
        return str(value)
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


def plain_rows(rows: list[Any]) -> Rows:
    """Give a driver's rows as dicts of plain values."""
    return [{name: plain(value) for name, value in dict(row).items()} for row in rows]


class FileOutsider:
    """A connection to an SQLite file."""

    VIOLATIONS = sqlite3.IntegrityError
    REFUSALS = sqlite3.IntegrityError
    OTHER_CHANGES = CHANGES_IN_SQLITE
    TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"

    def __init__(self, url: str) -> None:
        path = url.removeprefix(SQLITE_FILE)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.row_factory = sqlite3.Row

    def execute(self, statement: str, *values: object) -> Rows:
        """Run one statement with `?` for each value and return its rows."""
        return plain_rows(self._connection.execute(statement, values).fetchall())

    def lift_the_guard(self) -> None:
        """Take the triggers off the log."""
        for row in self.execute(
            "SELECT name FROM sqlite_master"
            " WHERE type = 'trigger' AND tbl_name = 'stored_events'"
        ):
            self.execute(f"DROP TRIGGER {row['name']}")

    def hold(self, execution_id: uuid.UUID) -> None:
        """Begin a transaction that a writer to this execution has to wait for."""
        self.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        """End that transaction."""
        self.execute("ROLLBACK")

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


class PostgresOutsider:
    """A connection to a schema in a PostgreSQL database."""

    VIOLATIONS = psycopg.IntegrityError
    REFUSALS = (psycopg.IntegrityError, psycopg.errors.RaiseException)
    OTHER_CHANGES = CHANGES_IN_POSTGRES
    TABLES = (
        "SELECT table_name AS name FROM information_schema.tables"
        " WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
    )

    def __init__(self, url: str) -> None:
        server, schema = without_schema(url)
        self._connection = psycopg.connect(
            server, autocommit=True, row_factory=dict_row, prepare_threshold=None
        )
        use_schema(self._connection, schema)

    def execute(self, statement: str, *values: object) -> Rows:
        """Run one statement with `?` for each value and return its rows."""
        return run_statement(self._connection, statement, values)

    def lift_the_guard(self) -> None:
        """Take the triggers off the log."""
        self.execute("ALTER TABLE stored_events DISABLE TRIGGER USER")

    def hold(self, execution_id: uuid.UUID) -> None:
        """Begin a transaction that a writer to this execution has to wait for."""
        self.execute("BEGIN")
        self.execute(
            "SELECT 1 FROM exec_state WHERE execution_id = ? FOR UPDATE",
            str(execution_id),
        )

    def release(self) -> None:
        """End that transaction."""
        self.execute("ROLLBACK")

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


Outsider = FileOutsider | PostgresOutsider


def outsider_of(url: str) -> Outsider:
    """Connect to the store behind a url."""
    return PostgresOutsider(url) if url.startswith(POSTGRES_URL) else FileOutsider(url)


def with_schema(server_url: str, schema: str) -> str:
    """Name the ledger in a schema of a server's database."""
    return f"{server_url}{'&' if '?' in server_url else '?'}schema={schema}"


def without_schema(url: str) -> tuple[str, str]:
    """Return what libpq takes of a ledger's url, and the schema, if it names one."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema, _, _ = (options.pop(name, "") for name in OPTIONS_OF_A_LEDGER)
    return urlunsplit(parts._replace(query=urlencode(options))), schema


def use_schema(connection: psycopg.Connection[Any], schema: str) -> None:
    """Let names without a schema mean those in this one."""
    path = sql.SQL("SET search_path TO {}").format(sql.Identifier(schema))
    connection.execute(path)


def run_statement(
    connection: psycopg.Connection[Any], statement: str, values: tuple[object, ...]
) -> Rows:
    """Run a statement that has `?` for each value."""
    query = statement.replace("%", "%%").replace("?", "%s") if values else statement
    cursor = connection.execute(query.encode(), values or None)
    return plain_rows(cursor.fetchall()) if cursor.description else []
