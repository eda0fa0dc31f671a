"""Files of checkpoints: a line each, the newest last."""

import os
import stat
import sys
from pathlib import Path
from typing import Final

import leasehold

_STANDARD_INPUT: Final = "-"
_BYTES_MAX: Final = 64 * 1024 * 1024
_LAST_LINE_BYTES_MAX: Final = 1024


def read_lines(name: str) -> list[str]:
    """Read the lines of a file of checkpoints.

    Args:
        name: Of the file; - for standard input.

    Raises:
        InvalidInputError: It cannot be read, has no line, or has more than 64 MiB.
    """
    try:
        if name == _STANDARD_INPUT:
            content = sys.stdin.buffer.read(_BYTES_MAX + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(_BYTES_MAX + 1)
    except OSError as error:
        message = f"{name} cannot be read: {error.strerror}"
        raise leasehold.InvalidInputError(message) from error
    if len(content) > _BYTES_MAX:
        message = (
            f"{name} has more than {_BYTES_MAX} bytes: it is no file of such lines"
        )
        raise leasehold.InvalidInputError(message)
    lines = [line for line in content.splitlines() if line.strip()]
    if not lines:
        message = f"{name} has no line: `leasehold checkpoint` prints one"
        raise leasehold.InvalidInputError(message)
    return [line.decode(errors="backslashreplace") for line in lines]


def check_can_append(name: str) -> None:
    """Refuse to append to a file that holds anything but checkpoints.

    Raises:
        InvalidInputError: It does, or its folder is not there.
    """
    path = Path(name)
    if not path.parent.is_dir():
        message = f"the folder {path.parent} of {name} is not there"
        raise leasehold.InvalidInputError(message)
    try:
        last = _last_line(path) if _is_regular(path) else b""
    except OSError as error:
        message = f"{name} cannot be read: {error.strerror}"
        raise leasehold.InvalidInputError(message) from error
    try:
        if last:
            leasehold.Checkpoint.parse(last)
    except leasehold.InvalidInputError as error:
        message = f"{name} does not end with a checkpoint: nothing is appended to it"
        raise leasehold.InvalidInputError(message) from error


def append_line(name: str, line: str) -> None:
    """Append a checkpoint to a file, on a line of its own; make the file if need be.

    Raises:
        StoreError: It cannot be written.
    """
    path = Path(name)
    try:
        is_regular = _is_regular(path)
        begin = b"\n" if is_regular and _is_torn(path) else b""
        with path.open("ab" if is_regular or not path.exists() else "wb", 0) as file:
            # One write: two commands at once do not mix their lines.
            file.write(begin + line.encode() + b"\n")
            if is_regular:
                os.fsync(file.fileno())
    except OSError as error:
        message = f"{name} cannot be written: {error.strerror}"
        raise leasehold.StoreError(message) from error


def _is_regular(path: Path) -> bool:
    """Say whether there is a file, and no device, pipe or folder, of that name."""
    return path.exists() and stat.S_ISREG(path.stat().st_mode)


def _end_of(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most))
        return file.read()


def _last_line(path: Path) -> bytes:
    end = _end_of(path, _LAST_LINE_BYTES_MAX)
    lines = [line for line in end.splitlines() if line.strip()]
    return lines[-1] if lines else b""


def _is_torn(path: Path) -> bool:
    """Say whether the last line has no end."""
    return _end_of(path, 1) not in {b"", b"\n"}
