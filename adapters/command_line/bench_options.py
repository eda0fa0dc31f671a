"""The options that `bench` and `bench soak` share, checked at the door."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import leasehold


class Durability(StrEnum):
    """What a returned call survives."""

    FULL = "full"
    NORMAL = "normal"


FolderOption = Annotated[
    Path,
    typer.Option(
        "--folder",
        metavar="FOLDER",
        help="Where to put the SQLite files, to choose the disk; they are removed.",
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="A PostgreSQL database instead, without a schema: schemas of its own are "
        "made there and dropped.",
    ),
]
DurabilityOption = Annotated[
    Durability, typer.Option("--durability", help="What calls survive: power loss?")
]


def check_more_than_nothing(name: str, value: float) -> float:
    """Refuse a number that is not above 0, or not a number.

    Raises:
        InvalidInputError: It is not.
    """
    if not 0 < value < float("inf"):
        message = f"{name} takes a number above 0; got {value}"
        raise leasehold.InvalidInputError(message)
    return value
