"""What the URL of a store says, and as what people may see it."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import leasehold

DEFAULT_STORE: Final = "sqlite:///leasehold.db"

_SQLITE_FILE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://")
_SCHEMES: Final = ("sqlite://", *_POSTGRES)
_PASSWORD: Final = re.compile(r"^([a-z]+://[^/?@:]*):[^/?@]*@")
_SECRET: Final = re.compile(r".*(?:password|secret)$")


def check_url(url: str) -> None:
    """Refuse what is not the URL of a store that two processes can open.

    Raises:
        InvalidInputError: It is not; the message says what would be.
    """
    if not url.startswith(_SCHEMES):
        message = "--store takes a URL that begins with sqlite:// or postgresql://"
        # Anything else with these in it may hold a password.
        if "://" not in url and "@" not in url:
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


def is_postgres(url: str) -> bool:
    """Say whether a URL is one of a PostgreSQL database."""
    return url.startswith(_POSTGRES)


def names_a_schema(url: str) -> bool:
    """Say whether a PostgreSQL URL has the option `schema`."""
    return any(option.startswith("schema=") for option in _options(url))


def shown(url: str) -> str:
    """Return a store URL as people may see it: without passwords."""
    if not is_postgres(url):
        return url
    bare = _PASSWORD.sub(r"\1@", url.partition("?")[0])
    options = [
        option
        for option in _options(url)
        if not _SECRET.match(unquote(option.partition("=")[0]))
    ]
    return f"{bare}?{'&'.join(options)}" if options else bare


def _options(url: str) -> list[str]:
    return [option for option in url.partition("?")[2].split("&") if option]
