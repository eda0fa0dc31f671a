"""Many processes open a store that is not there yet; two stores in one database."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest
from outsiders import without_schema
from processes import run_together
from stores import outside

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ledger_schemas import LedgerSchemas

PROGRAM = Path(__file__).with_name("opening_process.py")
PROCESSES = 10
TIMEOUT_S = 60


@contextmanager
def new_database(schemas: LedgerSchemas) -> Iterator[str]:
    """Name a database with nothing in it, without a schema of our own."""
    asked, name = schemas.name(), f"t_{uuid.uuid4().hex}"
    schemas.query(asked, f"CREATE DATABASE {name}", ())
    url = urlsplit(without_schema(asked)[0])
    try:
        yield urlunsplit(url._replace(path=f"/{name}"))
    finally:
        schemas.query(asked, f"DROP DATABASE {name}", ())


@pytest.fixture(params=["file", "schema", "database"])
def empty_url(
    request: pytest.FixtureRequest, new_store: Callable[..., str]
) -> Iterator[str]:
    """Name a store of each kind that is not there yet."""
    if request.param == "database":
        with new_database(request.getfixturevalue("postgres")) as url:
            yield url
    else:
        yield new_store("postgres" if request.param == "schema" else request.param)


def test_ten_processes_may_open_a_store_that_is_not_there_yet(empty_url: str) -> None:
    created = run_together(PROGRAM, [[empty_url]] * PROCESSES, timeout_s=TIMEOUT_S)
    with leasehold.open(empty_url, read_only=True) as ledger:
        ids = [str(row.execution_id) for row in ledger.read.executions()]
        assert ids == sorted(created)
        assert len({*ids}) == PROCESSES
        assert len(ledger.read.events()) == PROCESSES


def test_two_ledgers_in_one_database_do_not_see_each_other(
    new_store: Callable[..., str],
) -> None:
    urls = [new_store("postgres"), new_store("postgres")]
    spec = {"execution_id": uuid.uuid4(), "idempotency_key": "one"}
    with leasehold.open(urls[0]) as here, leasehold.open(urls[1]) as there:
        here.create_execution(**spec, priority=1)
        assert there.read.execution(spec["execution_id"]) is None
        assert there.read.lanes() == there.read.events() == []
        assert there.claim(worker_id="ada") is None
        assert here.create_execution(**spec, priority=1) == spec["execution_id"]
        assert there.create_execution(**spec, priority=2) == spec["execution_id"]
        handle = here.claim(worker_id="ada")
        assert handle is not None
        with pytest.raises(leasehold.NotFoundError):
            there.renew(handle)
        here.complete(handle)
        counts = there.read.counts()
        assert (counts["pending"], counts["completed"]) == (1, 0)
        assert there.read.settled_position() == len(there.read.events()) == 1


def test_a_writer_of_one_ledger_holds_nobody_up_in_another(
    new_store: Callable[..., str],
) -> None:
    urls = [new_store("postgres"), new_store("postgres")]
    spec = {"execution_id": uuid.uuid4(), "idempotency_key": "one"}
    with leasehold.open(urls[0]) as here, leasehold.open(urls[1]) as there:
        here.create_execution(**spec)
        with outside(urls[0]) as query:
            query("BEGIN")
            query("SELECT execution_id FROM exec_state FOR UPDATE")
            query("SELECT leasehold_take_floor()")
            query("LOCK TABLE stored_events, leasehold_meta IN ACCESS EXCLUSIVE MODE")
            there.create_execution(**spec)
            handle = there.claim(worker_id="ada")
            assert handle is not None
            there.complete(handle)
            events = there.read.events()
            query("ROLLBACK")
        assert len(events) == 5
        assert len(here.read.events()) == 1
