"""The transactions of an SQLite store: who may write, and how each one ends."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final

from eventsourcing.persistence import ConnectionUnavailableError
from eventsourcing.sqlite import SQLiteConnection

from leasehold.adapters.sqlite import forking, schema
from leasehold.adapters.sqlite.connecting import (
    BUSY_TIMEOUT_S,
    DRIVER_ERRORS,
    Datastore,
    Target,
    driver_of,
    store_error,
)
from leasehold.adapters.sqlite.recorder import Recorder
from leasehold.adapters.sqlite.session import SQLiteSession
from leasehold.adapters.store import Clock
from leasehold.domain.errors import StoreError
from leasehold.projections.registry import PROJECTION_VERSION

_READ: Final = "BEGIN"
_WRITE: Final = "BEGIN IMMEDIATE"
_CLOSED: Final = "the ledger is closed; open it again to use it"


class Transactions:
    """Where the transactions of one ledger begin.

    Its threads take turns to write here. The pool has such a lock too, but makes
    readers queue behind a writer who waits for it, and does not give it back where a
    connection cannot be made.
    """

    def __init__(self, target: Target, clock: Clock) -> None:
        """Prepare a pool; connections are made when they are needed."""
        self.target = target
        self.clock = clock
        self.datastore = Datastore(target)
        self.recorder = Recorder(self.datastore)
        self.turn = threading.Lock()
        self._process = os.getpid()
        self._writer: SQLiteConnection | None = None
        self._gate = threading.RLock()
        self._calls_ended = threading.Condition(self._gate)
        self._is_awaited = False
        self._under_way: dict[int, int] = {}
        self._closed = False
        if target.path is not None:
            forking.watch(self)

    def read(self, *, any_text: bool = False) -> "Transaction":
        """Return a transaction over one consistent view."""
        return Transaction(self, _READ, any_text=any_text)

    def write(self, *, any_version: bool = False) -> "Transaction":
        """Return a transaction that takes the write lock when it begins.

        Args:
            any_version: Whether the tables may be of another version: to make them.
        """
        return Transaction(self, _WRITE, any_version=any_version)

    def enter(self) -> None:
        """Count a call in.

        Raises:
            StoreError: The ledger is closed, or this process was forked from the one
                that opened it.
        """
        if os.getpid() != self._process:
            message = (
                "the ledger was opened in another process and this one was forked "
                "from it; open the ledger in this process"
            )
            raise StoreError(message)
        with self._gate:
            if self._closed:
                raise StoreError(_CLOSED)
            thread = threading.get_ident()
            self._under_way[thread] = self._under_way.get(thread, 0) + 1

    def leave(self) -> None:
        """Count a call out; the last one closes what `close` had to leave open."""
        with self._gate:
            thread = threading.get_ident()
            nested = self._under_way.pop(thread) - 1
            if nested:
                self._under_way[thread] = nested
            elif not self._under_way and self._closed:
                self.datastore.close()
            if self._is_awaited:
                self._calls_ended.notify_all()

    def connection(self, *, writes: bool) -> SQLiteConnection:
        """Take a connection; the one whose turn it is to write gets always the same.

        A store in memory has a single connection, which readers need in between.
        """
        if not writes or self.target.path is None:
            return self.datastore.pool.get_connection()
        if self._writer is None:
            self._writer = self.datastore.pool.get_connection()
        return self._writer

    def give_back(self, connection: SQLiteConnection) -> None:
        """Return a connection; the one that writes is kept while it is whole."""
        if connection is self._writer:
            if not connection.closed:
                return
            self._writer = None
        self.datastore.pool.put_connection(connection)

    def close(self) -> None:
        """Refuse new calls, wait for those under way, then close the connections.

        The driver must not close a connection that is in use. Called in the midst of a
        call of the same thread (by a signal handler, say), it leaves the closing to the
        end of that call. In a forked child the connections are the parent's and stay
        open.
        """
        if os.getpid() != self._process:
            return
        with self._gate:
            self._closed = True
            if self._is_idle():
                self.datastore.close()

    def _is_idle(self) -> bool:
        """Wait for the calls of other threads; say whether none is left at all."""
        own = {threading.get_ident()}
        self._is_awaited = True
        self._calls_ended.wait_for(
            lambda: self._under_way.keys() <= own, timeout=2 * BUSY_TIMEOUT_S
        )
        self._is_awaited = False
        return not self._under_way

    @contextmanager
    def without_connections(self) -> Iterator[bool]:
        """Hold calls up and close all connections meanwhile; for the time of a fork.

        Gives whether they could be closed. Later calls connect anew.
        """
        with self._gate:
            idle = self._is_idle()
            if idle:
                self._writer = None
                self.datastore.close()
            try:
                yield idle
            finally:
                if idle and not self._closed and os.getpid() == self._process:
                    self.datastore = Datastore(self.target)
                    self.recorder = Recorder(self.datastore)


class Transaction:
    """A transaction as a context manager: it commits when its block ends without error.

    A class and not a generator: it stands on the path of every call.
    """

    __slots__ = (
        "_any_text",
        "_any_version",
        "_begin",
        "_connection",
        "_driver",
        "_has_turn",
        "_transactions",
    )

    def __init__(
        self,
        transactions: Transactions,
        begin: str,
        *,
        any_version: bool = True,
        any_text: bool = False,
    ) -> None:
        """Say how it begins; nothing happens before the block."""
        self._any_text = any_text
        self._any_version = any_version
        self._transactions = transactions
        self._begin = begin
        self._has_turn = False
        self._connection: SQLiteConnection | None = None
        self._driver: sqlite3.Connection | None = None

    def __enter__(self) -> SQLiteSession:
        """Wait for the turn and for the lock, and begin."""
        transactions = self._transactions
        transactions.enter()
        try:
            waited_s = self._take_turn() if self._begin is _WRITE else 0.0
            self._connection = transactions.connection(writes=self._has_turn)
            self._driver = driver_of(self._connection)
            if self._driver.in_transaction:
                # Left by a call that was interrupted in the midst of its end.
                self._driver.execute("ROLLBACK")
            if waited_s:
                _begin_within(self._driver, self._begin, BUSY_TIMEOUT_S - waited_s)
            else:
                self._driver.execute(self._begin)
            if self._any_text:
                self._driver.text_factory = _text_of_any_bytes
            if not self._any_version:
                schema.check_generation(self._driver, PROJECTION_VERSION)
            return SQLiteSession(
                self._driver, transactions.recorder, transactions.clock
            )
        except DRIVER_ERRORS as error:
            self._end()
            raise store_error(error, transactions.target) from error
        except BaseException:
            self._end()
            raise

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit, or undo what the block did; give the connection and the turn back."""
        try:
            if exc_value is None and self._driver is not None:
                self._driver.execute("COMMIT")
        except DRIVER_ERRORS as error:
            raise store_error(error, self._transactions.target) from error
        finally:
            self._end()
        if isinstance(exc_value, DRIVER_ERRORS):
            raise store_error(exc_value, self._transactions.target) from exc_value

    def _take_turn(self) -> float:
        """Wait for the other threads; return how long that took, in seconds."""
        turn = self._transactions.turn
        self._has_turn = turn.acquire(blocking=False)
        if self._has_turn:
            return 0.0
        began_s = time.monotonic()
        self._has_turn = turn.acquire(timeout=BUSY_TIMEOUT_S)
        if not self._has_turn:
            raise ConnectionUnavailableError
        return time.monotonic() - began_s

    def _end(self) -> None:
        """Undo what is not committed and let go of everything, whatever fails."""
        try:
            self._roll_back()
        finally:
            try:
                if self._connection is not None:
                    self._transactions.give_back(self._connection)
            finally:
                try:
                    if self._has_turn:
                        self._transactions.turn.release()
                finally:
                    self._transactions.leave()

    def _roll_back(self) -> None:
        if self._driver is None or self._connection is None:
            return
        if self._any_text:
            self._driver.text_factory = str
        try:
            if self._driver.in_transaction:
                self._driver.execute("ROLLBACK")
        except sqlite3.Error:
            self._connection.close()


def _text_of_any_bytes(stored: bytes) -> str:
    return stored.decode("utf-8", errors="surrogateescape")


def _begin_within(driver: sqlite3.Connection, begin: str, seconds: float) -> None:
    """Begin, and give up on the lock after so long: what is left of the timeout."""
    driver.execute(f"PRAGMA busy_timeout = {max(0, round(seconds * 1000))}")
    try:
        driver.execute(begin)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")
