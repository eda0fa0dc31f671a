"""The store in an SQLite database."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from leasehold.adapters.metering import Call
from leasehold.adapters.sqlite import schema
from leasehold.adapters.sqlite.connecting import Target
from leasehold.adapters.sqlite.grouping import Work
from leasehold.adapters.sqlite.session import SQLiteSession
from leasehold.adapters.sqlite.transacting import Transaction, Transactions
from leasehold.adapters.sqlite.triggers import triggers_off
from leasehold.adapters.store import Answer, Clock, Polling, told_of_triggers
from leasehold.adapters.versions import check_versions
from leasehold.domain.errors import StoreError
from leasehold.domain.handles import BackendTag
from leasehold.projections.registry import PROJECTION_VERSION

_LOG_SIZE: Final = (
    "SELECT count(*), coalesce(max(notification_id), 0) FROM stored_events"
)


def host_clock() -> int:
    """Return the host's time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class SQLiteStore:
    """A database that a ledger lives in, with a pool of connections to it.

    Writes take the write lock at the start (`BEGIN IMMEDIATE`), because a deferred
    transaction that reads first and writes later fails where another process wrote in
    between, whatever the busy timeout.
    """

    def __init__(self, target: Target, clock: Clock | None = None) -> None:
        """Prepare to connect; `prepare` makes sure of the tables."""
        self.target = target
        self._transactions = Transactions(target, clock or host_clock)

    @property
    def backend(self) -> BackendTag:
        """SQLite."""
        return BackendTag.SQLITE

    def close(self) -> None:
        """Close the connections; a second call does nothing."""
        self._transactions.close()

    @property
    def shown(self) -> str:
        """The name of the file."""
        return self.target.shown

    @property
    def read_only(self) -> bool:
        """Whether it was opened never to be written to."""
        return self.target.read_only

    def prepare(self) -> bool:
        """Make the tables of a new store, refuse a later one.

        Returns:
            Whether the projections are of an earlier version, or gone, and must be
            rebuilt.
        """
        stored = self.stored_versions()
        if not stored and self.read_only:
            message = (
                f"{self.shown} holds no ledger yet; open it once without read_only"
            )
            raise StoreError(message)
        if not stored:
            with self.write(any_version=True) as session:
                stored = schema.versions(session.cursor)
                if not stored:
                    schema.create(session.cursor, PROJECTION_VERSION)
                    return False
        check_versions(stored, schema.SCHEMA_VERSION, shown=self.shown)
        with self.read() as session:
            is_older = session.projection_version() < PROJECTION_VERSION
        if not is_older and not self.read_only:
            self._complete()
        return is_older

    def _complete(self) -> None:
        """Write the versions into the header anew, where a dump has left them out.

        Make the views that were not known yet when the store was made.
        """
        with self.read() as session:
            has_generation = schema.has_generation(session.cursor, PROJECTION_VERSION)
            if has_generation and not schema.lacks_views(session.cursor):
                return
        with self.write(any_version=True) as session:
            stored = schema.versions(session.cursor)
            if stored["projection_version"] == PROJECTION_VERSION:
                schema.note_generation(session.cursor, PROJECTION_VERSION)
                schema.make_views(session.cursor)

    def read(
        self,
        *,
        once: bool = False,  # noqa: ARG002 - all alike
        any_text: bool = False,
    ) -> Transaction:
        """Open a session over one consistent view.

        Args:
            once: Whether a single query is all that it is for.
            any_text: Whether text that is not UTF-8 is read as well.
        """
        return self._transactions.read(any_text=any_text)

    def write(self, *, any_version: bool = False) -> Transaction:
        """Open a session that holds the write lock.

        Args:
            any_version: Whether the tables may be of another version: to make them.

        Raises:
            StoreError: The store was opened to be read only; `schema_version`: another
                version has changed the tables since.
        """
        self._check_writable()
        return self._transactions.write(any_version=any_version)

    def transact(self, call: Call, act: Callable[[SQLiteSession], Answer]) -> Answer:
        """Do what a call does in a transaction that it may share with others.

        Args:
            call: Is told how long the commit took.
            act: What it does; it may be another thread that runs it.

        Raises:
            StoreError: As for `write`, or the commit failed.
        """
        self._check_writable()
        answer: Answer = self._transactions.run(Work(call, act))
        return answer

    def _check_writable(self) -> None:
        if self.target.read_only:
            message = f"{self.target.shown} was opened with read_only=True"
            raise StoreError(message)

    def stored_versions(self) -> dict[str, int]:
        """Return the versions that the store was written by; empty for a new one."""
        with self.read() as session:
            return schema.versions(session.cursor)

    def watch(self) -> Polling:
        """Return something by which to wait for commits: SQLite tells of none."""
        return Polling()

    def facts(self) -> dict[str, str | int]:
        """Return versions, durability and sizes, by name."""
        path = self.target.path
        with self.read() as session:
            cursor = session.cursor
            versions = schema.versions(cursor)
            (journal_mode,) = cursor.execute("PRAGMA journal_mode").fetchone()
            events, last = cursor.execute(_LOG_SIZE).fetchone()
            off = triggers_off(cursor)
            now_ms = session.now_ms()
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
            "settled_position": last,
            "lag": 0,
            "triggers": told_of_triggers(off),
            "at_ms": now_ms,
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
