"""What every test may use: a clock moved by hand, a ledger per store, plain SQL."""

from __future__ import annotations

import sys
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import leasehold

SERVERS = str(Path(__file__).parent / "servers")
if SERVERS not in sys.path:
    sys.path.insert(0, SERVERS)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ledger_schemas import LedgerSchemas
    from outsiders import Outsider, Rows

POSTGRES_URL = ("postgresql://", "postgres://")
START_MS = 1_700_000_000_000
PROJECTED_TABLES = ("exec_core", "attempt", "summary", "lease_event", "stream_frame")
# The columns of the contract: a store may keep more, which are its own affair.
EXEC_CORE_COLUMNS = """execution_id, namespace, lane_id, attempt_index, lifecycle_phase,
    ownership_state, eligibility_state, public_state, attempt_state, priority,
    created_at_ms, started_at_ms, eligible_at_ms, deadline_at_ms, terminal_at_ms,
    lease_reclaim_count, payload, result, tags, raw_fields"""
ATTEMPT_COLUMNS = """execution_id, attempt_index, worker_id, worker_instance_id,
    lease_id, lease_epoch, lease_expires_at_ms, started_at_ms, terminal_at_ms, outcome,
    failure_class, failure_message, failure_detail"""


class ManualClock:
    """A clock that stands still until a test moves it, in ms."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, ms: int) -> int:
        """Move by so many ms (backwards when negative) and return now."""
        self.now_ms += ms
        return self.now_ms

    def set(self, now_ms: int) -> int:
        """Move to a time and return it."""
        self.now_ms = now_ms
        return self.now_ms


@pytest.fixture
def clock() -> ManualClock:
    """Give a clock at `START_MS` that only the test moves."""
    return ManualClock()


TESTED_ON = pytest.StashKey[str]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process ends long after."""
    items.sort(key=lambda item: item.path.parent.name != "model")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a process that ran a part of the tests has to say."""
    told = getattr(node, "workeroutput", {}).get("tested_on")
    if told:
        node.config.stash[TESTED_ON] = told


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which PostgreSQL the tests ran on, and how often which fault came."""
    for status in ("passed", "failed"):
        for report in terminalreporter.getreports(status):
            for name, line in report.user_properties:
                if name == "faults":
                    terminalreporter.write_line(line)
    if TESTED_ON in config.stash:
        terminalreporter.write_line(config.stash[TESTED_ON])


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[LedgerSchemas]:
    """Give the PostgreSQL of this run; it is started by the first test that asks."""
    from ledger_schemas import ledger_schemas

    with ledger_schemas() as schemas:
        pytestconfig.stash[TESTED_ON] = schemas.tested_on
        # Where several processes run the tests, this one is not the one that reports.
        getattr(pytestconfig, "workeroutput", {})["tested_on"] = schemas.tested_on
        yield schemas


@pytest.fixture
def new_store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., str]]:
    """Name a store that is not there yet: `new_store("postgres")`."""
    schemas: list[tuple[LedgerSchemas, str]] = []

    def make(kind: str, name: str = "ledger") -> str:
        if kind == "postgres":
            server = request.getfixturevalue("postgres")
            schemas.append((server, server.name()))
            return schemas[-1][1]
        return "sqlite://" if kind == "memory" else f"sqlite:///{tmp_path / name}.db"

    yield make
    for server, url in schemas:
        server.drop(url)


@pytest.fixture
def file_path(tmp_path: Path) -> Path:
    """Name a ledger file that is not there yet."""
    return tmp_path / "ledger.db"


@pytest.fixture
def file_url(file_path: Path) -> str:
    """Name the same file as a url."""
    return f"sqlite:///{file_path}"


# A further store is one more parameter in these and one more branch in `new_store`.
@pytest.fixture(params=["file", "memory", "postgres"])
def store_url(request: pytest.FixtureRequest, new_store: Callable[..., str]) -> str:
    """Name each store in turn."""
    return new_store(request.param)


