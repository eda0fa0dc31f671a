"""A PostgreSQL server with roles, passwords and databases of several kinds."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from postgres_server import FAST, start_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postgres_server import Server

PASSWORD = "gehe1m"
WHO_GETS_IN = """
local all postgres trust
local all locked_out reject
local all clerk scram-sha-256
local all careless password
local all all trust
"""
ROLES = f"""
CREATE ROLE clerk LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE careless LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE locked_out LOGIN;
CREATE ROLE stranger LOGIN;
CREATE ROLE crowd LOGIN CONNECTION LIMIT 0;
CREATE ROLE group_only NOLOGIN;
CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0;
CREATE DATABASE closed;
REVOKE CONNECT ON DATABASE closed FROM PUBLIC;
GRANT CREATE ON DATABASE postgres TO clerk, careless;
"""


@contextmanager
def start_own_server() -> Iterator[Server]:
    """Run it for a block."""
    with start_server(**FAST) as server:
        (server.directory / "data" / "pg_hba.conf").write_text(WHO_GETS_IN)
        server.restart()
        command(server.url, ROLES)
        yield server


def command(url: str, statements: str) -> Any:
    """Run statements and return the rows of the last."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        cursor = None
        for statement in filter(str.strip, statements.split(";")):
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor and cursor.description else []


def url_as(
    server: Server, role: str, database: str = "postgres", **options: Any
) -> str:
    """Name a database as a role sees it, who may be given as `name:password`."""
    _, _, where = server.url.partition("?")
    more = "".join(f"&{name}={value}" for name, value in options.items())
    return f"postgresql://{role}@/{database}?{where}{more}"
