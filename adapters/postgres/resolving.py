"""Finding out what became of a transaction whose end nobody acknowledged."""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg import errors
from psycopg.rows import tuple_row

from leasehold.adapters.postgres.connecting import (
    Connection,
    connect,
    settle_transaction,
)
from leasehold.adapters.postgres.failures import in_one_line, is_lost
from leasehold.adapters.postgres.target import CONNECT_TIMEOUT_S, Target
from leasehold.adapters.queries import named_queries
from leasehold.domain.errors import StoreError

PATIENCE_S: Final = 10.0
"""How long to ask, before saying that it is not known."""

_GRACE_S: Final = 0.3
_PAUSE_S: Final = 0.2
_CONNECT_TIMEOUT_S_LEAST: Final = 2
_STATEMENTS: Final = named_queries(__package__, "statements")

_Found = bool | str
"""Whether it was stored, or why that is not known."""


def was_stored(target: Target, token: int, stored: StoredEvent) -> bool:
    """Say whether a transaction was committed, when its connection broke at the end.

    Waits until the server has ended it, one way or the other: it holds a lock of its
    own until then. Then its first event is there or it is not; its stream and version
    say where, and its bytes that it is the same.

    Args:
        target: The database.
        token: The number of the lock that the transaction holds.
        stored: Its first event.

    Raises:
        StoreError: It is not known.
    """
    give_up_at = time.monotonic() + PATIENCE_S
    found = _in_time(lambda: _search(target, token, stored, give_up_at))
    if isinstance(found, bool):
        return found
    message = (
        f"the connection to {target.shown} broke while the call was being committed, "
        f"and it is not known whether it took effect: {found}. Its first event would "
        f"be version {stored.originator_version} of stream {stored.originator_id}; "
        "look there, or repeat the call where that is safe (an execution created with "
        "an id or a key, complete and fail with the same arguments)"
    )
    raise StoreError(message)


def _in_time(search: Callable[[], _Found]) -> _Found:
    """Search in a thread of its own: a server that falls silent is not waited for."""
    answers: SimpleQueue[_Found] = SimpleQueue()

    def answer() -> None:
        answers.put(search())

    try:
        Thread(target=answer, name="leasehold-resolving", daemon=True).start()
    except RuntimeError:  # The interpreter is about to exit: there are no more threads.
        return search()
    try:
        return answers.get(timeout=PATIENCE_S + _GRACE_S)
    except Empty:
        return f"the server did not answer within {PATIENCE_S:g} s"


def _search(
    target: Target, token: int, stored: StoredEvent, give_up_at: float
) -> _Found:
    reason = "there was no time to ask"
    while (left_s := give_up_at - time.monotonic()) > 0:
        timeout_s = min(CONNECT_TIMEOUT_S, max(_CONNECT_TIMEOUT_S_LEAST, int(left_s)))
        try:
            with connect(target, timeout_s=timeout_s) as connection:
                found = _ask(connection, target, token, stored, give_up_at)
            if found is not None:
                return found
            reason = "only a standby answers, which may lag behind"
        except psycopg.Error as error:
            reason = in_one_line(error)
            if not (is_lost(error) or isinstance(error, errors.LockNotAvailable)):
                break
        time.sleep(_PAUSE_S)
    return reason


def _ask(
    connection: Connection,
    target: Target,
    token: int,
    stored: StoredEvent,
    give_up_at: float,
) -> bool | None:
    """Wait for the transaction to end and look for its event; None on a standby."""
    left_ms = max(1, round((give_up_at - time.monotonic()) * 1000))
    place = {
        "stream_id": stored.originator_id,
        "version": stored.originator_version,
    }
    with connection.transaction():
        settle_transaction(connection, target)
        cursor = connection.cursor(row_factory=tuple_row)
        if cursor.execute("SELECT pg_is_in_recovery()").fetchall() == [(True,)]:
            return None
        connection.execute(
            "SELECT set_config('lock_timeout', %s, TRUE)", [f"{left_ms // 2 + 1}ms"]
        )
        try:
            with connection.transaction():
                connection.execute(_STATEMENTS["wait_for_end"], {"token": token})
        except errors.LockNotAvailable:
            # The server still waits for a client that is gone.
            connection.execute(_STATEMENTS["end_holder"], {"token": token})
            connection.execute(_STATEMENTS["wait_for_end"], {"token": token})
        row = cursor.execute(_STATEMENTS["stored_state"], place).fetchone()
    return row is not None and row[0] == stored.state
