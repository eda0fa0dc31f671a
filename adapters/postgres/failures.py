"""What the errors of the driver mean for the caller."""

from typing import Final

import psycopg
from eventsourcing.persistence import ConnectionUnavailableError, PersistenceError
from psycopg import errors

from leasehold.adapters.postgres.connecting import BUSY_TIMEOUT_S
from leasehold.adapters.postgres.target import Target
from leasehold.domain.errors import StoreError

DRIVER_ERRORS: Final = (psycopg.Error, PersistenceError)

_BUSY: Final = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
)
_MEANINGS: Final[dict[str, str]] = {
    "25006": "the server takes no writes: it is a standby, or set to be read only",
    "28000": "the server does not let this user in",
    "28P01": "the server does not let this user in: the password is wrong",
    "3D000": "there is no such database on the server; create it first",
    "3F000": (
        "the schema is not there: open it once without read_only, as a user who may "
        "create it, or leave it to the administrator"
    ),
    "42501": "the user lacks a right; see the GRANTs in docs/how-to/postgresql.md",
    "53100": "the server's disk is full",
    "53300": "the server takes no more connections; lower pool_size in the url",
}


def store_error(error: Exception, target: Target) -> StoreError:
    """Say what an error of the driver or of the pool means; nothing was written."""
    shown = target.shown
    if isinstance(error, ConnectionUnavailableError):
        message = (
            f"all {target.pool_size} connections to {shown} were in use for "
            f"{BUSY_TIMEOUT_S} s; nothing was written, try again, or raise pool_size "
            "in the url"
        )
        return StoreError(message, code="store_busy", retryable=True)
    if isinstance(error, _BUSY):
        message = (
            f"{shown} was busy: other transactions hold what this call needs "
            f"({_first_line(error)}); nothing was written, try again"
        )
        return StoreError(message, code="store_busy", retryable=True)
    if is_lost(error):
        message = (
            f"{shown} cannot be reached ({_first_line(error)}); nothing was written, "
            "the call can be repeated"
        )
        return StoreError(message, retryable=True)
    meaning = _MEANINGS.get(getattr(error, "sqlstate", None) or "")
    if meaning is None:
        return StoreError(f"{shown}: {type(error).__name__}: {_first_line(error)}")
    return StoreError(f"{shown}: {meaning} ({_first_line(error)})")


def is_lost(error: Exception) -> bool:
    """Say whether an error means that the connection is gone, or never came to be."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    sqlstate = error.sqlstate
    return sqlstate is None or sqlstate[:2] in ("08", "57")


def _first_line(error: Exception) -> str:
    """Return what the server said, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
