"""Waiting for commits on PostgreSQL: by the server's notices."""

import os
from threading import Event
from typing import Final

from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier

from leasehold.adapters.postgres.connecting import Connection
from leasehold.adapters.postgres.failures import DRIVER_ERRORS, store_error
from leasehold.adapters.postgres.transacting import Transactions
from leasehold.adapters.queries import named_queries

_FOLLOW: Final = named_queries(__package__, "statements")["follow"]
_BROKEN_PAUSE_S: Final = 0.1


class Listening:
    """A connection of its own on which the server tells of commits.

    A notice may be missing (a writer that dies between its commit and the notice):
    whoever waits looks again now and then.
    """

    def __init__(self, transactions: Transactions) -> None:
        """Prepare; the connection is made when the watch begins."""
        self._transactions = transactions
        self._connection: Connection | None = None

    def begin(self) -> None:
        """Listen from now on.

        Raises:
            StoreError: The server cannot be reached.
        """
        self._transactions.check_open()
        if self._connection is not None and not self._connection.closed:
            return
        try:
            connection = self._connection = self._transactions.connect()
            cursor = connection.cursor(row_factory=tuple_row)
            ((channel, _),) = cursor.execute(_FOLLOW).fetchall()
            connection.execute(SQL("LISTEN {}").format(Identifier(channel)))
        except DRIVER_ERRORS as error:
            self.close()
            raise store_error(error, self._transactions.target) from error

    def wait(self, timeout_s: float, stopped: Event) -> None:
        """Wait for a notice, at most so long.

        A connection that breaks ends the wait: whether the server is still there shows
        when the log is read.

        Raises:
            StoreError: The server cannot be reached.
        """
        self.begin()
        connection = self._connection
        if connection is None or stopped.is_set():
            return
        try:
            for _ in connection.notifies(timeout=timeout_s, stop_after=1):
                pass
        except DRIVER_ERRORS:
            self.close()
            stopped.wait(min(timeout_s, _BROKEN_PAUSE_S))

    def close(self) -> None:
        """Close the connection; in a forked child it is the parent's."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._transactions.is_inherited():
            # Else the server would be told that the parent goes.
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, connection.fileno())
            os.close(nothing)
        connection.close()
