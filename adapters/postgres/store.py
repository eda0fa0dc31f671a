"""The store in a PostgreSQL database."""

from collections.abc import Callable
from typing import Any, Final

from psycopg.rows import dict_row

from leasehold.adapters.metering import Call
from leasehold.adapters.postgres import schema
from leasehold.adapters.postgres.connecting import settle_transaction
from leasehold.adapters.postgres.failures import DRIVER_ERRORS, store_error
from leasehold.adapters.postgres.session import PostgresSession
from leasehold.adapters.postgres.target import Target
from leasehold.adapters.postgres.transacting import (
    READ,
    READ_ONCE,
    WRITE,
    Transaction,
    Transactions,
    prepare_tables,
)
from leasehold.adapters.postgres.triggers import triggers_off
from leasehold.adapters.postgres.watching import Listening
from leasehold.adapters.queries import named_queries
from leasehold.adapters.store import Answer, Clock, Polling, told_of_triggers
from leasehold.adapters.versions import check_versions
from leasehold.domain.errors import StoreError
from leasehold.domain.handles import BackendTag
from leasehold.projections.registry import PROJECTION_VERSION

_FACTS: Final = named_queries(__package__, "statements")["facts"]


class PostgresStore:
    """A database that a ledger lives in, with a pool of connections to it."""

    def __init__(self, target: Target, clock: Clock | None = None) -> None:
        """Prepare to connect; `prepare` makes sure of the tables.

        Args:
            target: The database.
            clock: Returns now in ms; the server's clock where none is given.
        """
        self.target = target
        self._transactions = Transactions(target, clock)

    @property
    def backend(self) -> BackendTag:
        """PostgreSQL."""
        return BackendTag.POSTGRES

    @property
    def shown(self) -> str:
        """The url without the password."""
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
        stored = prepare_tables(self._transactions)
        check_versions(stored, schema.SCHEMA_VERSION, shown=self.shown)
        return stored["projection_version"] < PROJECTION_VERSION

    def close(self) -> None:
        """Close the connections; a second call does nothing."""
        self._transactions.close()

    def read(
        self,
        *,
        once: bool = False,
        any_text: bool = False,  # noqa: ARG002 - the server keeps no other text
    ) -> Transaction:
        """Open a session over one consistent view.

        Args:
            once: Whether a single query is all that it is for.
            any_text: Without effect.
        """
        return self._transactions.begin(READ_ONCE if once else READ)

    def write(
        self, *, any_version: bool = False, call: Call | None = None
    ) -> Transaction:
        """Open a session that writes; what it changes it has to lock.

        Args:
            any_version: Whether the tables may be of another version: to make them,
                while nobody else writes.
            call: Is told how long the commit took.

        Raises:
            StoreError: The store was opened to be read only; `schema_version`: another
                version has changed the tables since.
        """
        if self.target.read_only:
            message = f"{self.shown} was opened with read_only=True"
            raise StoreError(message)
        return self._transactions.begin(WRITE, any_version=any_version, call=call)

    def transact(self, call: Call, act: Callable[[PostgresSession], Answer]) -> Answer:
        """Do what a call does in a transaction of its own.

        Args:
            call: Is told how long the commit took.
            act: What it does.

        Raises:
            StoreError: As for `write`, or the commit failed.
        """
        with self.write(call=call) as session:
            return act(session)

    def watch(self) -> Polling | Listening:
        """Return something by which to wait for commits, of any process.

        A pooler that gives transactions connections in turn passes no notices on.
        """
        if self._transactions.is_pooled:
            return Polling()
        return Listening(self._transactions)

    def facts(self) -> dict[str, str | int]:
        """Return versions, durability, sizes and what holds readers back, by name."""
        try:
            with (
                self._transactions.connect() as connection,
                connection.transaction(),
            ):
                settle_transaction(connection, self.target)
                versions = schema.versions(connection)
                clock = self._transactions.clock
                cursor = connection.cursor(row_factory=dict_row)
                found: dict[str, Any] = cursor.execute(_FACTS).fetchall()[0]
                found["triggers"] = told_of_triggers(triggers_off(connection))
        except DRIVER_ERRORS as error:
            raise store_error(error, self.target) from error
        return {
            "backend": self.backend.value,
            "backend_version": found.pop("backend_version"),
            **versions,
            "durability": self.target.durability,
            **{name: value for name, value in found.items() if value is not None},
            **({} if clock is None else {"at_ms": clock()}),
        }
