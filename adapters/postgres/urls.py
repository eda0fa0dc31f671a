"""The syntax of a PostgreSQL url; what is wrong is told without what is secret in it.

libpq reads such urls itself, but quotes them whole in its complaints, password and all.
"""

import re
from collections.abc import Iterator
from typing import Final

from leasehold.domain.errors import InvalidInputError

_SPLIT: Final = re.compile(r"([^/?]*)(?:/([^?]*))?(?:\?(.*))?", re.DOTALL)
_PLACE: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})?")
_HINT: Final = (
    "write postgresql://user:password@host:port/database?option=value&…, and "
    "percent-encode what has a meaning of its own there (%20 for a space, %23 for #, "
    "%25 for %, %2F for /, %3A for :, %3F for ?, %40 for @)"
)


def options_of(url: str) -> dict[str, str]:
    """Return what a url says, by the names of libpq's options and of ours.

    Raises:
        InvalidInputError: It cannot be read, or says something twice.
    """
    _, _, rest = url.partition("://")
    _check_characters(rest)
    split = _SPLIT.fullmatch(rest)
    authority, database, query = split.groups("") if split else ("", "", "")
    options: dict[str, str] = {}
    for name, value in _named(authority, database, query):
        if name in options:
            message = f"the url gives {name!r} twice"
            raise InvalidInputError(message)
        options[name] = value
    return options


def with_schema(url: str, schema: str) -> str:
    """Name a schema in a url that names none."""
    bare = url.rstrip("?&")
    return f"{bare}{'&' if '?' in bare else '?'}schema={schema}"


def _check_characters(text: str) -> None:
    if any(c.isspace() or not c.isprintable() or c == "#" for c in text):
        message = (
            "the url holds a space, a # or a character that cannot be printed, as it "
            f"stands; {_HINT}"
        )
        raise InvalidInputError(message)


def _named(authority: str, database: str, query: str) -> Iterator[tuple[str, str]]:
    user_part, at, places = authority.rpartition("@")
    if "@" in user_part:
        message = f"the url has more than one @ before its host; {_HINT}"
        raise InvalidInputError(message)
    user, colon, password = user_part.partition(":")
    if at and user:
        yield "user", _decoded(user, "the user name")
    if colon:
        yield "password", _decoded(password, "the password")
    yield from _places(places)
    if "@" in database:
        # More likely the rest of a password that was cut at its "/".
        message = f"the url has an @ in the name of its database; {_HINT}"
        raise InvalidInputError(message)
    if database:
        yield "dbname", _decoded(database, "the name of the database")
    for pair in query.split("&") if query else ():
        yield _option(pair)


def _places(text: str) -> Iterator[tuple[str, str]]:
    """Give the hosts and the ports, each as a list with commas."""
    hosts, ports = [], []
    for place in text.split(","):
        match = _PLACE.fullmatch(place)
        if match is None:
            # What stands here may be a part of a password that was cut at its "/".
            message = (
                "the url has a place that is no host:port (an IPv6 address stands in "
                f"brackets, a port is a number); {_HINT}"
            )
            raise InvalidInputError(message)
        host, port = match.groups("")
        if host.startswith("["):
            host = host[1:-1]
        hosts.append(_decoded(host, "the host"))
        ports.append(port)
    if any(hosts):
        yield "host", ",".join(hosts)
    if any(ports):
        yield "port", ",".join(ports)


def _option(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not (name and equals) or "=" in value:
        message = (
            "the options of the url after '?' must be name=value, with & between "
            f"them; {_HINT}"
        )
        raise InvalidInputError(message)
    name = _decoded(name, "the name of an option")
    if not name.isidentifier():
        # What stands here may be a part of a password that was cut at its "?".
        message = f"the url has an option whose name has more than letters; {_HINT}"
        raise InvalidInputError(message)
    value = _decoded(value, f"option {name!r}")
    # The spelling of JDBC, which libpq knows too.
    return ("sslmode", "require") if (name, value) == ("ssl", "true") else (name, value)


def _decoded(text: str, what: str) -> str:
    """Undo the percent-encoding; `what` is told in place of the text."""
    try:
        decoded = b"".join(_bytes_of(text)).decode()
    except UnicodeDecodeError:
        message = f"{what} in the url is not UTF-8 once its percent-encoding is undone"
        raise InvalidInputError(message) from None
    except ValueError:
        message = f"{what} in the url has a % without two hexadecimal digits; {_HINT}"
        raise InvalidInputError(message) from None
    if "\0" in decoded:
        message = f"{what} in the url holds a NUL character (%00)"
        raise InvalidInputError(message)
    return decoded


def _bytes_of(text: str) -> Iterator[bytes]:
    end = 0
    for match in _ESCAPE.finditer(text):
        yield text[end : match.start()].encode()
        yield bytes.fromhex(match[1] or "no digits")
        end = match.end()
    yield text[end:].encode()
