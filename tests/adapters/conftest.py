"""A PostgreSQL server of these tests' own, which knows passwords and other roles."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postgres_server import Server


@pytest.fixture(scope="session")
def own_server() -> Iterator[Server]:
    """Give the server; it is started by the first test that asks."""
    from own_servers import start_own_server

    with start_own_server() as server:
        yield server


@pytest.fixture
def schema(own_server: Server) -> Iterator[str]:
    """Name a schema on it that is not there yet."""
    from own_servers import command

    name = f"t_{uuid.uuid4().hex}"
    yield name
    command(own_server.url, f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture
def own_url(own_server: Server, schema: str) -> str:
    """Name a ledger on it that is not there yet, as its owner sees it."""
    from own_servers import url_as

    return url_as(own_server, "postgres", schema=schema)
