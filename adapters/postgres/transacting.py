"""The transactions of a PostgreSQL store, and how each one ends."""

import os
import random
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final

import psycopg
from psycopg import Pipeline
from psycopg.pq import TransactionStatus

from leasehold.adapters.postgres import schema
from leasehold.adapters.postgres.connecting import (
    Connection,
    Datastore,
    connect,
    settings_of,
)
from leasehold.adapters.postgres.failures import DRIVER_ERRORS, is_lost, store_error
from leasehold.adapters.postgres.recorder import Recorder
from leasehold.adapters.postgres.resolving import was_stored
from leasehold.adapters.postgres.session import PostgresSession
from leasehold.adapters.postgres.target import Target
from leasehold.adapters.queries import named_queries
from leasehold.adapters.store import Clock
from leasehold.domain.errors import StoreError

READ_ONCE: Final = ""
READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
WRITE: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"

_BEGIN_POOLED: Final = named_queries(__package__, "locking")["begin_pooled"]
_TOKEN_MAX: Final = 2**63 - 1
_POOLED_SETTINGS: Final = {"search_path": None, "synchronous_commit": None}


class Transactions:
    """Where the transactions of one ledger begin."""

    def __init__(self, target: Target, clock: Clock | None) -> None:
        """Prepare a pool; connections are made when they are needed."""
        self.target = target
        self.clock = clock
        self.datastore = Datastore(target, target.schema or "public")
        self.recorder = Recorder(self.datastore)
        self.pooled_settings = {**_POOLED_SETTINGS, **settings_of(target)}
        self._process = os.getpid()
        self._closed = False

    def begin(self, begin: str, *, any_version: bool = False) -> "Transaction":
        """Return a transaction; nothing happens before its block."""
        return Transaction(self, begin, any_version=any_version)

    def check_open(self) -> None:
        """Refuse a call on a ledger that cannot serve it.

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
        if self._closed:
            message = "the ledger is closed; open it again to use it"
            raise StoreError(message)

    def connect(self) -> Connection:
        """Return a connection outside of the pool."""
        self.check_open()
        return connect(self.target)

    def close(self) -> None:
        """Refuse new calls; connections in use are closed when their calls end."""
        if os.getpid() == self._process:
            self._closed = True
            self.datastore.close()


class Transaction:
    """A transaction as a context manager: it commits when its block ends without error.

    A class and not a generator: it stands on the path of every call.
    """

    def __init__(
        self, transactions: Transactions, begin: str, *, any_version: bool
    ) -> None:
        """Say how it begins; nothing happens before the block."""
        self._transactions = transactions
        self._begin = begin
        self._any_version = any_version
        self._connection: Connection | None = None
        self._pipeline: AbstractContextManager[Pipeline] | None = None
        self._session: PostgresSession | None = None
        self._token = 0

    def __enter__(self) -> PostgresSession:
        """Take a connection and send the beginning, without waiting for an answer."""
        transactions = self._transactions
        transactions.check_open()
        try:
            connection = self._connection = transactions.datastore.pool.take()
            self._session = session = PostgresSession(
                connection, transactions.recorder, transactions.clock
            )
            if self._begin or transactions.target.transaction_pooling:
                pipeline = self._pipeline = connection.pipeline()
                pipeline.__enter__()
            if self._begin:
                connection.execute(self._begin.encode())
            if transactions.target.transaction_pooling:
                connection.execute(_BEGIN_POOLED.encode(), transactions.pooled_settings)
            if self._begin is WRITE:
                self._token = random.randint(1, _TOKEN_MAX)  # noqa: S311 - no secret
                session.begin_writing(self._token, any_version=self._any_version)
        except DRIVER_ERRORS as error:
            self._end()
            raise store_error(error, transactions.target) from error
        except BaseException:
            self._end()
            raise
        return session

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit, or undo what the block did; give the connection back."""
        try:
            if exc_value is None and self._begin is WRITE:
                self._commit()
        except DRIVER_ERRORS as error:
            raise store_error(error, self._transactions.target) from error
        finally:
            self._end()
        if isinstance(exc_value, DRIVER_ERRORS):
            raise store_error(exc_value, self._transactions.target) from exc_value

    def _commit(self) -> None:
        session = self._session
        if session is None:
            return
        try:
            session.finish()
            session.connection.execute(b"COMMIT")
            self._leave_pipeline()
        except DRIVER_ERRORS as error:
            if not is_lost(error):
                raise
            if not session.appended:
                if session.writes_without_events:
                    raise
                return
            # Nobody else may use the connection while the answer is sought.
            self._end()
            if not was_stored(
                self._transactions.target, self._token, session.appended[0]
            ):
                raise

    def _leave_pipeline(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.__exit__(None, None, None)

    def _end(self) -> None:
        """Undo what is not committed and let go of the connection, whatever fails."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            self._leave_pipeline()
            if connection.info.transaction_status != TransactionStatus.IDLE:
                connection.execute(b"ROLLBACK")
        except psycopg.Error:
            connection.close()
        except BaseException:
            connection.close()
            raise
        finally:
            self._transactions.datastore.pool.give_back(connection)


def prepare_tables(transactions: Transactions) -> dict[str, int]:
    """Make the tables where there are none; return the versions.

    Raises:
        StoreError: The store is to be read only and holds no ledger.
    """
    target = transactions.target
    try:
        with transactions.connect() as connection:
            stored = schema.versions(connection)
            if not stored and not target.read_only:
                with connection.transaction():
                    stored = schema.create(connection, target.schema)
    except DRIVER_ERRORS as error:
        raise store_error(error, target) from error
    if not stored:
        message = f"{target.shown} holds no ledger yet; open it once without read_only"
        raise StoreError(message)
    return stored