@pytest.fixture(params=["file", "postgres"])
def shared_url(request: pytest.FixtureRequest, new_store: Callable[..., str]) -> str:
    """Name each store in turn that can be opened many times, also elsewhere."""
    return new_store(request.param)


@pytest.fixture(params=["file", "memory"])
def sqlite_url(request: pytest.FixtureRequest, new_store: Callable[..., str]) -> str:
    """Name each store in SQLite in turn."""
    return new_store(request.param)


@pytest.fixture
def another_url(shared_url: str, new_store: Callable[..., str]) -> str:
    """Name a second store of the kind of `shared_url`."""
    kind = "postgres" if shared_url.startswith(POSTGRES_URL) else "file"
    return new_store(kind, "another")


@pytest.fixture
def shown(shared_url: str) -> str:
    """Say what an error names the store of `shared_url` by."""
    return shared_url.rpartition("schema=" if "schema=" in shared_url else "/")[2]


@pytest.fixture
def outsider(shared_url: str) -> Iterator[Outsider]:
    """Connect to the store of `shared_url` past the ledger, as anybody could."""
    from outsiders import outsider_of

    with closing(outsider_of(shared_url)) as connected:
        yield connected


@pytest.fixture
def backend(store_url: str) -> leasehold.BackendTag:
    """Say what handles of the store in turn are tagged as."""
    if store_url.startswith(POSTGRES_URL):
        return leasehold.BackendTag.POSTGRES
    return leasehold.BackendTag.SQLITE


@pytest.fixture
def store_now_ms(store_url: str, request: pytest.FixtureRequest) -> Callable[[], int]:
    """Read the clock that counts where a ledger is given none."""

    def read() -> int:
        if not store_url.startswith(POSTGRES_URL):
            return time.time_ns() // 1_000_000
        server = request.getfixturevalue("postgres")
        asked = (
            "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS n"
        )
        return int(server.query(store_url, asked, ())[0]["n"])

    return read


@pytest.fixture
def ledger(store_url: str, clock: ManualClock) -> Iterator[leasehold.Ledger]:
    """Open the store in turn with the manual clock.

    No test here loses power, so the disk need not be waited for.
    """
    with leasehold.open(store_url, clock=clock, durability="normal") as opened:
        yield opened


@pytest.fixture
def sql(
    ledger: leasehold.Ledger, store_url: str, request: pytest.FixtureRequest
) -> Callable[..., Rows]:
    """Query the store behind `ledger` as an outsider would: `sql(query, *values)`.

    A file is read by a connection of its own; a private in-memory store has no
    outsiders, so the store's own hook answers. Placeholders are `?`.
    """
    from outsiders import outsider_of, plain_rows

    def query(statement: str, *values: object) -> Rows:
        parameters = tuple(str(v) if isinstance(v, uuid.UUID) else v for v in values)
        if store_url == "sqlite://":
            return plain_rows(ledger._store.query_plain(statement, parameters))
        if store_url.startswith(POSTGRES_URL):
            server = request.getfixturevalue("postgres")
            return server.query(store_url, statement, parameters)
        with closing(outsider_of(store_url)) as connected:
            return connected.execute(statement, *parameters)

    return query


@pytest.fixture
def core(sql: Callable[..., Rows]) -> Callable[[uuid.UUID], dict[str, Any]]:
    """Read the row of exec_core of an execution: the columns of the contract."""

    def read(execution_id: uuid.UUID) -> dict[str, Any]:
        (row,) = sql(
            f"SELECT {EXEC_CORE_COLUMNS} FROM exec_core WHERE execution_id = ?",
            execution_id,
        )
        return row

    return read


