"""Where a measurement keeps its store: a fresh folder or database, gone afterwards."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

_SQLITE = b"SQLite format 3\0"
_TABLES = """
SELECT schemaname, tablename FROM pg_catalog.pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
"""
# The pages of tables and indexes, without the maps of what is free in them.
_BYTES = """
SELECT coalesce(sum(pg_relation_size(c.oid)), 0)::bigint
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n
    ON n.oid = c.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""


@contextlib.contextmanager
def fresh_place(folder: Path, server: str | None) -> Iterator[dict[str, str]]:
    """Give the part of an order that says where; with a server, in a new database."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        if server is None:
            yield {"folder": place}
            return
        name = f"leasehold_peers_{uuid.uuid4().hex}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
            )
            try:
                url = urlsplit(server)._replace(path=f"/{name}").geturl()
                yield {"folder": place, "url": url}
            finally:
                drop = "DROP DATABASE {} WITH (FORCE)"
                connection.execute(sql.SQL(drop).format(sql.Identifier(name)))


def weigh(place: dict[str, str]) -> tuple[int, int]:
    """Return how many rows and bytes there are, with indexes and without slack."""
    if "url" in place:
        return _weigh_database(place["url"])
    files = [path for path in Path(place["folder"]).rglob("*") if path.is_file()]
    weights = [_weigh_file(path) for path in files if _is_sqlite(path)]
    return sum(rows for rows, _ in weights), sum(size for _, size in weights)


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as opened:
        return opened.read(len(_SQLITE)) == _SQLITE


def _weigh_file(path: Path) -> tuple[int, int]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
            " AND name NOT LIKE 'sqlite|_%' ESCAPE '|'"
        ).fetchall()
        counts = [
            connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
            for (name,) in tables
        ]
    return sum(counts), path.stat().st_size


def _weigh_database(url: str) -> tuple[int, int]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM FULL")
        tables = [
            sql.Identifier(*names) for names in connection.execute(_TABLES).fetchall()
        ]
        counts = [
            _only(connection, sql.SQL("SELECT count(*) FROM {}").format(table))
            for table in tables
        ]
        return sum(counts), _only(connection, sql.SQL(_BYTES))


def _only(connection: psycopg.Connection, query: sql.Composable) -> int:
    row = connection.execute(query).fetchone()
    assert row
    return int(row[0])
