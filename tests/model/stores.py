"""A store of each kind, with a way to read it as an outsider does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outsiders import outsider_of

import leasehold
from leasehold import BackendTag

if TYPE_CHECKING:
    from ledger_schemas import LedgerSchemas

Clock = Callable[[], int]
Query = Callable[[str], Iterable[Any]]


@dataclass(frozen=True)
class OpenStore:
    """A ledger on a store of its own; what its handles are tagged as; its rows."""

    ledger: leasehold.Ledger
    backend: BackendTag
    query: Query


NewStore = Callable[[Clock], AbstractContextManager[OpenStore]]


def rows(found: Iterable[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Give rows by place; a query must give each of its columns a name of its own."""
    return [tuple(row.values()) for row in found]


@contextmanager
def outside(url: str) -> Iterator[Query]:
    """Read a store past the ledger: a call that takes a query and gives its rows."""
    with closing(outsider_of(url)) as connected:
        yield lambda statement: rows(connected.execute(statement))


@contextmanager
def in_memory(clock: Clock) -> Iterator[OpenStore]:
    """Open a private store, which is read through its own hook."""
    with leasehold.open("sqlite://", clock=clock) as ledger:
        store: Any = ledger._store
        yield OpenStore(
            ledger,
            BackendTag.SQLITE,
            lambda statement: rows(store.query_plain(statement, ())),
        )


@contextmanager
def in_a_file(clock: Clock) -> Iterator[OpenStore]:
    """Open a file in a folder that goes with it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        url = f"sqlite:///{folder}/ledger.db"
        ledger = leasehold.open(url, clock=clock, durability="normal")
        with ledger, outside(url) as query:
            yield OpenStore(ledger, BackendTag.SQLITE, query)


@contextmanager
def in_a_schema(schemas: LedgerSchemas, clock: Clock) -> Iterator[OpenStore]:
    """Open a schema of a PostgreSQL database that goes with it."""
    url = schemas.name()
    try:
        ledger = leasehold.open(url, clock=clock, durability="normal")
        with ledger, outside(url) as query:
            yield OpenStore(ledger, BackendTag.POSTGRES, query)
    finally:
        schemas.drop(url)
