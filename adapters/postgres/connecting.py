"""Connections to a PostgreSQL database, kept for the next call."""

import os
import select
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any, Final, TypeVar

import psycopg
from eventsourcing.persistence import ConnectionUnavailableError
from eventsourcing.postgres import PostgresDatastore
from psycopg import IsolationLevel, Pipeline
from psycopg.conninfo import make_conninfo
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg.sql import Identifier

from leasehold.adapters.postgres.target import Target
from leasehold.adapters.queries import named_queries

BUSY_TIMEOUT_S: Final = 30
_IDLE_IN_TRANSACTION_S: Final = 60
_AGE_MAX_S: Final = 3_600
_LOOK_AGAIN_S: Final = 0.1
_STATEMENTS_PREPARED: Final = 250
_PREPARED_AT_USE: Final = 2
_SETTLE: Final = named_queries(__package__, "statements")["settle"]


_Row = TypeVar("_Row")


class Cursor(psycopg.Cursor[_Row]):
    """A cursor that ends a batch of statements where it waits for their results.

    The driver asks for results in the midst of a batch. A server that has answered so
    takes the session to be at work: should the client never go on, its transaction
    would hold its locks for ever, `idle_in_transaction_session_timeout` or not.
    """

    def fetchall(self) -> list[_Row]:
        """Return all rows that are left."""
        self._end_batch()
        return super().fetchall()

    def fetchone(self) -> _Row | None:
        """Return the next row."""
        self._end_batch()
        return super().fetchone()

    def _end_batch(self) -> None:
        if self.pgresult is None and isinstance(self.connection, Connection):
            pipeline = self.connection.under_way
            if pipeline is not None:
                self.connection.send_all()
                pipeline.sync()


class Connection(psycopg.Connection[DictRow]):
    """A connection with what is known of it here.

    Attributes:
        is_pooled: Whether each of its transactions may be on another connection of the
            server, so that nothing lasts beyond it.
        born_s: When it was made, by the monotonic clock.
        under_way: The pipeline of the transaction that has begun.
    """

    is_pooled = False
    born_s = 0.0
    under_way: Pipeline | None = None

    def send_all(self) -> None:
        """Send what waits to be sent, however much it is.

        The driver waits for the results of a batch with some of it still unsent, if
        the socket did not take it all: for ever, as the server waits for the rest.
        """
        waiting = select.poll()
        waiting.register(self.fileno(), select.POLLIN | select.POLLOUT)
        while self.pgconn.flush():
            for _, ready in waiting.poll():
                if ready & ~select.POLLOUT:
                    self.pgconn.consume_input()

    def __del__(self, *_: object) -> None:
        """Go without the driver's warning: it is closed with its last reference.

        A ledger need not be closed, and in a forked child it must not be.
        """


def _settings(target: Target, *, one_transaction: bool) -> dict[str, object]:
    """Return the settings that a ledger works under.

    A writer that stops in the midst of its transaction holds an execution and all
    readers of the log back, so that the server ends it after a minute.
    """
    schema = target.schema
    return {
        "lock_timeout": f"{BUSY_TIMEOUT_S}s",
        "idle_in_transaction_session_timeout": f"{_IDLE_IN_TRANSACTION_S}s",
        "search_path": None if schema is None else Identifier(schema).as_string(),
        "synchronous_commit": "off" if target.durability == "normal" else None,
        "default_transaction_read_only": "on" if target.read_only else None,
        "one_transaction": one_transaction,
        "process": None,
    }


def connect(target: Target, *, timeout_s: int | None = None) -> Connection:
    """Connect, and settle the connection for a ledger.

    Where a pooler gives each transaction another connection of the server, nothing
    can be settled for longer than a transaction: see `settle_transaction`.

    Args:
        target: The database.
        timeout_s: How long to wait for each host, where it is not as the url says.

    Raises:
        psycopg.Error: There is no connection to be had.
    """
    conninfo = target.conninfo
    if timeout_s is not None:
        conninfo = make_conninfo(conninfo, connect_timeout=timeout_s)
    try:
        connection = Connection.connect(
            conninfo,
            autocommit=True,
            row_factory=dict_row,
            cursor_factory=Cursor[DictRow],
            prepare_threshold=None,
        )
    except OSError as error:  # For one: this process has too many open files.
        raise psycopg.OperationalError(str(error)) from error
    connection.born_s = time.monotonic()
    connection.isolation_level = IsolationLevel.READ_COMMITTED
    try:
        connection.is_pooled = target.transaction_pooling or not _settle(
            connection, target
        )
    except BaseException:
        connection.close()
        raise
    if not connection.is_pooled:
        connection.prepared_max = _STATEMENTS_PREPARED
        connection.prepare_threshold = _PREPARED_AT_USE
    return connection


def _settle(connection: Connection, target: Target) -> bool:
    """Settle a connection; return False, and do nothing, where it is a pooler's.

    A pooler greets its clients with numbers of its own in place of the server's.
    """
    greeted_as = connection.info.backend_pid
    settings = _settings(target, one_transaction=False)
    settings["process"] = None if target.transaction_pooling is False else greeted_as
    return connection.execute(_SETTLE.encode(), settings).rowcount == 1


