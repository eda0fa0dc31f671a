"""Opening a ledger: from a url to a store, its tables made or rebuilt."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from leasehold.adapters.ledger import Ledger
from leasehold.adapters.rebuilding import rebuild_projections
from leasehold.adapters.sqlite.connecting import Target
from leasehold.adapters.sqlite.forking import is_inherited
from leasehold.adapters.sqlite.store import SQLiteStore
from leasehold.adapters.store import Clock, Store
from leasehold.domain.errors import InvalidInputError, StoreError

URL_DEFAULT: Final = "sqlite:///leasehold.db"

_SQLITE_MEMORY: Final = "sqlite://"
_SQLITE_FILE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://")
_FORMS: Final = (
    "sqlite:///name.db, sqlite:////absolute/name.db, sqlite:// (in memory) "
    "or postgresql://…"
)


def open_ledger(
    url: str = URL_DEFAULT,
    *,
    clock: Callable[[], int] | None = None,
    durability: str = "full",
    read_only: bool = False,
) -> Ledger:
    """Open a ledger, making its store when there is none.

    Args:
        url: `sqlite:///name.db` (a file, relative), `sqlite:////abs/name.db`,
            `sqlite://` (private, in memory, gone when closed) or
            `postgresql://user@host/database` (with the extra `postgres`).
        clock: Returns now in ms since the Unix epoch; the store's where none is
            given: the host's for SQLite, the server's for PostgreSQL.
        durability: `full`: a returned call survives power loss. `normal`: it
            survives a crash of the process; the last commits may be lost at power
            loss (on PostgreSQL also at a crash of the server), never torn.
        read_only: Never create, migrate or write.

    Raises:
        InvalidInputError: The url or the durability is none of these.
        StoreError: The store cannot be opened, or was written by a later version of
            leasehold (`schema_version`).
    """
    if clock is not None and not callable(clock):
        message = "clock must be a callable that returns milliseconds as an int"
        raise InvalidInputError(message)
    store = _store(url, clock, durability, read_only=read_only)
    try:
        _prepare(store)
    except BaseException:
        store.close()
        raise
    return Ledger(store, make_private=_private_store)


def _store(url: str, clock: Clock | None, durability: str, *, read_only: bool) -> Store:
    if durability not in ("full", "normal"):
        message = f"durability must be 'full' or 'normal'; got {durability!r}"
        raise InvalidInputError(message)
    known: Literal["full", "normal"] = "full" if durability == "full" else "normal"
    if not isinstance(url, str):
        kind = type(url).__name__
        message = f"url must be text, one of {_FORMS}; got {kind}"
        raise InvalidInputError(message)
    if url.startswith(_POSTGRES):
        return _postgres_store(url, clock, known, read_only=read_only)
    target = _sqlite_target(url, known, read_only=read_only)
    return SQLiteStore(target, clock)


def _postgres_store(
    url: str,
    clock: Clock | None,
    durability: Literal["full", "normal"],
    *,
    read_only: bool,
) -> Store:
    """Make the store; its driver is imported by those alone who have it."""
    try:
        from leasehold.adapters.postgres.store import PostgresStore  # noqa: PLC0415
        from leasehold.adapters.postgres.target import parse_url  # noqa: PLC0415
    except ImportError as error:
        message = (
            f"PostgreSQL needs the extra `postgres` ({error}): "
            "pip install 'leasehold[postgres]'"
        )
        raise StoreError(message) from error
    return PostgresStore(parse_url(url, durability, read_only=read_only), clock)


def _private_store(clock: Clock) -> Store:
    return SQLiteStore(Target(None, "normal", read_only=False), clock)


def _prepare(store: Store) -> None:
    if not store.prepare():
        return
    if store.read_only:
        message = (
            f"the projections of {store.shown} are of an earlier version, or gone; "
            "open it once without read_only, so that they are rebuilt from the events"
        )
        raise StoreError(message, code="schema_version")
    rebuild_projections(store, only_older=True)


def _sqlite_target(
    url: str, durability: Literal["full", "normal"], *, read_only: bool
) -> Target:
    path = _sqlite_path(url)
    if path is None and read_only:
        message = "a store in memory begins empty: read_only=True makes no sense for it"
        raise InvalidInputError(message)
    if path is not None:
        _check_path(path, read_only=read_only)
        if is_inherited(path):
            message = (
                f"this process was forked while a call on {path} was under way, and "
                "SQLite cannot open that file here any more; start the process anew "
                "(multiprocessing: the start method 'spawn')"
            )
            raise StoreError(message)
    return Target(path=path, durability=durability, read_only=read_only)


def _sqlite_path(url: str) -> Path | None:
    if url == _SQLITE_MEMORY:
        return None
    if url == f"{_SQLITE_FILE}:memory:":
        message = f"a store in memory has the url {_SQLITE_MEMORY!r}; got {url!r}"
        raise InvalidInputError(message)
    name = url.removeprefix(_SQLITE_FILE)
    if not url.startswith(_SQLITE_FILE) or not _is_file_name(name):
        message = f"url must be one of {_FORMS}; got {_without_secrets(url)!r}"
        raise InvalidInputError(message)
    return Path(name).absolute()


def _without_secrets(url: str) -> str:
    """Leave out what may hold a password: all but the scheme of what names a user."""
    scheme, found, rest = url.partition(":")
    return f"{scheme}:…" if found and ("@" in rest or "password" in rest) else url


def _is_file_name(name: str) -> bool:
    """Say whether a name can be a file's; options after a `?` are none of ours."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return False
    return bool(encoded) and b"\0" not in encoded and b"?" not in encoded


def _check_path(path: Path, *, read_only: bool) -> None:
    try:
        if not path.parent.is_dir():
            message = (
                f"the directory {path.parent} of {path} is not there; make it first"
            )
            raise StoreError(message)
        if path.is_dir():
            message = f"{path} is a directory; name a file in it"
            raise StoreError(message)
        if read_only and not path.exists():
            message = f"{path} is not there, and read_only=True does not create it"
            raise StoreError(message)
    except OSError as error:
        message = f"{path} cannot be reached: {error.strerror}"
        raise StoreError(message) from error
