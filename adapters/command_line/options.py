"""The options that every command shares, and how a command opens its store."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

import typer

import leasehold
from leasehold.adapters.command_line import moments, progressing, store_urls

DEFAULT_STORE = store_urls.DEFAULT_STORE

StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="LEASEHOLD_STORE",
        metavar="URL",
        help="The ledger: sqlite:///leasehold.db, postgresql://host/db …",
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


@contextmanager
def reading(context: typer.Context, url: str) -> Iterator[leasehold.Reader]:
    """Open a store that is there and give its read side, as of the moment asked for.

    That is now, unless the command stands behind `as-of`. Print what was read when
    this is over: until then a bar may be shown.
    """
    moment = context.find_object(moments.Moment)
    with open_to_read(url) as ledger:
        if moment is None:
            yield ledger.read
            return
        moments.check_reached(moment, ledger)
        with (
            progressing.meter("replaying", moment.position) as meter,
            ledger.as_of(moment.position, moment.at_ms, progress=meter) as read,
        ):
            try:
                yield read
            except leasehold.NotFoundError as error:
                message = f"{error} as it was at {moment}"
                raise leasehold.NotFoundError(message) from error


def open_to_write(url: str) -> leasehold.Ledger:
    """Open a store that is there. A mistyped path or schema makes no new ledger."""
    check_store_is_there(url)
    if store_urls.is_postgres(url):
        check_schema_holds_a_ledger(url)
    return leasehold.open(url)


def check_store_is_there(url: str) -> None:
    """Refuse a store URL under which no ledger can be.

    Raises:
        InvalidInputError: It is no store URL, or one of a private store.
        StoreError: No file is there.
    """
    store_urls.check_url(url)
    path = store_urls.sqlite_path(url)
    if path is None or path.exists():
        return
    message = f"there is no ledger at {path}: give --store URL or set LEASEHOLD_STORE"
    raise leasehold.StoreError(message)


def check_schema_holds_a_ledger(url: str) -> None:
    """Refuse a PostgreSQL URL that writing would make a ledger at.

    Raises:
        StoreError: There is none, or it cannot be reached.
    """
    try:
        leasehold.open(url, read_only=True).close()
    except leasehold.StoreError as error:
        # It is there, and opening it to write may bring it up to date.
        if error.code != "schema_version":
            raise


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


def find_execution(read: leasehold.Reader, text: str) -> leasehold.ExecutionRow:
    """Return the row of the execution whose id was typed.

    Raises:
        InvalidInputError: The text is no id.
        NotFoundError: The store has no such execution.
    """
    execution_id = parse_execution_id(text)
    row = read.execution(execution_id)
    if row is None:
        message = f"no execution {execution_id} in this store"
        raise leasehold.NotFoundError(message)
    return row
