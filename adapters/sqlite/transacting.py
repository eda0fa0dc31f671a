"""The transactions of an SQLite store: who may write, and how each one ends."""

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Final

from eventsourcing.persistence import ConnectionUnavailableError
from eventsourcing.sqlite import SQLiteConnection

from leasehold.adapters.metering import Call
from leasehold.adapters.sqlite import forking, schema
from leasehold.adapters.sqlite.connecting import (
    BUSY_TIMEOUT_S,
    DRIVER_ERRORS,
    Datastore,
    Target,
    driver_of,
    store_error,
)
from leasehold.adapters.sqlite.grouping import (
    Group,
    Turns,
    Waiter,
    Work,
    for_another_thread,
)
from leasehold.adapters.sqlite.recorder import Recorder
from leasehold.adapters.sqlite.session import SQLiteSession
from leasehold.adapters.store import Clock
from leasehold.domain.errors import StoreError
from leasehold.projections.registry import PROJECTION_VERSION

_READ: Final = "BEGIN"
_WRITE: Final = "BEGIN IMMEDIATE"
_SAVE: Final = "SAVEPOINT call"
_KEEP: Final = "RELEASE call"
_UNDO: Final = "ROLLBACK TO call"
_INTERRUPTED: Final = (
    "the call that was to commit was interrupted; nothing was written, try again"
)
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
        self.turns = Turns()
        self._process = os.getpid()
        self._writer: SQLiteConnection | None = None
        self._gate = threading.RLock()
        self._calls_ended = threading.Condition(self._gate)
        self._awaiting = 0
        self._is_forking = False
        self._under_way: dict[Transaction, int] = {}
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
        return Transaction(self, _WRITE, any_version=any_version, waiter=Waiter())

    def run(self, work: Work) -> Any:  # noqa: ANN401 - whatever the work's act returns
        """Do the work of a call in a transaction that calls of other threads share.

        A store in memory has nothing to sync, and readers want its connection.
        """
        waiter = Waiter(work.call, None if self.target.path is None else work)
        return Transaction(self, _WRITE, any_version=False, waiter=waiter).run(work)

    def check_process(self) -> None:
        """Make sure that this is the process that opened the ledger.

        Raises:
            StoreError: This one was forked from it: nothing here can be relied on, and
                locks may be held by threads that it does not have.
        """
        if os.getpid() != self._process:
            message = (
                "the ledger was opened in another process and this one was forked "
                "from it; open the ledger in this process"
            )
            raise StoreError(message)

    def enter(self, transaction: "Transaction") -> None:
        """Note a call of this thread; `leave` must follow, whatever comes of it.

        Raises:
            StoreError: The ledger is closed.
        """
        thread = threading.get_ident()
        with self._gate:
            if self._is_forking and thread not in self._under_way.values():
                self._calls_ended.wait_for(lambda: not self._is_forking)
            if self._closed:
                raise StoreError(_CLOSED)
            self._under_way[transaction] = thread

    def leave(self, transaction: "Transaction") -> None:
        """Note that a call has ended; the last one closes what `close` had to leave.

        A second call does nothing.
        """
        with self._gate:
            self._under_way.pop(transaction, None)
            if not self._under_way and self._closed:
                self.datastore.close()
            if self._awaiting:
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
        self._awaiting += 1
        try:
            self._calls_ended.wait_for(
                lambda: own.issuperset(self._under_way.values()),
                timeout=2 * BUSY_TIMEOUT_S,
            )
        finally:
            self._awaiting -= 1
        return not self._under_way

    @contextmanager
    def without_connections(self) -> Iterator[bool]:
        """Hold calls up and close all connections meanwhile; for the time of a fork.

        Gives whether they could be closed. Later calls connect anew.
        """
        idle = False
        with self._gate:
            self._is_forking = True
            try:
                idle = self._is_idle()
                if idle:
                    self._writer = None
                    self.datastore.close()
                yield idle
            finally:
                self._is_forking = False
                self._calls_ended.notify_all()
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
        "_call",
        "_connection",
        "_driver",
        "_group",
        "_is_undone",
        "_session",
        "_transactions",
        "_waiter",
    )

    def __init__(
        self,
        transactions: Transactions,
        begin: str,
        *,
        any_version: bool = True,
        any_text: bool = False,
        waiter: Waiter | None = None,
    ) -> None:
        """Say how it begins; nothing happens before the block."""
        self._call = None if waiter is None else waiter.call
        self._any_text = any_text
        self._any_version = any_version
        self._transactions = transactions
        self._begin = begin
        self._waiter = waiter
        self._session: SQLiteSession | None = None
        self._group: Group | None = None
        self._is_undone = False
        self._connection: SQLiteConnection | None = None
        self._driver: sqlite3.Connection | None = None

    def __enter__(self) -> SQLiteSession:
        """Wait for the turn and for the lock, and begin."""
        self._transactions.check_process()
        try:
            return self._open(self._take_turn())
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
            if self._session is not None:
                self._session.end()
            if exc_value is None and self._driver is not None:
                self._finish(self._driver)
        except DRIVER_ERRORS as error:
            raise store_error(error, self._transactions.target) from error
        finally:
            self._end()
        if isinstance(exc_value, DRIVER_ERRORS):
            raise store_error(exc_value, self._transactions.target) from exc_value

    def run(self, work: Work) -> Any:  # noqa: ANN401 - whatever the work's act returns
        """Do the work of a call in it, unless another thread did so meanwhile."""
        self._transactions.check_process()
        try:
            waited_s = self._take_turn()
            if self._waiter is not None and self._waiter.is_settled:
                answer = work.result()
            else:
                answer = self._do_own(work, self._open(waited_s))
        except DRIVER_ERRORS as error:
            raise store_error(error, self._transactions.target) from error
        finally:
            try:
                self._end()
            except BaseException:
                # An interrupt came first; other threads wait for what it kept back.
                self._end()
                raise
        return answer

    def _do_own(self, work: Work, session: SQLiteSession) -> Any:  # noqa: ANN401 - see run
        try:
            answer = work.act(session)
        finally:
            session.end()
        if self._driver is not None:
            self._finish(self._driver)
        return answer

    def _take_turn(self) -> float:
        """Wait for the other threads; return how long that took, in seconds."""
        transactions, waiter = self._transactions, self._waiter
        transactions.enter(self)
        if waiter is None:
            return 0.0
        waited_s = transactions.turns.take(waiter, BUSY_TIMEOUT_S)
        if transactions.turns.is_of(waiter) or waiter.is_settled:
            return waited_s
        raise store_error(ConnectionUnavailableError(), transactions.target)

    def _open(self, waited_s: float) -> SQLiteSession:
        """Begin on a connection."""
        transactions = self._transactions
        try:
            self._connection = transactions.connection(writes=self._waiter is not None)
            self._driver = driver_of(self._connection)
            self._begin_anew(self._driver, waited_s)
            self._session = self._session_of(self._driver, self._call)
        except DRIVER_ERRORS as error:
            raise store_error(error, transactions.target) from error
        else:
            return self._session

    def _session_of(
        self, driver: sqlite3.Connection, call: Call | None
    ) -> SQLiteSession:
        transactions = self._transactions
        return SQLiteSession(driver, transactions.recorder, transactions.clock, call)

    def _begin_anew(self, driver: sqlite3.Connection, waited_s: float) -> None:
        if driver.in_transaction:
            # Left by a call that was interrupted in the midst of its end.
            driver.execute("ROLLBACK")
        if waited_s:
            _begin_within(driver, self._begin, BUSY_TIMEOUT_S - waited_s)
        else:
            driver.execute(self._begin)
        if self._any_text:
            driver.text_factory = _text_of_any_bytes
        if not self._any_version:
            schema.check_generation(driver, PROJECTION_VERSION)

    def _finish(self, driver: sqlite3.Connection) -> None:
        """Do the work of those who wait as well, and commit for all."""
        if self._call is None:
            driver.execute("COMMIT")
            return
        group = self._group = Group()
        try:
            while (work := self._transactions.turns.join_next(group)) is not None:
                self._do(driver, work)
            began_ns = time.perf_counter_ns()
            group.is_complete = True
            driver.execute("COMMIT")
        except DRIVER_ERRORS as error:
            group.error = error
            raise
        group.commit_ns = time.perf_counter_ns() - began_ns

    def _do(self, driver: sqlite3.Connection, work: Work) -> None:
        """Do the work of another call, so that it is undone alone where it fails."""
        handled = sys.exception()
        driver.execute(_SAVE)
        session = self._session_of(driver, work.call)
        try:
            try:
                work.answer = work.act(session)
            finally:
                session.end()
        except Exception as error:
            if not driver.in_transaction:
                # SQLite undid all of it.
                raise
            work.error = for_another_thread(error, handled)
            driver.execute(_UNDO)
        driver.execute(_KEEP)

    def _end(self) -> None:
        """Tell how it ended, undo what is not committed and let go of everything.

        Whatever fails. A second call does what the first one did not come to.
        """
        try:
            self._settle()
        finally:
            try:
                self._roll_back()
            finally:
                try:
                    self._give_back()
                finally:
                    try:
                        if self._waiter is not None:
                            self._transactions.turns.give_up(self._waiter)
                    finally:
                        self._transactions.leave(self)

    def _settle(self) -> None:
        """Tell the calls that were done in it how it ended; a second call does nothing.

        Once the connection is given back it may be in a transaction of another call.
        """
        group, driver, call = self._group, self._driver, self._call
        if group is None or driver is None or call is None:
            return
        is_open = self._connection is not None and driver.in_transaction
        if group.error is not None:
            group.settle(partial(store_error, group.error, self._transactions.target))
        elif self._is_undone or is_open or not group.is_complete:
            group.settle(partial(StoreError, _INTERRUPTED, retryable=True))
        else:
            call.commit_ns = group.commit_ns
            group.settle(None)
        self._group = None
        # Its stack has the group at hand.
        group.error = None

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._transactions.give_back(connection)

    def _roll_back(self) -> None:
        if self._driver is None or self._connection is None:
            return
        if self._any_text:
            self._driver.text_factory = str
        try:
            if self._driver.in_transaction:
                self._is_undone = True
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
