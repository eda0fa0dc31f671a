"""The log of events of a PostgreSQL store by itself: writers and readers in plain SQL.

A transaction here goes step by step, so that a test can put the steps of several in
any order, also into the midst of another's statement.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import psycopg
from outsiders import use_schema, without_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GATE = 8_391_027
"""The number of the advisory lock at which statements are held up."""

WAIT_S_MAX = 30.0
PAUSE_S = 0.001
GATE_PASSED = f"pg_advisory_xact_lock_shared({GATE})"
BOUND = "leasehold_settled_position()"
ASKED_ONCE = f"(SELECT {BOUND})"
SETTLED = f"SELECT {BOUND}"
READ = (
    "SELECT notification_id FROM stored_events WHERE notification_id > {after}"
    " AND notification_id <= {bound} ORDER BY notification_id"
)
INSERT = (
    "INSERT INTO stored_events (notification_id, originator_id, originator_version,"
    " topic, state) SELECT position, gen_random_uuid(), 1, 'x', ''"
    " FROM unnest(%s::bigint[]) AS position"
)

# What to turn off so that the log is read so.
SCANS = {
    "index": ("enable_seqscan", "enable_bitmapscan"),
    "sequential": ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"),
}

Connection = psycopg.Connection[Any]


class Writer:
    """One connection, in one transaction after another."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.run = connection.execute

    def begin(self) -> Writer:
        """Begin and take a floor."""
        self.run("BEGIN")
        self.run("SELECT leasehold_take_floor()")
        return self

    def draw(self, count: int = 1) -> list[int]:
        """Draw positions and write nothing."""
        rows = self.run(
            "SELECT nextval('stored_events_notification_id_seq')"
            " FROM generate_series(1, %s)",
            [count],
        )
        return [position for (position,) in rows]

    def insert(self, positions: list[int]) -> list[int]:
        """Write events at positions that were drawn before."""
        self.run(INSERT, [positions])
        return positions

    def append(self, count: int = 1) -> list[int]:
        """Draw positions and write events there."""
        return self.insert(self.draw(count))

    def commit(self) -> None:
        """End the transaction."""
        self.run("COMMIT")

    def rollback(self) -> None:
        """Give the transaction up."""
        self.run("ROLLBACK")


class EventLog:
    """The log in a schema, with as many connections to it as are asked for."""

    def __init__(self, url: str) -> None:
        self.server_url, self.schema = without_schema(url)
        self._connections: list[Connection] = []
        self._threads = ThreadPoolExecutor(16)
        self._watcher = self.connect()
        self._watcher.execute(f"CREATE SCHEMA IF NOT EXISTS {self.schema}")
        folder = files("leasehold.adapters.postgres") / "schema"
        self._watcher.execute((folder / "kept.sql").read_bytes())

    def connect(self, *, use: bool = True) -> Connection:
        """Connect; where `use`, names without a schema mean those of the log."""
        connection = psycopg.connect(self.server_url, autocommit=True)
        self._connections.append(connection)
        if use:
            use_schema(connection, self.schema)
        return connection

    def writer(self) -> Writer:
        """Connect somebody who writes."""
        return Writer(self.connect())

    def write(self, count: int = 1) -> list[int]:
        """Commit events in a transaction of their own."""
        writer = Writer(self._watcher).begin()
        positions = writer.append(count)
        writer.commit()
        return positions

    def settled(self) -> int:
        """Ask for the settled position in a statement of its own."""
        return value(self._watcher, SETTLED)

    def stand_at(self, position: int) -> None:
        """Let positions be drawn from behind this one."""
        name = "stored_events_notification_id_seq"
        self._watcher.execute(f"SELECT setval('{name}', {position})")

    @contextmanager
    def held_up(
        self,
        connection: Connection,
        ask: str | Callable[[], Any],
        *,
        block: str = f"SELECT pg_advisory_xact_lock({GATE})",
    ) -> Iterator[Future[Any]]:
        """Run a statement in the background that waits for the lock of `block`.

        The block of the caller runs while it waits; then it goes on to its end.
        """
        gate = self.connect()
        gate.execute("BEGIN")
        gate.execute(block)

        def run() -> Any:
            return connection.execute(ask).fetchall() if isinstance(ask, str) else ask()

        running = self._threads.submit(run)
        try:
            self._wait_until_blocked(connection, gate, running)
            yield running
        finally:
            gate.close()
        running.result(WAIT_S_MAX)

    def close(self) -> None:
        """Close all connections."""
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()

    def _wait_until_blocked(
        self, blocked: Connection, by: Connection, running: Future[Any]
    ) -> None:
        asked = "SELECT %s = ANY (pg_blocking_pids(%s))"
        pids = [by.info.backend_pid, blocked.info.backend_pid]
        begun = time.monotonic()
        while not value(self._watcher, asked, pids):
            assert not running.done(), "the statement does not wait"
            assert time.monotonic() < begun + WAIT_S_MAX, "it waits for another"
            time.sleep(PAUSE_S)


def read(connection: Connection, bound: str = BOUND, after: int = 0) -> list[int]:
    """Read what is settled, in a statement of its own."""
    rows = connection.execute(READ.format(after=after, bound=bound))
    return [position for (position,) in rows]


def value(connection: Connection, query: str, values: Any = None) -> Any:
    """Return the one value that a query gives."""
    ((found,),) = connection.execute(query, values).fetchall()
    return found
