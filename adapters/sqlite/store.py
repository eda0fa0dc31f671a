"""The store in an SQLite database."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final

from eventsourcing.persistence import (
    ConnectionPoolClosedError,
    ConnectionUnavailableError,
    StoredEvent,
)
from eventsourcing.sqlite import SQLiteConnection, SQLiteCursor

from leasehold.adapters.queries import named_queries
from leasehold.adapters.sqlite import schema
from leasehold.adapters.sqlite.applying import apply
from leasehold.adapters.sqlite.connecting import (
    BUSY_TIMEOUT_S,
    DRIVER_ERRORS,
    Datastore,
    Target,
    driver_of,
    store_error,
)
from leasehold.adapters.sqlite.recorder import Recorder
from leasehold.adapters.store import Append, Clock, Row
from leasehold.domain import limits
from leasehold.domain.errors import StoreError
from leasehold.domain.handles import BackendTag
from leasehold.domain.records import RecordedEvent
from leasehold.projections.changes import Place
from leasehold.projections.registry import KEYS, PROJECTION_VERSION, project

_PACKAGE: Final = __package__
_KEEP_BEST_EFFORT: Final = (
    "CREATE TEMP TABLE kept_frame AS "
    "SELECT * FROM main.stream_frame WHERE mode = 'best_effort'"
)
_RESTORE_BEST_EFFORT: Final = "INSERT INTO stream_frame SELECT * FROM temp.kept_frame"
_LOG_SIZE: Final = (
    "SELECT count(*), coalesce(max(notification_id), 0) FROM stored_events"
)
_RESTORE_EVENT: Final = """
INSERT INTO stored_events
    (notification_id, originator_id, originator_version, topic, state)