@pytest.fixture
def attempt_row(sql: Callable[..., Rows]) -> Callable[..., dict[str, Any]]:
    """Read the row of one attempt: the columns of the contract."""

    def read(execution_id: uuid.UUID, attempt_index: int = 0) -> dict[str, Any]:
        (row,) = sql(
            f"SELECT {ATTEMPT_COLUMNS} FROM attempt"
            " WHERE execution_id = ? AND attempt_index = ?",
            execution_id,
            attempt_index,
        )
        return row

    return read


@pytest.fixture
def lease_rows(sql: Callable[..., Rows]) -> Callable[[uuid.UUID], Rows]:
    """Read the lease_event rows of an execution, in log order."""

    def read(execution_id: uuid.UUID) -> Rows:
        return sql(
            "SELECT * FROM lease_event WHERE execution_id = ? ORDER BY event_id",
            execution_id,
        )

    return read


@pytest.fixture
def lease_story(
    lease_rows: Callable[[uuid.UUID], Rows],
) -> Callable[[uuid.UUID], list[tuple[str, str]]]:
    """Read (event_type, cause) of an execution's lease events, in log order."""

    def read(execution_id: uuid.UUID) -> list[tuple[str, str]]:
        return [(row["event_type"], row["cause"]) for row in lease_rows(execution_id)]

    return read


@pytest.fixture
def topics(ledger: leasehold.Ledger) -> Callable[[uuid.UUID], list[str]]:
    """Read the topics of an execution's history, in log order."""

    def read(execution_id: uuid.UUID) -> list[str]:
        return [event.topic for event in ledger.read.history(execution_id)]

    return read


@pytest.fixture
def event_count(sql: Callable[..., Rows]) -> Callable[[], int]:
    """Count the events in the log."""

    def read() -> int:
        return int(sql("SELECT count(*) AS n FROM stored_events")[0]["n"])

    return read


@pytest.fixture
def snapshot(sql: Callable[..., Rows]) -> Callable[[], dict[str, Rows]]:
    """Read every projected table and the log, whole, to compare before with after."""

    def read() -> dict[str, Rows]:
        tables = {
            table: sorted(sql(f"SELECT * FROM {table}"), key=repr)
            for table in PROJECTED_TABLES
        }
        log = sql("SELECT * FROM stored_events ORDER BY notification_id")
        return {**tables, "stored_events": log}

    return read


@pytest.fixture
def start(ledger: leasehold.Ledger) -> Callable[..., leasehold.Handle]:
    """Create an execution and claim it: `start(worker=…, ttl=…, **creation)`."""

    def create_and_claim(
        worker: str = "worker-1", ttl: int = 30_000, **creation: Any
    ) -> leasehold.Handle:
        execution_id = ledger.create_execution(**creation)
        handle = ledger.claim(
            creation.get("lane_id", "default"),
            capabilities=creation.get("capabilities", ()),
            worker_id=worker,
            lease_ttl_ms=ttl,
        )
        assert handle is not None
        assert handle.execution_id == execution_id
        return handle

    return create_and_claim


@pytest.fixture
def mismatched() -> Callable[[leasehold.Handle], leasehold.Handle]:
    """Give a handle of the right attempt with another lease id and epoch 999."""

    def make(handle: leasehold.Handle) -> leasehold.Handle:
        return handle.replace(lease_id=uuid.uuid4(), lease_epoch=999)

    return make


@pytest.fixture
def call() -> Callable[[leasehold.Ledger, str, leasehold.Handle], object]:
    """Make one of the five worker calls, by name."""

    def make(
        ledger: leasehold.Ledger, operation: str, handle: leasehold.Handle
    ) -> object:
        calls: dict[str, Callable[[], object]] = {
            "renew": lambda: ledger.renew(handle),
            "progress": lambda: ledger.progress(handle, 50, "half"),
            "append_frame": lambda: ledger.append_frame(
                handle, leasehold.Frame(b"line")
            ),
            "complete": lambda: ledger.complete(handle, b"done"),
            "fail": lambda: ledger.fail(
                handle, "broke", leasehold.FailureClass.PERMANENT
            ),
        }
        return calls[operation]()

    return make
