"""What every test may use: a clock moved by hand, a ledger per store, plain SQL."""

from __future__ import annotations

import sqlite3
import uuid
from typing import TYPE_CHECKING, Any

import pytest

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Rows = list[dict[str, Any]]

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


@pytest.fixture
def file_path(tmp_path: Path) -> Path:
    """Name a ledger file that is not there yet."""
    return tmp_path / "ledger.db"


@pytest.fixture
def file_url(file_path: Path) -> str:
    """Name the same file as a url."""
    return f"sqlite:///{file_path}"


# A further store is one more parameter here and one more branch in `sql`.
@pytest.fixture(params=["file", "memory"])
def store_url(request: pytest.FixtureRequest, file_url: str) -> str:
    """Name each store in turn."""
    return file_url if request.param == "file" else "sqlite://"


@pytest.fixture
def ledger(store_url: str, clock: ManualClock) -> Iterator[leasehold.Ledger]:
    """Open the store in turn with the manual clock.

    No test here loses power, so the disk need not be waited for.
    """
    with leasehold.open(store_url, clock=clock, durability="normal") as opened:
        yield opened


def plain(value: object) -> object:
    """Give a driver's value in the form that every store can be compared in."""
    if isinstance(value, uuid.UUID):
        return str(value)
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


@pytest.fixture
def sql(
    ledger: leasehold.Ledger, store_url: str, file_path: Path
) -> Callable[..., Rows]:
    """Query the store behind `ledger` as an outsider would: `sql(query, *values)`.

    A file is read by a connection of its own; a private in-memory store has no
    outsiders, so the store's own hook answers. Placeholders are `?`.
    """

    def query(statement: str, *values: object) -> Rows:
        parameters = tuple(str(v) if isinstance(v, uuid.UUID) else v for v in values)
        if store_url == "sqlite://":
            rows = ledger._store.query_plain(statement, parameters)
        else:
            connection = sqlite3.connect(file_path)
            connection.row_factory = sqlite3.Row
            try:
                rows = [dict(r) for r in connection.execute(statement, parameters)]
            finally:
                connection.close()
        return [{name: plain(value) for name, value in row.items()} for row in rows]

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
