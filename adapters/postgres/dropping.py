"""Dropping schemas that were made for a while."""

from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg.sql import SQL, Identifier

from leasehold.adapters.postgres.connecting import connect
from leasehold.adapters.postgres.failures import store_error
from leasehold.adapters.postgres.target import parse_url
from leasehold.domain.errors import StoreError

_DROP: Final = SQL("DROP SCHEMA IF EXISTS {} CASCADE")


def drop(url: str, schemas: Sequence[str]) -> None:
    """Drop schemas with all that is in them; those that are not there are passed over.

    Args:
        url: Of the database; names no schema.
        schemas: Their names.

    Raises:
        StoreError: One could not be dropped; the message names what is left.
    """
    target = parse_url(url, "full", read_only=False)
    left = list(schemas)
    try:
        with connect(target) as connection:
            while left:
                connection.execute(_DROP.format(Identifier(left[0])))
                del left[0]
    except psycopg.Error as error:
        message = f"the schemas {', '.join(left)} may be left: drop them"
        raise StoreError(f"{store_error(error, target)}; {message}") from error
