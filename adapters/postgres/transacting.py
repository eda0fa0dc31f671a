"""The transactions of a PostgreSQL store, and how each one ends."""

import logging
import os
import sys
import time
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Final

from psycopg import Pipeline
from psycopg.pq import TransactionStatus
from psycopg.sql import Identifier

from leasehold.adapters.metering import Call
from leasehold.adapters.postgres import schema
from leasehold.adapters.postgres.connecting import (
    Connection,
    Datastore,
    Loan,
    connect,
    disown,
    settle_transaction,
)
from leasehold.adapters.postgres.failures import (
    DRIVER_ERRORS,
    in_one_line,
    is_lost,
    store_error,
)
from leasehold.adapters.postgres.recorder import Recorder
from leasehold.adapters.postgres.resolving import was_stored
from leasehold.adapters.postgres.session import PostgresSession
from leasehold.adapters.postgres.target import Target
from leasehold.adapters.queries import named_queries
from leasehold.adapters.store import Clock
from leasehold.domain.errors import LeaseholdError, StoreError

READ_ONCE: Final = ""
"""One query, which is a transaction of its own."""

READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Not READ WRITE: where the server is set to be read only, it shall be.
WRITE: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"

_log: Final = logging.getLogger("leasehold")

_COMMITTED: Final = "COMMIT"
_BEGIN_READING: Final = "LOCK TABLE leasehold_meta IN ACCESS SHARE MODE"
_WITHOUT_HURRY: Final = "SET LOCAL idle_in_transaction_session_timeout = 0"
_WAKE_FOLLOWERS: Final = named_queries(__package__, "statements")["wake_followers"]
_READ_ONCE_POOLED: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
_SERVER_VERSION_LEAST: Final = 130_000
_ENCODING: Final = "UTF8"
_CANCEL_TIMEOUT_S: Final = 2.0
_TOKEN_BITS: Final = 63
_OF_THE_DRIVER: Final = (*DRIVER_ERRORS, LookupError, ValueError, AttributeError)
"""What the driver raises, also within itself."""

_MAY_NOT_LOOK: Final = (
    "SELECT FROM pg_catalog.pg_namespace "
    "WHERE nspname = %s AND NOT has_schema_privilege(oid, 'USAGE')"
)


class Transactions:
    """Where the transactions of one ledger begin."""

    def __init__(self, target: Target, clock: Clock | None) -> None:
        """Prepare a pool; connections are made when they are needed."""
        self.target = target
        self.clock = clock
        self.datastore = Datastore(target, target.schema or "public")
        self.recorder = Recorder(self.datastore)
        self.log_name = Identifier(
            *filter(None, (target.schema, "stored_events"))
        ).as_string()
        self.is_pooled = False
        self._process = os.getpid()
        self._closed = False

    def begin(
        self, begin: str, *, any_version: bool = False, call: Call | None = None
    ) -> "Transaction":
        """Return a transaction; nothing happens before its block."""
        return Transaction(self, begin, any_version=any_version, call=call)

    def check_open(self) -> None:
        """Refuse a call on a ledger that cannot serve it.

        Raises:
            StoreError: The ledger is closed, or this process was forked from the one
                that opened it.
        """
        if self.is_inherited():
            message = (
                "the ledger was opened in another process and this one was forked "
                "from it; open the ledger in this process"
            )
            raise StoreError(message)
        if self._closed:
            message = "the ledger is closed; open it again to use it"
            raise StoreError(message)

    def is_inherited(self) -> bool:
        """Say whether this process was forked from the one that opened the ledger."""
        return os.getpid() != self._process

    def connect(self) -> Connection:
        """Return a connection outside of the pool."""
        self.check_open()
        return connect(self.target)

    def close(self) -> None:
        """Refuse new calls; connections in use are closed when their calls end."""
        if not self.is_inherited():
            self._closed = True
            self.datastore.close()


