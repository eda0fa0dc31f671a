"""Which PostgreSQL database to connect to, and how: the url and its options."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from leasehold.domain.errors import InvalidInputError

Durability = Literal["full", "normal"]

POOL_SIZE_DEFAULT: Final = 16
POOL_SIZE_MAX: Final = 1_000
SCHEMA_BYTES_MAX: Final = 63
CONNECT_TIMEOUT_S: Final = 5

_DEFAULTS: Final[dict[str, str | int]] = {
    "application_name": "leasehold",
    "connect_timeout": CONNECT_TIMEOUT_S,
    # A host that fell silent is noticed within half a minute, not after hours.
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_SWITCH: Final = {"on": True, "off": False}
_LOSES_EVENTS: Final = "POSTGRES_ENABLE_DB_FUNCTIONS"
_TRUE: Final = ("y", "yes", "t", "true", "on", "1")


@dataclass(frozen=True, slots=True)
class Target:
    """Say which database to connect to, and how.

    Attributes:
        conninfo: What libpq is given.
        schema: Where the tables are; None for the connection's default schema.
        pool_size: How many connections at most, 1 … 1000.
        transaction_pooling: Whether a pooler between here and the server may give
            every transaction another connection of the server.
        durability: As of `leasehold.open`.
        read_only: As of `leasehold.open`.
        shown: The name that people are shown, without the password.
    """

    conninfo: str
    schema: str | None
    pool_size: int
    transaction_pooling: bool
    durability: Durability
    read_only: bool
    shown: str


def parse_url(url: str, durability: Durability, *, read_only: bool) -> Target:
    """Read a url: `postgresql://user@host:port/database?options`.

    Options of our own are `schema`, `pool_size` (1 … 1000) and `transaction_pooling`
    (`on`, `off`); all others are libpq's.

    Raises:
        InvalidInputError: It is none, or an option breaks its rule; or the environment
            asks for a mode of `eventsourcing` that loses events.
    """
    _refuse_the_mode_that_loses_events()
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        if urlsplit(url).query:
            message = f"the options of the url after '?' cannot be read: {error}"
            raise InvalidInputError(message) from None
        query = []
    ours = {name: value for name, value in query if name in _OPTIONS}
    theirs = [(name, value) for name, value in query if name not in _OPTIONS]
    rest = urlunsplit(parts._replace(query=urlencode(theirs)))
    try:
        given = conninfo_to_dict(rest)
    except psycopg.Error as error:
        message = f"url is not one that PostgreSQL knows: {error}".strip()
        raise InvalidInputError(message) from None
    schema = _schema(ours.get("schema"))
    return Target(
        conninfo=make_conninfo(rest, **_missing(given)),
        schema=schema,
        pool_size=_pool_size(ours.get("pool_size")),
        transaction_pooling=_switch(ours.get("transaction_pooling")),
        durability=durability,
        read_only=read_only,
        shown=_shown(given, schema),
    )


_OPTIONS: Final = ("schema", "pool_size", "transaction_pooling")


def _missing(given: Mapping[str, object]) -> dict[str, str | int]:
    return {name: value for name, value in _DEFAULTS.items() if name not in given}


def _refuse_the_mode_that_loses_events() -> None:
    if os.environ.get(_LOSES_EVENTS, "").lower() in _TRUE:
        message = (
            f"{_LOSES_EVENTS} is set in the environment: that mode of eventsourcing "
            "writes without a lock, so that a reader who follows the log can miss "
            "events for ever; unset it. A ledger's writers run in parallel without it"
        )
        raise InvalidInputError(message)


def _schema(value: str | None) -> str | None:
    if value is None:
        return None
    if not value or len(value.encode()) > SCHEMA_BYTES_MAX or "\0" in value:
        message = (
            f"schema in the url must have 1 to {SCHEMA_BYTES_MAX} bytes; got {value!r}"
        )
        raise InvalidInputError(message)
    return value


def _pool_size(value: str | None) -> int:
    if value is None:
        return POOL_SIZE_DEFAULT
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= POOL_SIZE_MAX):
        message = (
            f"pool_size in the url must be a number from 1 to {POOL_SIZE_MAX}; "
            f"got {value!r}"
        )
        raise InvalidInputError(message)
    return int(value)


def _switch(value: str | None) -> bool:
    if value is None:
        return False
    if value not in _SWITCH:
        message = f"transaction_pooling in the url must be on or off; got {value!r}"
        raise InvalidInputError(message)
    return _SWITCH[value]


def _shown(given: Mapping[str, object], schema: str | None) -> str:
    user = f"{given['user']}@" if "user" in given else ""
    host = given.get("host", given.get("hostaddr", ""))
    port = f":{given['port']}" if "port" in given else ""
    options = "" if schema is None else f"?schema={schema}"
    if str(host).startswith("/"):
        options += f"{'&' if options else '?'}host={host}"
        host = ""
    return f"postgresql://{user}{host}{port}/{given.get('dbname', '')}{options}"
