"""Choose where the demonstration keeps its ledger: nothing may be there before."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import leasehold
from leasehold.adapters.command_line import store_urls
from leasehold.adapters.postgres.urls import with_schema

_NAME: Final = "leasehold-demo"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demonstration keeps its ledger.

    Attributes:
        url: Of the ledger, with a password if there is one.
        own_schema: The schema that was made for it; None in a file, or where whoever
            called named the schema.
    """

    url: str
    own_schema: str | None = None

    @property
    def shown(self) -> str:
        """The url without the password."""
        return store_urls.shown(self.url)

    def how_to_remove(self) -> str | None:
        """Return the statement that leaves nothing of it in a database."""
        schema = self.own_schema
        return None if schema is None else f"DROP SCHEMA {schema} CASCADE;"


def choose(url: str | None) -> Place:
    """Return the place that a URL names: by default a new file in this folder.

    In a PostgreSQL database it is a new schema, unless the URL names one.

    Raises:
        InvalidInputError: The URL is none, or a file or ledger is there already.
    """
    if url is None:
        return _fresh_file()
    store_urls.check_url(url)
    if store_urls.is_postgres(url) and not store_urls.names_a_schema(url):
        return _fresh_schema(url)
    path = store_urls.sqlite_path(url)
    is_there = _holds_a_ledger(url) if path is None else path.exists()
    if is_there:
        shown = path or store_urls.shown(url)
        message = f"{shown} is there already: the demo wants a ledger of its own"
        raise leasehold.InvalidInputError(message)
    return Place(url)


def _fresh_file() -> Place:
    path = next(path for name in _names() if not (path := Path(f"{name}.db")).exists())
    return Place(f"sqlite:///{path}")


def _fresh_schema(url: str) -> Place:
    schemas = (name.replace("-", "_") for name in _names())
    schema, in_schema = next(
        (schema, in_schema)
        for schema in schemas
        if not _holds_a_ledger(in_schema := with_schema(url, schema))
    )
    return Place(in_schema, own_schema=schema)


def _names() -> Iterator[str]:
    yield _NAME
    for number in count(2):
        yield f"{_NAME}-{number}"


def _holds_a_ledger(url: str) -> bool:
    """Say whether there is one; a database that cannot be asked is told when opened."""
    try:
        leasehold.open(url, read_only=True).close()
    except leasehold.StoreError as error:
        return error.code == "schema_version"
    return True