def settle_transaction(connection: Connection, target: Target) -> None:
    """Settle a transaction that has begun, where its connection could not be."""
    if connection.is_pooled:
        settings = _settings(target, one_transaction=True)
        connection.execute(_SETTLE.encode(), settings)


class Loan:
    """A connection that is in use.

    Attributes:
        connection: The connection; None while it is being made.
        is_over: Whether it was given back.
    """

    __slots__ = ("__weakref__", "connection", "is_over")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.is_over = False


class Pool:
    """Connections that are not in use, the last used first.

    They are made in the thread that needs one, so that it is told why that fails, and
    at once after an outage; a pool that connects in the background does neither.

    A loan is over also when the last reference to it is gone: an interrupt may hit
    between any two steps, so that nobody is left to give it back.
    """

    def __init__(self, make: Callable[[], Connection], size: int) -> None:
        """Keep at most so many connections, made when they are needed."""
        self.size = size
        self._make = make
        # None of these is written in Python: no interrupt hits within them.
        self._lock = Lock()
        self._given_back: SimpleQueue[None] = SimpleQueue()
        self._loans: list[weakref.ref[Loan]] = []
        self._idle: list[Connection] = []
        self._waiting = 0
        self._closed = False

    def take(self) -> Loan:
        """Lend a connection to the caller alone; waits where all are in use.

        Raises:
            ConnectionUnavailableError: All were in use for 30 s.
            psycopg.Error: A new one could not be made.
        """
        loan = self._loan() or self._next_loan()
        try:
            loan.connection = self._last_used() or self._make()
        except BaseException:
            loan.is_over = True
            raise
        return loan

    def loans(self) -> int:
        """Return how many connections are in use."""
        with self._lock:
            self._loans = [reference for reference in self._loans if _lasts(reference)]
            return len(self._loans)

    def _loan(self) -> Loan | None:
        with self._lock:
            self._loans = [reference for reference in self._loans if _lasts(reference)]
            if len(self._loans) >= self.size:
                return None
            loan = Loan()
            self._loans.append(weakref.ref(loan))
            return loan

    def _next_loan(self) -> Loan:
        began_at = time.monotonic()
        with self._lock:
            self._waiting += 1
        try:
            while (loan := self._loan()) is None:
                waited_s = time.monotonic() - began_at
                if waited_s >= BUSY_TIMEOUT_S:
                    raise ConnectionUnavailableError
                with suppress(Empty):
                    self._given_back.get(timeout=_LOOK_AGAIN_S)
        finally:
            with self._lock:
                self._waiting -= 1
        return loan

    def _last_used(self) -> Connection | None:
        while (connection := self._pop()) is not None:
            young = time.monotonic() - connection.born_s < _AGE_MAX_S
            if young and _is_alive(connection):
                break
            connection.close()
        return connection

    def _pop(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def give_back(self, loan: Loan) -> None:
        """Keep a connection for the next call, if it is whole and idle."""
        connection, loan.connection = loan.connection, None
        if connection is not None:
            if self._closed or not _is_idle(connection):
                connection.close()
            else:
                self._idle.append(connection)
                if self._closed:
                    self.close()
        loan.is_over = True
        if self._waiting:
            self._given_back.put(None)

    def close(self) -> None:
        """Close what is idle now, and the others when they are given back."""
        self._closed = True
        while (connection := self._pop()) is not None:
            connection.close()


def _lasts(reference: "weakref.ref[Loan]") -> bool:
    loan = reference()
    return loan is not None and not loan.is_over


def disown(connection: Connection) -> None:
    """Close a connection of the parent's in a forked child: the server does not see."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, connection.fileno())
    os.close(nothing)
    connection.close()


def _is_idle(connection: Connection) -> bool:
    return (
        connection.pgconn.transaction_status == TransactionStatus.IDLE
        and connection.pgconn.pipeline_status == PipelineStatus.OFF
    )


def _is_alive(connection: Connection) -> bool:
    """Say whether the server has not ended an idle connection; asks nobody.

    While it is idle nothing comes in but the server's last words.
    """
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return not waiting.poll(0)


class Datastore(PostgresDatastore):
    """The recorder's access to the pool; stream ids are text.

    Without the composite types by which the package sends events: a ledger sends
    arrays.
    """

    def __init__(self, target: Target, schema: str) -> None:
        self.schema = schema
        self.pool: Any = Pool(lambda: connect(target), target.pool_size)
        self.pool_open_timeout = None
        self.single_row_tracking = True
        self.originator_id_type = "text"
        self.enable_db_functions = False
        self.lock_timeout = BUSY_TIMEOUT_S
        self.db_type_names = set()
        self.psycopg_type_adapters = {}
        self.psycopg_python_types = {}
        self._process = os.getpid()

    def register_type_adapters(self) -> None:
        """Do nothing: there are none."""

    def close(self) -> None:
        """Close the connections; in a forked child they are the parent's."""
        if os.getpid() == self._process:
            self.pool.close()
