"""Look into a ledger as it was: the commands that stand behind `as-of WHEN`."""

from collections.abc import Callable
from typing import Annotated, Final

import typer

from leasehold.adapters.command_line import (
    auditing,
    histories,
    listing,
    moments,
    tenures,
)

COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "list": listing.list_executions,
    "show": listing.show,
    "history": histories.history,
    "frames": histories.frames,
    "tenures": tenures.list_tenures,
    "audit": auditing.audit,
}


def build() -> typer.Typer:
    """Make the group of commands."""
    group = typer.Typer(no_args_is_help=True)
    group.callback()(as_of)
    for name, function in COMMANDS.items():
        group.command(name)(function)
    return group


def as_of(
    context: typer.Context,
    when: Annotated[
        str,
        typer.Argument(
            metavar="WHEN",
            help="A position (12), a time (2025-01-01T09:00:40Z), "
            "ms (@1735722040000), or now.",
        ),
    ],
) -> None:
    """Look into the ledger as it was at a position of the log or at a time.

    What had not happened by then is not there. Best-effort frames are no history.
    """
    context.obj = moments.parse(when)
