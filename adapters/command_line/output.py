"""Show what is stored: tables on a terminal, plain columns in a pipe, or JSON.

Text in a ledger was written by workers and may hold anything. It reaches a terminal
with every control character escaped, and never as rich markup.
"""

import base64
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from rich.console import Console
from rich.text import Text

_PREVIEW_CHARACTERS_MAX: Final = 60
_ABSENT: Final = "-"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

STATE_STYLES: Final[Mapping[str, str]] = {
    "pending": "cyan",
    "delayed": "blue",
    "running": "yellow",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "expired": "magenta",
}


def console() -> Console:
    """Make a console over the standard output of this moment."""
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def escaped(text: str) -> str:
    """Return the text with every character that is not printable escaped."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def time_text(at_ms: int | None) -> str:
    """Write a time as ISO 8601 in UTC, to the millisecond."""
    if at_ms is None:
        return _ABSENT
    try:
        moment = _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return f"{at_ms} ms"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{at_ms % 1000:03d}Z"


def duration_text(duration_ms: int | None) -> str:
    """Write a duration in seconds, with its sign."""
    return _ABSENT if duration_ms is None else f"{duration_ms / 1000:+.3f} s"


def size_text(size_bytes: int) -> str:
    """Write a size in the largest unit that leaves it above one."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004 - the number that these units are made of
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def count_text(count: int, noun: str) -> str:
    """Write how many there are of something."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def cell_text(value: object) -> str:
    """Write one value for people: escaped, and cut where it would fill the screen."""
    return cut(whole_text(value))


def whole_text(value: object) -> str:
    """Write one value for people, escaped; of bytes no more than is ever shown."""
    match value:
        case None:
            return _ABSENT
        case bool():
            return "true" if value else "false"
        case bytes():
            return escaped(_bytes_text(value))
        case _:
            return escaped(str(value))


def cut(text: str, most: int = _PREVIEW_CHARACTERS_MAX) -> str:
    """Shorten a text to what fits beside others."""
    return text[: most - 1] + "…" if len(text) > most else text


def _bytes_text(value: bytes) -> str:
    # A character is at most four bytes: more than this is never shown.
    head = value[: 4 * _PREVIEW_CHARACTERS_MAX + 4]
    try:
        return head.decode()
    except UnicodeDecodeError:
        if len(head) < len(value):
            return head.decode(errors="replace")
        return f"0x{head.hex()}"


def print_fields(row: Mapping[str, object], *, title: str, whole: bool = False) -> None:
    """Print one row as a list of names and values.

    Args:
        row: The values by name.
        title: A heading.
        whole: Whether long values are not to be cut.
    """
    text_of = whole_text if whole else cell_text
    width = max(len(name) for name in row)
    print_line(title, style="bold")
    for name, value in row.items():
        print_line(f"  {name.ljust(width)}  {text_of(value)}")


def print_line(text: str, *, style: str | None = None) -> None:
    """Print a line as it is, unwrapped, styled on a terminal only."""
    target = console()
    if style is not None and target.is_terminal:
        target.print(Text(escaped(text), style=style), soft_wrap=True)
        return
    sys.stdout.write(escaped(text) + "\n")


def note(text: str) -> None:
    """Tell a person something beside the output, on standard error."""
    sys.stderr.write(escaped(text) + "\n")


def discard_the_rest() -> None:
    """Write nothing any more, also not what the interpreter has left at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(document: object) -> None:
    """Print a document as one line of JSON, with nothing in it but ASCII."""
    text = json.dumps(plain(document), separators=(", ", ": "))
    sys.stdout.write(text.replace("\x7f", "\\u007f") + "\n")


def plain(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """Turn rows, ids, times and bytes into what JSON has.

    Bytes become `{"encoding": "utf-8" | "base64", "data": …}`.
    """
    match value:
        case None | bool() | int() | float():
            return value
        case str() | UUID():
            return str(value)
        case bytes():
            return _plain_bytes(value)
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
    columns = value if isinstance(value, Mapping) else columns_of(value)
    return {str(key): plain(item) for key, item in columns.items()}


def _plain_bytes(value: bytes) -> dict[str, str]:
    try:
        return {"encoding": "utf-8", "data": value.decode()}
    except UnicodeDecodeError:
        return {"encoding": "base64", "data": base64.b64encode(value).decode("ascii")}


def columns_of(row: object) -> dict[str, object]:
    """Return the columns of a typed row, or the fields of an event, in their order."""
    if is_dataclass(row) and not isinstance(row, type):
        return {field.name: getattr(row, field.name) for field in fields(row)}
    names = getattr(type(row), "model_fields", None)
    if names is None:
        message = f"{type(row).__name__} is not a row"
        raise TypeError(message)
    return {name: getattr(row, name) for name in names}
