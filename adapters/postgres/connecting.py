"""Connections to a PostgreSQL database, kept for the next call."""

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from eventsourcing.persistence import ConnectionUnavailableError
from eventsourcing.postgres import PostgresDatastore
from psycopg.rows import DictRow, dict_row
from psycopg.sql import Identifier

from leasehold.adapters.postgres.target import Target

Connection = psycopg.Connection[DictRow]

BUSY_TIMEOUT_S: Final = 30
_IDLE_IN_TRANSACTION_S: Final = 60
_AGE_MAX_S: Final = 3_600
_STATEMENTS_PREPARED: Final = 250
_PREPARED_AT_USE: Final = 2
_IS_OFF: Final = "current_setting('synchronous_commit') = 'off'"


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


def connect(target: Target) -> Connection:
    """Connect, and settle the connection for a ledger.

    Where a pooler gives each transaction another connection of the server, nothing
    can be settled for longer than a transaction: see `begin_pooled.sql`.
    """
    pooled = target.transaction_pooling
    connection = psycopg.connect(
        target.conninfo,
        autocommit=True,
        row_factory=dict_row,
        prepare_threshold=None if pooled else _PREPARED_AT_USE,
    )
    connection.prepared_max = _STATEMENTS_PREPARED
    if not pooled:
        try:
            _settle(connection, target)
        except BaseException:
            connection.close()
            raise
    return connection


def _settle(connection: Connection, target: Target) -> None:
    settle = "SELECT set_config(%s, %s, FALSE)"
    statements: list[tuple[str, tuple[str, ...]]] = [
        (settle, setting) for setting in settings_of(target).items()
    ]
    if target.durability == "full":
        # A server may be set to more than "on" (remote_apply); to less it may not.
        statements.append((f"{settle} WHERE {_IS_OFF}", ("synchronous_commit", "on")))
    with connection.pipeline():
        for statement, values in statements:
            connection.execute(statement.encode(), values)


class Pool:
    """Connections that are not in use, the last used first.

    They are made in the thread that needs one, so that it is told why that fails, and
    at once after an outage; a pool that connects in the background does neither.
    """

    def __init__(self, make: Callable[[], Connection], size: int) -> None:
        """Keep at most so many connections, made when they are needed."""
        self.size = size
        self._make = make
        self._slots = threading.BoundedSemaphore(size)
        self._idle: list[tuple[float, Connection]] = []
        self._born_s: dict[int, float] = {}
        self._closed = False

    def take(self) -> Connection:
        """Return a connection for the caller alone; waits where all are in use.

        Raises:
            ConnectionUnavailableError: All were in use for 30 s.
            psycopg.Error: A new one could not be made.
        """
        if not self._slots.acquire(timeout=BUSY_TIMEOUT_S):
            raise ConnectionUnavailableError
        try:
            while self._idle:
                born_s, connection = self._idle.pop()
                if time.monotonic() - born_s < _AGE_MAX_S and _is_alive(connection):
                    self._born_s[id(connection)] = born_s
                    return connection
                connection.close()
            connection = self._make()
            self._born_s[id(connection)] = time.monotonic()
        except BaseException:
            self._slots.release()
            raise
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next call, if it is whole and idle."""
        born_s = self._born_s.pop(id(connection))
        idle = psycopg.pq.TransactionStatus.IDLE
        if self._closed or connection.info.transaction_status != idle:
            connection.close()
        else:
            self._idle.append((born_s, connection))
            if self._closed:
                self.close()
        self._slots.release()

    def close(self) -> None:
        """Close what is idle now, and the others when they are given back."""
        self._closed = True
        while self._idle:
            self._idle.pop()[1].close()

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
