"""A place for stores of one's own, which is gone afterwards: a folder, or schemas."""

import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, Protocol
from uuid import uuid4

from leasehold.adapters.opening import open_ledger
from leasehold.adapters.postgres.urls import options_of, with_schema
from leasehold.domain.errors import InvalidInputError

_NAME: Final = "leasehold-bench"
_POSTGRES: Final = ("postgresql://", "postgres://")
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Place(Protocol):
    """Where stores can be made that nobody else knows of.

    Attributes:
        is_kept: Whether what is there is to stay, for somebody to look at.
    """

    is_kept: bool

    def url_of(self, name: str) -> str:
        """Return the url of the store of a name; there is none before it is opened."""
        ...

    def remove(self) -> None:
        """Leave nothing of it.

        Raises:
            StoreError: The database does not let it go; the message names what is left.
        """
        ...


class Folder:
    """A new folder, for SQLite files.

    Attributes:
        is_kept: See `Place`.
        path: Where it is.
    """

    def __init__(self, parent: Path) -> None:
        """Make the folder.

        Raises:
            InvalidInputError: The parent is no folder, or cannot be written to.
        """
        self.is_kept = False
        try:
            made = tempfile.mkdtemp(prefix=f"{_NAME}-", dir=parent)
        except OSError as error:
            message = f"no files can be made in {parent}: {error.strerror}"
            raise InvalidInputError(message) from error
        self.path = Path(made).absolute()

    def url_of(self, name: str) -> str:
        """Return the url of a file."""
        return f"sqlite:///{self.path / name}.db"

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


class Schemas:
    """New schemas in a PostgreSQL database.

    Attributes:
        is_kept: See `Place`.
    """

    def __init__(self, url: str) -> None:
        """Make the first one, to see that it can be done.

        Raises:
            InvalidInputError: The url cannot be read, or names a schema.
            StoreError: It cannot be done, or the extra is not installed.
        """
        if "schema" in options_of(url):
            message = (
                "the url names a schema: leave it out, a schema of its own is made and "
                "dropped afterwards"
            )
            raise InvalidInputError(message)
        self.is_kept = False
        self._url = url
        self._prefix = f"{_NAME}-{uuid4().hex[:12]}".replace("-", "_")
        self._schemas: set[str] = set()
        # Where this fails, nothing was made and nothing is to be dropped.
        open_ledger(self.url_of("first")).close()

    def url_of(self, name: str) -> str:
        """Return the url of a schema."""
        schema = f"{self._prefix}_{name}"
        self._schemas.add(schema)
        return with_schema(self._url, schema)

    def remove(self) -> None:
        """Drop the schemas."""
        # The driver is there: by it the first schema was made.
        from leasehold.adapters.postgres.dropping import drop  # noqa: PLC0415

        drop(self._url, sorted(self._schemas))


@contextmanager
def place_of(folder: Path, url: str | None) -> Iterator[Place]:
    """Give a place; it is gone when the block ends, unless it is kept.

    While the block runs, SIGTERM and SIGHUP end it as Ctrl-C does.

    Args:
        folder: Where to put files, to choose the disk.
        url: Of a PostgreSQL database, to have schemas there instead.

    Raises:
        InvalidInputError: There can be no such place.
        StoreError: The database cannot be reached, or does not let it go.
    """
    with _ending_by_signals():
        place = _made(folder, url)
        try:
            yield place
        finally:
            with _undisturbed():
                if not place.is_kept:
                    place.remove()


def _made(folder: Path, url: str | None) -> Place:
    if url is None:
        return Folder(folder)
    if url.startswith(_POSTGRES):
        return Schemas(url)
    message = (
        "--store takes a URL that begins with postgresql://; without it an SQLite "
        "file is made, in the folder that --folder names"
    )
    raise InvalidInputError(message)


@contextmanager
def _ending_by_signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = {number: signal.getsignal(number) for number in _ENDING}
    before = {
        number: handler
        for number, handler in handled.items()
        if handler is not signal.SIG_IGN  # Whoever had it ignored knows why: nohup.
    }
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no signal end what clears up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
