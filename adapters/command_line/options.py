"""The options that every command shares, and how a command opens its store."""

from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer

import leasehold

DEFAULT_STORE: Final = "sqlite:///leasehold.db"
_SQLITE_FILE: Final = "sqlite:///"
_SCHEMES: Final = ("sqlite://", "postgresql://", "postgres://")

StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="LEASEHOLD_STORE",
        metavar="URL",
        help="The ledger, such as sqlite:///leasehold.db.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write JSON instead of tables.")
]
ExecutionArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The id of an execution.")
]
ActorOption = Annotated[
    str, typer.Option("--actor", metavar="NAME", help="Who does it, for the record.")
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why, for the record.")
]


def open_to_read(url: str) -> leasehold.Ledger:
    """Open a store that is there, to read from it only."""
    check_store_is_there(url)
    return leasehold.open(url, read_only=True)


def open_to_write(url: str) -> leasehold.Ledger:
    """Open a store that is there. A mistyped path makes no new ledger."""
    check_store_is_there(url)
    return leasehold.open(url)


def check_store_is_there(url: str) -> None:
    """Refuse a store URL under which no ledger can be.

    Raises:
        InvalidInputError: It is no store URL, or one of a private store.
        StoreError: No file is there.
    """
    check_url(url)
    path = sqlite_path(url)
    if path is None or path.exists():
        return
    message = f"there is no ledger at {path}: give --store URL or set LEASEHOLD_STORE"
    raise leasehold.StoreError(message)


def check_url(url: str) -> None:
    """Refuse what is not the URL of a store that two processes can open.

    Raises:
        InvalidInputError: It is not; the message says what would be.
    """
    if not url.startswith(_SCHEMES):
        guess = f"{_SQLITE_FILE}{url}"
        message = f"--store takes a URL, not {url!r}: for that file, {guess}"
        raise leasehold.InvalidInputError(message)
    if url == "sqlite://":
        message = (
            "sqlite:// is private to the process that opens it and empty here: "
            "give the URL of a file, such as sqlite:///leasehold.db"
        )
        raise leasehold.InvalidInputError(message)


def sqlite_path(url: str) -> Path | None:
    """Return the file behind a SQLite URL, None for another store."""
    if not url.startswith(_SQLITE_FILE):
        return None
    return Path(url.removeprefix(_SQLITE_FILE))


def parse_execution_id(text: str) -> UUID:
    """Read an execution id as it was typed.

    Raises:
        InvalidInputError: It is no UUID.
    """
    try:
        return UUID(text)
    except ValueError as error:
        message = f"{text!r} is not an execution id: `leasehold list` shows them"
        raise leasehold.InvalidInputError(message) from error


def find_execution(ledger: leasehold.Ledger, text: str) -> leasehold.ExecutionRow:
    """Return the row of the execution whose id was typed.

    Raises:
        InvalidInputError: The text is no id.
        NotFoundError: The store has no such execution.
    """
    execution_id = parse_execution_id(text)
    row = ledger.read.execution(execution_id)
    if row is None:
        message = f"no execution {execution_id} in this store"
        raise leasehold.NotFoundError(message)
    return row
