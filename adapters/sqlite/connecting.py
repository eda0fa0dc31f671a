"""Connections to an SQLite database, and what their errors mean."""

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from eventsourcing.persistence import ConnectionUnavailableError, PersistenceError
from eventsourcing.sqlite import SQLiteConnection, SQLiteConnectionPool, SQLiteDatastore

from leasehold.domain.errors import StoreError

Durability = Literal["full", "normal"]

BUSY_TIMEOUT_S: Final = 30
JOURNAL_BYTES_MAX: Final = 64 * 1024 * 1024
_STATEMENTS_CACHED: Final = 256
_READERS_MAX: Final = 16
_RETRY_PAUSE_S: Final = 0.01

DRIVER_ERRORS: Final = (sqlite3.Error, PersistenceError)


@dataclass(frozen=True, slots=True)
class Target:
    """Say which database to connect to, and how.

    Attributes:
        path: The file; None for a private database in memory.
    """

    path: Path | None
    durability: Durability
    read_only: bool

    @property
    def database(self) -> str:
        """The name that sqlite3 opens."""
        if self.path is None:
            return ":memory:"
        mode = "ro" if self.read_only else "rwc"
        return f"file:{quote(str(self.path))}?mode={mode}"

    @property
    def shown(self) -> str:
        """The name that people are shown."""
        return "the store in memory" if self.path is None else str(self.path)


class Connection(SQLiteConnection):
    """A pooled connection with its driver's own within reach."""

    def __init__(self, driver: sqlite3.Connection) -> None:
        super().__init__(sqlite_conn=driver, max_age=None)
        self.driver = driver


def driver_of(connection: SQLiteConnection) -> sqlite3.Connection:
    """Return the driver's own connection of a pooled one."""
    if not isinstance(connection, Connection):
        message = f"the pool gave out a {type(connection).__name__}"
        raise TypeError(message)
    return connection.driver


class Pool(SQLiteConnectionPool):
    """A pool whose connections are set up for a ledger.

    The pool's own connections keep one prepared statement each
    (`cached_statements=True`), so that every call would prepare all of its statements
    again; these keep enough.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        in_memory = target.path is None
        super().__init__(
            db_name=target.database,
            lock_timeout=BUSY_TIMEOUT_S,
            pool_size=1 if in_memory else _READERS_MAX,
            max_overflow=0 if in_memory else _READERS_MAX,
            pool_timeout=BUSY_TIMEOUT_S,
        )

    def _create_connection(self) -> Connection:
        driver = sqlite3.connect(
            self.db_name,
            uri=True,
            check_same_thread=False,
            isolation_level=None,
            cached_statements=_STATEMENTS_CACHED,
            timeout=BUSY_TIMEOUT_S,
        )
        try:
            set_up(driver, self.target)
        except BaseException:
            driver.close()
            raise
        return Connection(driver)


def set_up(driver: sqlite3.Connection, target: Target) -> None:
    """Set what a connection has for itself.

    The statement journals are kept in memory: as files-to-be they take and give back
    64 KiB of heap with each statement, which made an INSERT of 16 µs one of 175 µs
    once the heap stood badly (docs/performance.md).
    """
    driver.execute("PRAGMA temp_store = MEMORY")
    if target.path is not None and not target.read_only:
        _enter_wal(driver)
        driver.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}")
    driver.execute(f"PRAGMA synchronous = {target.durability.upper()}")
    if target.durability == "full":
        # Where the system has a stronger sync than fsync (macOS), use it.
        driver.execute("PRAGMA fullfsync = ON")
    if target.read_only:
        driver.execute("PRAGMA query_only = ON")


def _enter_wal(driver: sqlite3.Connection) -> None:
    """Switch to write-ahead logging, once for the file.

    The switch answers busy at once where several processes try it together, without
    the busy timeout, so it is tried again here. Its row has to be fetched: it commits
    after that, and raises where the disk fails.
    """
    give_up_at = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            (mode,) = driver.execute("PRAGMA journal_mode").fetchone()
            if mode != "wal":
                (mode,) = driver.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & _PRIMARY_CODE in _BUSY_CODES
            if not busy or time.monotonic() > give_up_at:
                raise
            time.sleep(_RETRY_PAUSE_S)
        else:
            _check_wal(mode)
            return


def _check_wal(mode: str) -> None:
    """Refuse to go on in another mode, in which SQLite stays without raising.

    It does not sync the deletion of its journal there: a power failure undoes the last
    commit.
    """
    if mode != "wal":
        message = (
            f"write-ahead logging cannot be switched on, the mode is {mode!r}; the "
            "file system must have shared memory: put the file on a local disk"
        )
        raise sqlite3.OperationalError(message)


class Datastore(SQLiteDatastore):
    """The recorder's access to the pool; stream ids are text."""

    def __init__(self, target: Target) -> None:
        self.pool = Pool(target)
        self.single_row_tracking = True
        self.originator_id_type = "text"


_MEANINGS: Final[dict[int, str]] = {
    sqlite3.SQLITE_FULL: "the disk (or the page limit of the database) is full",
    sqlite3.SQLITE_READONLY: (
        "it or its directory is read-only; SQLite must be able to write beside it, "
        "also to read: check the rights, or read a copy"
    ),
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database",
    sqlite3.SQLITE_CORRUPT: "the database is damaged; restore it from a copy",
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened; SQLite must be able to write beside it, also to read: "
        "check the rights of file and directory, or read a copy"
    ),
    sqlite3.SQLITE_IOERR: "the disk failed",
    sqlite3.SQLITE_PERM: "access is denied; check the rights of file and directory",
}
_PRIMARY_CODE: Final = 0xFF
_UNSURE: Final = (
    "the disk failed to sync; nothing was written, unless all processes that have the "
    "file open die before the next write: the call may be there then, whole"
)
_NOT_UTF8: Final = "Could not decode to UTF-8"
_BUSY_CODES: Final = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    # Another process did not let go of the locks that reading begins with.
    sqlite3.SQLITE_PROTOCOL,
)


def store_error(error: Exception, target: Target) -> StoreError:
    """Say what an error of the driver or of the pool means for the caller."""
    extended_code = getattr(error, "sqlite_errorcode", 0)
    code = extended_code & _PRIMARY_CODE
    if code in _BUSY_CODES or isinstance(error, ConnectionUnavailableError):
        message = (
            f"{target.shown} was busy for {BUSY_TIMEOUT_S} s or more: other "
            "transactions hold it; nothing was written, try again"
        )
        return StoreError(message, code="store_busy", retryable=True)
    if isinstance(error, sqlite3.OperationalError) and _NOT_UTF8 in str(error):
        message = (
            f"{target.shown}: a text in it is not UTF-8: it was changed by hand "
            f"({error})"
        )
        return StoreError(message, code="corrupt_event")
    meaning = _MEANINGS.get(code)
    if extended_code == sqlite3.SQLITE_IOERR_FSYNC:
        meaning = _UNSURE
    if meaning is None:
        return StoreError(f"{target.shown}: {type(error).__name__}: {error}")
    return StoreError(f"{target.shown}: {meaning} ({error})")
