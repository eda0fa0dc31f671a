"""Connections to a PostgreSQL database, kept for the next call."""

import os
import select
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
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
_STATEMENTS_PREPARED: Final = 250
_PREPARED_AT_USE: Final = 2
_IS_OFF: Final = "current_setting('synchronous_commit') = 'off'"
_BEGIN_POOLED: Final = named_queries(__package__, "locking")["begin_pooled"]
_POOLED_SETTINGS: Final = {"search_path": None, "synchronous_commit": None}


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
                pipeline.sync()


class Connection(psycopg.Connection[DictRow]):
    """A connection, with its place in the pool.

    Attributes:
        born_s: When it was made, by the monotonic clock.
        slot: The place, while it is lent.
        under_way: The pipeline of the transaction that has begun.
    """

    born_s = 0.0
    slot: "_Slot | None" = None
    under_way: Pipeline | None = None

    def __del__(self, *_: object) -> None:
        """Go without the driver's warning: it is closed with its last reference.

        A ledger need not be closed, and in a forked child it must not be.
        """


def settings_of(target: Target) -> dict[str, str]:
    """Return the settings that a transaction of a ledger runs under.

    A writer that stops in the midst of its transaction holds an execution and all
    readers of the log back, so that the server ends it after a minute.
    """
    settings = {
        "lock_timeout": f"{BUSY_TIMEOUT_S}s",
        "idle_in_transaction_session_timeout": f"{_IDLE_IN_TRANSACTION_S}s",
    }
    if target.schema is not None:
        settings["search_path"] = Identifier(target.schema).as_string()
    if target.durability == "normal":
        settings["synchronous_commit"] = "off"
    return settings


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
    pooled = target.transaction_pooling
    conninfo = target.conninfo
    if timeout_s is not None:
        conninfo = make_conninfo(conninfo, connect_timeout=timeout_s)
    try:
        connection = Connection.connect(
            conninfo,
            autocommit=True,
            row_factory=dict_row,
            cursor_factory=Cursor[DictRow],
            prepare_threshold=None if pooled else _PREPARED_AT_USE,
        )
    except OSError as error:  # For one: this process has too many open files.
        raise psycopg.OperationalError(str(error)) from error
    connection.born_s = time.monotonic()
    connection.prepared_max = _STATEMENTS_PREPARED
    connection.isolation_level = IsolationLevel.READ_COMMITTED
    if not pooled:
        try:
            _settle(connection, target)
        except BaseException:
            connection.close()
            raise
    return connection


def _settle(connection: Connection, target: Target) -> None:
    settings = settings_of(target)
    # A single query is a transaction too, begun as the server is set to.
    settings["default_transaction_isolation"] = "read committed"
    if target.read_only:
        settings["default_transaction_read_only"] = "on"
    settle = "SELECT set_config(%s, %s, FALSE)"
    statements: list[tuple[str, tuple[str, ...]]] = [
        (settle, setting) for setting in settings.items()
    ]
    if target.durability == "full":
        # A server may be set to more than "on" (remote_apply); to less it may not.
        statements.append((f"{settle} WHERE {_IS_OFF}", ("synchronous_commit", "on")))
    with connection.pipeline():
        for statement, values in statements:
            connection.execute(statement.encode(), values)


def settle_transaction(connection: Connection, target: Target) -> None:
    """Settle a transaction that has begun, where its connection could not be."""
    if target.transaction_pooling:
        settings = {**_POOLED_SETTINGS, **settings_of(target)}
        connection.execute(_BEGIN_POOLED.encode(), settings)


class _Slot:
    """The right to have one connection.

    However it is dropped, another takes its place: also where an interrupt hits
    between two steps of a call, which then cannot give it back.
    """

    def __init__(self, free: "SimpleQueue[_Slot]") -> None:
        self._free = weakref.ref(free)

    def __del__(self) -> None:
        free = self._free()
        if free is not None:
            free.put(type(self)(free))


class Pool:
    """Connections that are not in use, the last used first.

    They are made in the thread that needs one, so that it is told why that fails, and
    at once after an outage; a pool that connects in the background does neither.
    """

    def __init__(self, make: Callable[[], Connection], size: int) -> None:
        """Keep at most so many connections, made when they are needed."""
        self.size = size
        self._make = make
        # Nothing that is written in Python and could be interrupted with a lock held.
        self._free: SimpleQueue[_Slot] = SimpleQueue()
        for _ in range(size):
            self._free.put(_Slot(self._free))
        self._idle: list[Connection] = []
        self._closed = False

    def take(self) -> Connection:
        """Return a connection for the caller alone; waits where all are in use.

        Raises:
            ConnectionUnavailableError: All were in use for 30 s.
            psycopg.Error: A new one could not be made.
        """
        try:
            slot = self._free.get(timeout=BUSY_TIMEOUT_S)
        except Empty:
            raise ConnectionUnavailableError from None
        try:
            connection = self._last_used() or self._make()
            connection.slot = slot
        except BaseException:
            self._free.put(slot)
            raise
        return connection

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

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next call, if it is whole and idle."""
        slot, connection.slot = connection.slot, None
        if self._closed or not _is_idle(connection):
            connection.close()
        else:
            self._idle.append(connection)
            if self._closed:
                self.close()
        if slot is not None:
            self._free.put(slot)

    def close(self) -> None:
        """Close what is idle now, and the others when they are given back."""
        self._closed = True
        while (connection := self._pop()) is not None:
            connection.close()

    def open(self, *_: object) -> None:
        """Do nothing: connections are made when they are needed."""

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection to a block."""
        connection = self.take()
        try:
            yield connection
        finally:
            self.give_back(connection)


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
