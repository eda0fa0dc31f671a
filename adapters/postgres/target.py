"""Which PostgreSQL database to connect to, and how: the url and its options."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote

from psycopg import pq
from psycopg.conninfo import make_conninfo

from leasehold.adapters.postgres.urls import options_of
from leasehold.domain.errors import InvalidInputError

Durability = Literal["full", "normal"]

POOL_SIZE_DEFAULT: Final = 16
POOL_SIZE_MAX: Final = 1_000
SCHEMA_BYTES_MAX: Final = 63
CONNECT_TIMEOUT_S: Final = 5
"""How long to wait for a host; half of the 10 s in which one that is away is told."""

_PORT_MAX: Final = 65_535
_NUMBER_MAX: Final = 2**31 - 1
_DIGITS_MAX: Final = 10
_NOT_FOR_LEDGERS: Final = ("information_schema", "$user")
_OURS: Final = ("schema", "pool_size", "transaction_pooling")
_DEFAULTS: Final[dict[str, str | int]] = {
    "application_name": "leasehold",
    # A host that fell silent is noticed within half a minute, not after hours.
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_SWITCH: Final = {"on": True, "off": False}
_GSS_MODES: Final = ("disable", "prefer", "require")
_NOWHERE: Final = "/nowhere"
_LOSES_EVENTS: Final = "POSTGRES_ENABLE_DB_FUNCTIONS"
_TRUE: Final = ("y", "yes", "t", "true", "on", "1")


@dataclass(frozen=True, slots=True)
class Target:
    """Say which database to connect to, and how.

    Attributes:
        conninfo: What libpq is given; holds the password.
        schema: Where the tables are; None for the connection's default schema.
        pool_size: How many connections at most, 1 … 1000.
        transaction_pooling: Whether a pooler between here and the server may give
            every transaction another connection of the server; None to find out.
        durability: As of `leasehold.open`.
        read_only: As of `leasehold.open`.
        shown: The name that people are shown, without the password.
    """

    conninfo: str = field(repr=False)
    schema: str | None
    pool_size: int
    transaction_pooling: bool | None
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
    options = options_of(url)
    given = {name: value for name, value in options.items() if name not in _OURS}
    _check_names(given)
    _check_numbers(given)
    _check_with_libpq(given)
    defaults = _defaults(given, read_only=read_only)
    schema = _schema(options.get("schema"))
    return Target(
        # All text is sent as UTF-8, whatever the environment says.
        conninfo=make_conninfo("", **{**defaults, **given, "client_encoding": "UTF8"}),
        schema=schema,
        pool_size=_pool_size(options.get("pool_size")),
        transaction_pooling=_switch(options.get("transaction_pooling")),
        durability=durability,
        read_only=read_only,
        shown=_shown(given, schema),
    )


def _refuse_the_mode_that_loses_events() -> None:
    if os.environ.get(_LOSES_EVENTS, "").lower() in _TRUE:
        message = (
            f"{_LOSES_EVENTS} is set in the environment: that mode of eventsourcing "
            "writes without a lock, so that a reader who follows the log can miss "
            "events for ever; unset it. A ledger's writers run in parallel without it"
        )
        raise InvalidInputError(message)


def _check_names(given: Mapping[str, str]) -> None:
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    for name, value in given.items():
        if name not in known:
            # With an @ after it, it may be a part of a password that was cut at a "?".
            shown = f"option {name!r}" if "@" not in value else "an option"
            message = (
                f"{shown} of the url is known neither to libpq nor here "
                f"(here are {', '.join(_OURS)})"
            )
            raise InvalidInputError(message)
        if name == "replication":
            message = "option 'replication' of the url makes no sense for a ledger"
            raise InvalidInputError(message)
        if name == "client_encoding" and value.lower() not in ("utf8", "utf-8"):
            message = "a ledger speaks UTF-8; leave 'client_encoding' out of the url"
            raise InvalidInputError(message)


def _check_numbers(given: Mapping[str, str]) -> None:
    rules: dict[str, tuple[int, int]] = {
        "connect_timeout": (0, _NUMBER_MAX),
        "keepalives": (0, 1),
        "keepalives_idle": (0, _NUMBER_MAX),
        "keepalives_interval": (0, _NUMBER_MAX),
        "keepalives_count": (0, _NUMBER_MAX),
        "tcp_user_timeout": (0, _NUMBER_MAX),
    }
    for name, (least, most) in rules.items():
        if name in given:
            _number(name, given[name], least=least, most=most)
    hosts, addresses, ports = (
        _listed(given, name) for name in ("host", "hostaddr", "port")
    )
    for port in filter(None, ports):
        _number("port", port, least=1, most=_PORT_MAX)
    counts = {len(listed) for listed in (hosts, addresses) if listed}
    if len(counts) > 1 or len(ports) not in {0, 1, *counts}:
        message = "the url does not give as many hosts as addresses or ports"
        raise InvalidInputError(message)


def _listed(given: Mapping[str, str], name: str) -> list[str]:
    return given[name].split(",") if name in given else []


def _check_with_libpq(given: Mapping[str, str]) -> None:
    """Let libpq look at its options, on the way to a host that nobody can reach.

    It refuses what it does not know before it goes there; what it says of the journey
    itself is the same for every url.
    """
    if given.get("gssencmode", "prefer") not in _GSS_MODES:
        message = f"option 'gssencmode' of the url must be one of {_GSS_MODES}"
        raise InvalidInputError(message)
    elsewhere = ("host", "hostaddr", "port", "gssencmode", "client_encoding")
    judged = {name: value for name, value in given.items() if name not in elsewhere}
    complaint = _complaint(judged)
    if complaint != _complaint({}):
        message = f"libpq does not take the options of the url: {complaint}"
        raise InvalidInputError(message)


def _complaint(options: Mapping[str, str]) -> str:
    conninfo = make_conninfo("", **{**options, "host": _NOWHERE})
    connection = pq.PGconn.connect_start(conninfo.encode())
    try:
        return " ".join(connection.get_error_message().split())
    finally:
        connection.finish()


def _defaults(given: Mapping[str, str], *, read_only: bool) -> dict[str, str | int]:
    hosts = max(1, len(_listed(given, "host")), len(_listed(given, "hostaddr")))
    defaults = {**_DEFAULTS, "connect_timeout": max(2, 2 * CONNECT_TIMEOUT_S // hosts)}
    if hosts == 1:
        defaults["connect_timeout"] = CONNECT_TIMEOUT_S
    elif not read_only:
        # A standby among several hosts cannot be written to.
        defaults["target_session_attrs"] = "read-write"
    return {name: value for name, value in defaults.items() if name not in given}


def _number(name: str, value: str, *, least: int, most: int) -> int:
    is_number = value.isascii() and value.isdigit() and len(value) <= _DIGITS_MAX
    if not (is_number and least <= int(value) <= most):
        message = (
            f"{name} in the url must be a number from {least} to {most}; got {value!r}"
        )
        raise InvalidInputError(message)
    return int(value)


def _schema(value: str | None) -> str | None:
    if value is None:
        return None
    if not value or len(value.encode()) > SCHEMA_BYTES_MAX:
        message = (
            f"schema in the url must have 1 to {SCHEMA_BYTES_MAX} bytes; got {value!r}"
        )
        raise InvalidInputError(message)
    if value.startswith("pg_") or value in _NOT_FOR_LEDGERS:
        message = (
            "schema in the url: pg_…, information_schema and $user mean something else "
            f"to PostgreSQL; got {value!r}"
        )
        raise InvalidInputError(message)
    return value


def _pool_size(value: str | None) -> int:
    if value is None:
        return POOL_SIZE_DEFAULT
    return _number("pool_size", value, least=1, most=POOL_SIZE_MAX)


def _switch(value: str | None) -> bool | None:
    if value is None:
        return None
    if value not in _SWITCH:
        message = f"transaction_pooling in the url must be on or off; got {value!r}"
        raise InvalidInputError(message)
    return _SWITCH[value]


def _shown(given: Mapping[str, str], schema: str | None) -> str:
    """Name the database by what is no secret, as a url that could be used again."""
    user = f"{quote(given['user'], safe='')}@" if "user" in given else ""
    hosts, ports = _listed(given, "host"), _listed(given, "port")
    sockets = any(host.startswith(("/", "@")) for host in hosts)
    options = {"schema": schema, "service": given.get("service")}
    if sockets or "hostaddr" in given:
        options |= {name: given.get(name) for name in ("host", "hostaddr", "port")}
        hosts = ports = []
    return (
        f"postgresql://{user}{_authority(hosts, ports)}/"
        f"{quote(given.get('dbname', ''), safe='')}{_query(options)}"
    )


def _authority(hosts: list[str], ports: list[str]) -> str:
    hosts = [f"[{host}]" if ":" in host else host for host in hosts] or [""]
    if len(ports) != len(hosts):
        ports = (ports or [""]) * len(hosts)
    places = zip(hosts, ports, strict=True)
    return ",".join(f"{host}:{port}" if port else host for host, port in places)


def _query(options: Mapping[str, str | None]) -> str:
    pairs = [
        f"{name}={quote(value, safe='/,')}" for name, value in options.items() if value
    ]
    return f"?{'&'.join(pairs)}" if pairs else ""
