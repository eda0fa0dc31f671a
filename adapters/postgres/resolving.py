"""Finding out what became of a transaction whose end nobody acknowledged."""

import time
from typing import Final

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg import errors
from psycopg.rows import tuple_row

from leasehold.adapters.postgres.connecting import Connection, connect
from leasehold.adapters.postgres.failures import is_lost
from leasehold.adapters.postgres.target import Target
from leasehold.adapters.queries import named_queries
from leasehold.domain.errors import StoreError

PATIENCE_S: Final = 10.0
"""How long to ask, before saying that it is not known."""

_PAUSE_S: Final = 0.2
_LOCKING: Final = named_queries(__package__, "locking")


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
    while True:
        try:
            with connect(target) as connection:
                return _ask(connection, token, stored, give_up_at)
        except psycopg.Error as error:
            reason = " ".join(str(error).split())
            waits = is_lost(error) or isinstance(error, errors.LockNotAvailable)
            if not waits or time.monotonic() + _PAUSE_S > give_up_at:
                break
        time.sleep(_PAUSE_S)
    message = (
        f"the connection to {target.shown} broke while the call was being committed, "
        f"and it is not known whether it took effect: {reason}. Its first event would "
        f"be version {stored.originator_version} of stream {stored.originator_id}; "
        "look there, or repeat the call where that is safe (an execution created with "
        "an id or a key, complete and fail with the same arguments)"
    )
    raise StoreError(message)


def _ask(
    connection: Connection, token: int, stored: StoredEvent, give_up_at: float
) -> bool:
    left_ms = max(1, round((give_up_at - time.monotonic()) * 1000))
    place = {
        "stream_id": stored.originator_id,
        "version": stored.originator_version,
    }
    with connection.transaction():
        connection.execute(
            "SELECT set_config('lock_timeout', %s, TRUE)", [f"{left_ms // 2 + 1}ms"]
        )
        try:
            with connection.transaction():
                connection.execute(_LOCKING["wait_for_end"], {"token": token})
        except errors.LockNotAvailable:
            # The server still waits for a client that is gone.
            connection.execute(_LOCKING["end_holder"], {"token": token})
            connection.execute(_LOCKING["wait_for_end"], {"token": token})
        cursor = connection.cursor(row_factory=tuple_row)
        row = cursor.execute(_LOCKING["stored_state"], place).fetchone()
    return row is not None and row[0] == stored.state
