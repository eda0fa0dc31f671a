"""What the errors of the driver mean for the caller."""

import re
from dataclasses import dataclass
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
_NO_WRITES: Final = (
    "the server takes no writes: it is a standby, or set to be read only"
)
_NOT_LET_IN: Final = "the server does not let this user in"
_WRONG_PASSWORD: Final = f"{_NOT_LET_IN}: the password is wrong"
_NO_DATABASE: Final = "there is no such database on the server; create it first"
_IS_FULL: Final = (
    "the server takes no more connections; lower pool_size in the url, or try again"
)
_NOT_PREPARED: Final = (
    "statements were prepared on another connection of the server than they were used "
    "on; with a pooler in between, put transaction_pooling=on into the url"
)
_MEANINGS: Final[dict[str, str]] = {
    "25006": _NO_WRITES,
    "28000": _NOT_LET_IN,
    "28P01": _WRONG_PASSWORD,
    "3D000": _NO_DATABASE,
    "3F000": (
        "the schema is not there: open it once without read_only, as a user who may "
        "create it, or leave it to the administrator"
    ),
    "42501": "the user lacks a right; see the GRANTs in docs/postgresql.md",
    "26000": _NOT_PREPARED,
    "42P01": "a table of the ledger is gone; somebody has dropped it",
    "42P05": _NOT_PREPARED,
    "53100": "the server's disk is full",
    "53300": _IS_FULL,
    "57014": (
        "the server cancelled the statement: by its statement_timeout, or because "
        "somebody asked it to"
    ),
    "58030": "the server's disk failed",
    "XX001": "the server says that its files are damaged",
    "XX002": "the server says that its files are damaged",
}
_PASSES: Final = ("53100", "53300", "57014")
"""States that may be over when the call is repeated."""

_LOST: Final = ("25P03", "25P04")
"""States in which the server ends a connection, beside the classes 08 and 57."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """What a server says when it refuses a connection; libpq gives no state for it.

    A server that speaks another language than English is quoted as it is.
    """

    words: str
    meaning: str
    retryable: bool = False


_AT_THE_DOOR: Final = (
    _Refused("no password supplied", f"{_NOT_LET_IN} without a password"),
    _Refused("password authentication failed", _WRONG_PASSWORD),
    _Refused(r'database ".*" does not exist|no such database', _NO_DATABASE),
    _Refused(
        r'pg_hba\.conf|authentication failed|role ".*" does not exist|no such user|'
        "not permitted to log in|permission denied for database",
        _NOT_LET_IN,
    ),
    _Refused(
        "too many (connections|clients)|remaining connection slots|no more connections",
        _IS_FULL,
        retryable=True,
    ),
    _Refused(
        "statement pooling mode",
        "the pooler in between is in its mode `statement`, and a call is a "
        "transaction; set it to `transaction` or `session`",
    ),
    _Refused("session is read-only|server is in hot standby mode", _NO_WRITES),
)


def store_error(error: Exception, target: Target) -> StoreError:
    """Say what an error of the driver or of the pool means; nothing was written."""
    shown, said = target.shown, in_one_line(error)
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
            f"({said}); nothing was written, try again"
        )
        return StoreError(message, code="store_busy", retryable=True)
    if is_lost(error):
        return _lost(said, shown)
    sqlstate = getattr(error, "sqlstate", None) or ""
    meaning = _MEANINGS.get(sqlstate)
    if meaning is not None:
        message = f"{shown}: {meaning} ({said}); nothing was written"
    elif isinstance(error, errors.RaiseException):
        # By a function of ours.
        told = error.diag.message_primary or said, error.diag.message_hint
        message = f"{shown}: {'. '.join(filter(None, told))}"
    else:
        message = f"{shown}: {type(error).__name__}: {said}"
    return StoreError(message, retryable=sqlstate in _PASSES)


def _lost(said: str, shown: str) -> StoreError:
    for refused in _AT_THE_DOOR:
        if re.search(refused.words, said):
            message = f"{shown}: {refused.meaning} ({said})"
            return StoreError(message, retryable=refused.retryable)
    message = (
        f"{shown} cannot be reached ({said}); nothing was written, "
        "the call can be repeated"
    )
    return StoreError(message, retryable=True)


def is_lost(error: Exception) -> bool:
    """Say whether an error means that the connection is gone, or never came to be."""
    if isinstance(error, errors.QueryCanceled | errors.PipelineAborted):
        return False
    if not isinstance(error, psycopg.Error):
        return False
    sqlstate = error.sqlstate
    if sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return sqlstate[:2] in ("08", "57") or sqlstate in _LOST


def in_one_line(error: Exception) -> str:
    """Return what the server said, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