class Transaction:
    """A transaction as a context manager: it commits when its block ends without error.

    A class and not a generator: it stands on the path of every call.
    """

    def __init__(
        self,
        transactions: Transactions,
        begin: str,
        *,
        any_version: bool,
        call: Call | None,
    ) -> None:
        """Say how it begins; nothing happens before the block."""
        self._call = call
        self._transactions = transactions
        self._begin = begin
        self._any_version = any_version
        self._loan: Loan | None = None
        self._pipeline: AbstractContextManager[Pipeline] | None = None
        self._session: PostgresSession | None = None
        self._token = 0
        self._is_whole = True

    def __enter__(self) -> PostgresSession:
        """Take a connection and send the beginning, without waiting for an answer."""
        transactions = self._transactions
        target = transactions.target
        transactions.check_open()
        try:
            loan = self._loan = transactions.datastore.pool.take()
            connection = loan.connection
            if connection.is_pooled:
                self._begin = self._begin or _READ_ONCE_POOLED
            self._session = session = PostgresSession(
                connection, transactions.recorder, transactions.clock, self._call
            )
            if self._begin:
                pipeline = self._pipeline = connection.pipeline()
                connection.under_way = pipeline.__enter__()
                connection.execute(self._begin.encode())
                settle_transaction(connection, target)
            if self._begin is READ:
                # Hold whoever makes the tables anew off, and nobody else; take as long
                # as it takes.
                connection.execute(_BEGIN_READING.encode())
                connection.execute(_WITHOUT_HURRY.encode())
            if self._begin is WRITE:
                # Nobody else may draw the same, whatever `random` is seeded with.
                self._token = int.from_bytes(os.urandom(8)) >> (64 - _TOKEN_BITS)
                session.begin_writing(self._token, any_version=self._any_version)
        except DRIVER_ERRORS as error:
            self._end()
            raise store_error(error, target) from error
        except BaseException as error:
            self._note(error)
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
        if self._transactions.is_inherited():
            self._disown()
            if exc_value is None:
                self._transactions.check_open()
            return
        self._note(exc_value)
        try:
            if exc_value is None and self._begin is WRITE:
                began_ns = time.perf_counter_ns()
                self._commit()
                if self._call is not None:
                    self._call.commit_ns = time.perf_counter_ns() - began_ns
        except DRIVER_ERRORS as error:
            raise store_error(error, self._transactions.target) from error
        except BaseException as error:
            self._note(error)
            raise
        finally:
            self._end()
        if isinstance(exc_value, DRIVER_ERRORS):
            raise store_error(exc_value, self._transactions.target) from exc_value

    def _note(self, error: BaseException | None) -> None:
        """Note whether the connection is in a known state after an error.

        An interrupt, or what a signal handler raises, may hit anywhere.
        """
        known = (LeaseholdError, GeneratorExit, *DRIVER_ERRORS)
        if error is not None and not isinstance(error, known):
            self._is_whole = False

    def _commit(self) -> None:
        session = self._session
        if session is None:
            return
        committed = None
        try:
            session.finish()
            committed = session.connection.execute(b"COMMIT")
            if session.is_followed:
                log = {"log": self._transactions.log_name}
                session.connection.execute(_WAKE_FOLLOWERS.encode(), log)
            self._leave_pipeline()
        except DRIVER_ERRORS as error:
            if committed is not None and committed.statusmessage == _COMMITTED:
                if session.is_followed:
                    # They look by themselves, a little later.
                    said = in_one_line(error)
                    _log.warning("followers of the log were not woken: %s", said)
                return
            if not (is_lost(error) or session.connection.closed):
                raise
            if not self._took_effect(session, error):
                raise
        else:
            if committed.statusmessage != _COMMITTED:
                message = "the database undid the call; nothing was written"
                raise StoreError(message)

    def _took_effect(self, session: PostgresSession, error: Exception) -> bool:
        """Say what became of a transaction whose connection broke at its end.

        Raises:
            StoreError: It is not known.
        """
        target = self._transactions.target
        # Nobody else may use the connection while the answer is sought.
        self._end()
        if session.is_brief:
            # The caller has an answer that does not hang on it.
            return False
        if session.first_appended is not None:
            return was_stored(target, self._token, session.first_appended)
        if session.writes_without_events or self._any_version:
            message = (
                f"the connection to {target.shown} broke while the call was being "
                "committed, and it is not known whether it took effect: "
                f"{in_one_line(error)}"
            )
            raise StoreError(message, retryable=True) from error
        # There was nothing to write.
        return True

    def _leave_pipeline(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is None:
            return
        before = sys.exception()
        hidden = None
        try:
            if self._session is not None:
                with suppress(*DRIVER_ERRORS):  # Leaving tells them, too.
                    self._session.connection.send_all()
            pipeline.__exit__(None, None, None)
        except DRIVER_ERRORS as error:
            hidden = _hidden_by(error, before)
            if hidden is not None:
                raise hidden from None
            raise
        finally:
            del before, hidden  # Their tracebacks would keep this frame, and it them.

    def _end(self) -> None:
        """Undo what is not committed and let go of the connection, whatever fails."""
        loan = self._loan
        if loan is None:
            return
        connection = loan.connection
        try:
            if connection is not None:
                connection.under_way = None
                if not self._is_whole:
                    _abandon(connection)
                self._roll_back(connection)
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        finally:
            self._transactions.datastore.pool.give_back(loan)
            self._loan = None

    def _disown(self) -> None:
        """Close a connection that is the parent's, so that the server does not see."""
        loan, self._loan = self._loan, None
        if loan is not None and loan.connection is not None:
            disown(loan.connection)
            self._roll_back(loan.connection)

    def _roll_back(self, connection: Connection) -> None:
        """Undo what is not committed; close a connection that met with an error.

        The driver takes a statement for prepared that the server passed over after an
        error, in the midst of a batch, and would use it later.
        """
        try:
            self._leave_pipeline()
            if connection.pgconn.transaction_status == TransactionStatus.INERROR:
                connection.close()
            elif connection.pgconn.transaction_status != TransactionStatus.IDLE:
                connection.execute(b"ROLLBACK")
        except DRIVER_ERRORS:  # The first one has been told.
            connection.close()


def _hidden_by(
    error: BaseException, before: BaseException | None
) -> BaseException | None:
    """Return the interrupt that the driver answered by an error of its own.

    Args:
        error: The driver's.
        before: What was being handled before the driver was called.
    """
    context = error.__context__
    while context is not None and context is not before:
        if not isinstance(context, _OF_THE_DRIVER):
            return context
        context = context.__context__
    return None


def _abandon(connection: Connection) -> None:
    """Close a connection that the server may still be busy with."""
    with suppress(*DRIVER_ERRORS, OSError):
        if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
            connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)
    connection.close()


