"""A schema for each ledger of the tests, in one database of one PostgreSQL server."""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from outsiders import Rows, run_statement, use_schema, with_schema, without_schema
from postgres_server import FAST, start_server
from psycopg import sql
from psycopg.rows import dict_row

if TYPE_CHECKING:
    from collections.abc import Iterator

OVERRIDE = "LEASEHOLD_TEST_POSTGRES"
DROP_S_MAX = 20


class LedgerSchemas:
    """Names, asks and drops schemas over one connection of its own."""

    def __init__(self, url: str, origin: str) -> None:
        self._url = url
        self._connection = psycopg.connect(
            without_schema(url)[0],
            autocommit=True,
            row_factory=dict_row,
            prepare_threshold=None,  # The same words mean other tables each time.
            connect_timeout=10,
        )
        # A ledger that was left open would hold a drop up for ever.
        self._connection.execute(f"SET lock_timeout = '{DROP_S_MAX}s'")
        (row,) = self._connection.execute("SHOW server_version").fetchall()
        self.tested_on = f"PostgreSQL {row['server_version']} ({origin})"

    def name(self) -> str:
        """Return the url of a ledger in a schema that is not there yet."""
        return with_schema(self._url, f"t_{uuid.uuid4().hex}")

    def drop(self, url: str) -> None:
        """Drop the schema of a url with all that is in it."""
        _, name = without_schema(url)
        drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE")
        drop = drop.format(sql.Identifier(name))
        self._connection.execute(drop)

    def query(self, url: str, statement: str, values: tuple[object, ...]) -> Rows:
        """Run a statement in the schema of a url."""
        use_schema(self._connection, without_schema(url)[1])
        return run_statement(self._connection, statement, values)

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


@contextmanager
def ledger_schemas() -> Iterator[LedgerSchemas]:
    """Use the server that the environment names, or start one for the block.

    The url may have options of a ledger too: then all are tested with them.
    """
    given = os.environ.get(OVERRIDE)
    if given:
        yield from used(given, OVERRIDE)
    else:
        with start_server(**FAST) as server:
            yield from used(server.url, "bundled")


def used(url: str, origin: str) -> Iterator[LedgerSchemas]:
    """Give the schemas of a server, and give the connection back."""
    schemas = LedgerSchemas(url, origin)
    try:
        yield schemas
    finally:
        schemas.close()