VALUES (?, ?, ?, ?, ?)
"""


def host_clock() -> int:
    """Return the host's time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class SQLiteSession:
    """One transaction on one connection."""

    __slots__ = ("_clock", "_queries", "_recorder", "cursor")

    def __init__(
        self, driver: sqlite3.Connection, recorder: Recorder, clock: Clock
    ) -> None:
        """Begin on a connection whose transaction is open."""
        self.cursor = driver.cursor()
        self._recorder = recorder
        self._clock = clock
        self._queries = named_queries(_PACKAGE)

    def now_ms(self) -> int:
        """Return now; the transaction holds its lock by then."""
        return limits.time_ms("the reading of the clock", self._clock())

    def fetch_all(self, query: str, **parameters: object) -> list[Row]:
        """Run a named query and return its rows."""
        return self.cursor.execute(self._queries[query], parameters).fetchall()

    def fetch_one(self, query: str, **parameters: object) -> Row | None:
        """Run a named query and return its first row."""
        rows = self.cursor.execute(self._queries[query], parameters).fetchall()
        return rows[0] if rows else None

    def execute(self, statement: str, **parameters: object) -> int:
        """Run a named statement; return how many rows it touched."""
        return self.cursor.execute(self._queries[statement], parameters).rowcount

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Return the rows of a projected table in the order of its key."""
        order = ", ".join(KEYS[table])
        cursor = self.cursor.execute(f"SELECT * FROM {table} ORDER BY {order}")  # noqa: S608
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor)

    def empty_projections(self) -> None:
        """Make the projected tables anew; best-effort frames are carried over."""
        self.cursor.execute(_KEEP_BEST_EFFORT)
        schema.recreate_projected(self.cursor)
        self.cursor.execute(_RESTORE_BEST_EFFORT)
        self.cursor.execute("DROP TABLE temp.kept_frame")
        schema.set_projection_version(self.cursor, PROJECTION_VERSION)

    def restore(self, recorded: RecordedEvent, state: bytes) -> None:
        """Append an event at its own position, as it was stored elsewhere."""
        values = (
            recorded.position,
            recorded.stream_id,
            recorded.version,
            recorded.topic,
            state,
        )
        self.cursor.execute(_RESTORE_EVENT, values)

    def project(self, recorded: RecordedEvent) -> None:
        """Apply what a stored event projects."""
        place = Place(recorded.stream_id, recorded.version, recorded.sha256)
        apply(self.cursor, project(recorded.event, place), recorded.position)

    def append(self, appends: Sequence[Append]) -> None:
        """Append events and apply what they project."""
        recorder_cursor = SQLiteCursor(self.cursor)
        stored = [
            StoredEvent(
                item.place.stream_id, item.place.version, item.event.TOPIC, item.state
            )
            for item in appends
        ]
        positions = self._recorder._insert_events(recorder_cursor, stored)  # noqa: SLF001
        for item, position in zip(appends, positions or (), strict=True):
            apply(self.cursor, project(item.event, item.place), position)


class SQLiteStore:
    """A database that a ledger lives in, with a pool of connections to it.

    Writes take the write lock at the start (`BEGIN IMMEDIATE`), because a deferred
    transaction that reads first and writes later fails where another process wrote in
    between, whatever the busy timeout.
    """

    def __init__(self, target: Target, clock: Clock | None = None) -> None:
        """Open the database, making or rebuilding its tables where that is needed.

        Raises:
            StoreError: It cannot be opened, or was written by a later version.
        """
        self.target = target
        self._clock = clock or host_clock
        self._process = os.getpid()
        self._writing = threading.Lock()
        self._datastore = Datastore(target)
        self._recorder = Recorder(self._datastore)

    @property
    def backend(self) -> BackendTag:
        """SQLite."""
        return BackendTag.SQLITE

    def close(self) -> None:
        """Close the connections; in a forked child leave the parent's alone."""
        if os.getpid() == self._process:
            self._datastore.close()

    def stored_versions(self) -> dict[str, int]:
        """Return the versions that the store was written by; empty for a new one."""
        with self.read() as session:
            return schema.versions(session.cursor)

    @contextmanager
    def read(self) -> Iterator[SQLiteSession]:
        """Open a session over one consistent view."""
        with self._transaction("BEGIN", is_writer=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[SQLiteSession]:
        """Open a session that holds the write lock."""
        if self.target.read_only:
            message = f"{self.target.shown} was opened with read_only=True"
            raise StoreError(message)
        with self._transaction("BEGIN IMMEDIATE", is_writer=True) as session:
            yield session

    @contextmanager
    def _transaction(self, begin: str, *, is_writer: bool) -> Iterator[SQLiteSession]:
        self._check_process()
        try:
            with self._turn_to_write() if is_writer else nullcontext():
                connection = self._datastore.pool.get_connection()
                try:
                    yield from self._session(connection, begin)
                finally:
                    with suppress(ConnectionPoolClosedError):
                        self._datastore.pool.put_connection(connection)
        except DRIVER_ERRORS as error:
            raise store_error(error, self.target) from error

    def _session(
        self, connection: SQLiteConnection, begin: str
    ) -> Iterator[SQLiteSession]:
        driver = driver_of(connection)
        driver.execute(begin)
        try:
            yield SQLiteSession(driver, self._recorder, self._clock)
            driver.execute("COMMIT")
        except BaseException:
            if driver.in_transaction:
                try:
                    driver.execute("ROLLBACK")
                except sqlite3.Error:
                    connection.close()
            raise

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        """Wait for the other threads of this process.

        The pool has such a lock too, but makes readers queue behind a writer who
        waits for it, and does not give it back where a connection cannot be made.
        """
        if not self._writing.acquire(timeout=BUSY_TIMEOUT_S):
            raise ConnectionUnavailableError
        try:
            yield
        finally:
            self._writing.release()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            message = (
                "the ledger was opened in another process and this one was forked "
                "from it; open the ledger in this process"
            )
            raise StoreError(message)

    def facts(self) -> dict[str, str | int]:
        """Return versions, durability and sizes, by name."""
        path = self.target.path
        with self.read() as session:
            cursor = session.cursor
            versions = schema.versions(cursor)
            (journal_mode,) = cursor.execute("PRAGMA journal_mode").fetchone()
            events, last = cursor.execute(_LOG_SIZE).fetchone()
        return {
            "backend": self.backend.value,
            "backend_version": sqlite3.sqlite_version,
            **versions,
            "durability": self.target.durability,
            "journal_mode": journal_mode,
            "file_bytes": _size(path),
            "wal_bytes": _size(None if path is None else Path(f"{path}-wal")),
            "events": events,
            "last_position": last,
        }

    def query_plain(
        self, sql: str, parameters: Sequence[Any] = ()
    ) -> list[dict[str, Any]]:
        """Run plain SQL and return rows as dicts, also from a store in memory."""
        with self.read() as session:
            cursor = session.cursor.execute(sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]


def _size(path: Path | None) -> int:
    return path.stat().st_size if path is not None and path.exists() else 0


def create_or_check(store: SQLiteStore) -> bool:
    """Make the tables of a new store, refuse a later one.

    Returns:
        Whether the projections are of an earlier version and must be rebuilt.
    """
    stored = store.stored_versions()
    shown = store.target.shown
    if not stored and store.target.read_only:
        message = f"{shown} holds no ledger yet; open it once without read_only"
        raise StoreError(message)
    if not stored:
        with store.write() as session:
            stored = schema.versions(session.cursor)
            if not stored:
                schema.create(session.cursor, PROJECTION_VERSION)
                return False
    schema.check_versions(stored, PROJECTION_VERSION, shown=shown)
    return stored.get("projection_version", 0) < PROJECTION_VERSION