def prepare_tables(transactions: Transactions) -> dict[str, int]:
    """Make the tables where there are none; return the versions.

    That of the projections is 0 where one of their tables is gone.

    Raises:
        StoreError: The store is to be read only and holds no ledger, or the server is
            none that can hold one.
    """
    target = transactions.target
    try:
        with transactions.connect() as connection:
            transactions.is_pooled = connection.is_pooled
            _check_server(connection, target)
            with connection.transaction():
                settle_transaction(connection, target)
                stored = schema.versions(connection)
                if not stored:
                    _check_sight(connection, target)
                if not stored and not target.read_only:
                    stored = schema.create(connection, target.schema)
                elif stored:
                    stored["projection_version"] = schema.rows_version(connection)
                    if not target.read_only:
                        schema.make_later_views(connection, stored)
    except DRIVER_ERRORS as error:
        raise store_error(error, target) from error
    if not stored:
        message = f"{target.shown} holds no ledger yet; open it once without read_only"
        raise StoreError(message)
    return stored


def _check_server(connection: Connection, target: Target) -> None:
    if connection.info.server_version < _SERVER_VERSION_LEAST:
        least = _SERVER_VERSION_LEAST // 10_000
        message = (
            f"{target.shown} is PostgreSQL {connection.info.server_version // 10_000}; "
            f"a ledger needs {least} or later"
        )
        raise StoreError(message)
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != _ENCODING:
        message = (
            f"{target.shown} keeps text as {encoding}, which not all text fits in; a "
            "ledger needs a database that was created with ENCODING 'UTF8'"
        )
        raise StoreError(message)


def _check_sight(connection: Connection, target: Target) -> None:
    """Refuse a user who may not look into the schema, where a ledger may well be."""
    if target.schema is not None:
        hidden = connection.execute(_MAY_NOT_LOOK, [target.schema]).rowcount
        if hidden:
            message = (
                f"{target.shown}: the user lacks the right USAGE on the schema; see "
                "the GRANTs in docs/postgresql.md"
            )
            raise StoreError(message)
