"""The files that bundles are written to and read from."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOBase
from pathlib import Path
from stat import S_IMODE
from typing import BinaryIO, Final

from leasehold.domain import limits
from leasehold.domain.errors import StoreError

_SPOOLED_BYTES_MAX: Final = 16 * 1024 * 1024
_COPIED_AT_ONCE: Final = 1024 * 1024
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
_RULE: Final = "a path or a binary file"


@contextmanager
def opened_to_write(target: str | os.PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
    """Open a target; a path gets its content whole, at the end, or not at all.

    Raises:
        InvalidInputError: It is neither a path nor a binary file open to be written.
        StoreError: The path cannot be written.
    """
    if not isinstance(target, str | os.PathLike):
        yield _binary("target", target, "write", "writable")
        return
    path = _path("target", target)
    try:
        # A link stays one; a pipe or a device is written to and not replaced.
        path = path.resolve()
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
        else:
            with _replacing(path) as file:
                yield file
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}"
        raise StoreError(message) from error


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    beside = path.with_name(f".leasehold-{secrets.token_hex(8)}")
    descriptor = os.open(beside, _NEW, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if path.exists():
                beside.chmod(S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def opened_to_read_twice(
    source: str | os.PathLike[str] | BinaryIO,
) -> Iterator[BinaryIO]:
    """Open a source so that it can be read, set back and read again.

    Raises:
        InvalidInputError: It is neither a path nor a binary file open to be read.
        StoreError: The path cannot be read.
    """
    if not isinstance(source, str | os.PathLike):
        with _spooled(_binary("source", source, "read", "readable")) as spool:
            yield spool
        return
    path = _path("source", source)
    try:
        with path.open("rb") as file:
            if file.seekable():
                yield file
            else:
                with _spooled(file) as spool:
                    yield spool
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}"
        raise StoreError(message) from error


@contextmanager
def _spooled(source: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES_MAX) as spool:
        while chunk := source.read(_COPIED_AT_ONCE):
            if not isinstance(chunk, bytes):
                raise limits.refuse("source", source, _RULE)
            spool.write(chunk)
        spool.seek(0)
        yield spool  # type: ignore[misc]


def _binary(field: str, file: BinaryIO, method: str, able: str) -> BinaryIO:
    if isinstance(file, TextIOBase) or not callable(getattr(file, method, None)):
        raise limits.refuse(field, file, _RULE)
    if not _says_yes(getattr(file, able, None)):
        raise limits.refuse(field, file, f"{_RULE} that is open and {able}")
    return file


def _says_yes(ask: object) -> bool:
    """Ask a file; one that cannot be asked can, and one that is closed cannot."""
    try:
        return not callable(ask) or bool(ask())
    except ValueError:
        return False


def _path(field: str, given: str | os.PathLike[str]) -> Path:
    path = os.fspath(given)
    if not isinstance(path, str) or not path or "\0" in path:
        raise limits.refuse(field, given, _RULE)
    return Path(path)
