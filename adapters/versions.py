"""The versions that a store was written by, and which of them this one can read."""

from collections.abc import Iterable
from typing import Final

from leasehold.adapters.store import Row
from leasehold.domain.errors import StoreError
from leasehold.projections.registry import PROJECTION_VERSION

_NAMES: Final = ("schema_version", "projection_version")


def read_versions(rows: Iterable[Row]) -> dict[str, int]:
    """Return the versions in the rows of `leasehold_meta`, keys and values.

    Raises:
        StoreError: `schema_version`: the table is not as it was made.
    """
    stored = {row[0]: row[1] for row in rows}
    try:
        return {name: int(stored[name]) for name in _NAMES}
    except (KeyError, ValueError, TypeError):
        message = (
            f"leasehold_meta must hold the numbers {' and '.join(_NAMES)}, and "
            f"holds {stored}: it was changed by hand; restore it or the store"
        )
        raise StoreError(message, code="schema_version") from None


def check_versions(stored: dict[str, int], schema_version: int, *, shown: str) -> None:
    """Refuse a store that a later version of leasehold wrote.

    Args:
        stored: By name.
        schema_version: The latest schema that is known for this database.
        shown: The name of the store for people.

    Raises:
        StoreError: `schema_version`.
    """
    known = {"schema_version": schema_version, "projection_version": PROJECTION_VERSION}
    for key, most in known.items():
        if stored.get(key, 0) > most:
            message = (
                f"{shown} was written by a later version of leasehold: its {key} is "
                f"{stored[key]}, this one reads up to {most}; install a later leasehold"
            )
            raise StoreError(message, code="schema_version")


def changed_meanwhile(found: dict[str, int], schema_version: int) -> StoreError:
    """Say that another version took the store over while this ledger was open."""
    message = (
        "another version of leasehold has changed the tables while this ledger was "
        f"open: schema_version {found['schema_version']}, projection_version "
        f"{found['projection_version']}, and this one writes {schema_version} and "
        f"{PROJECTION_VERSION}; open the ledger again with that version"
    )
    return StoreError(message, code="schema_version")
