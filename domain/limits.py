"""The limits of names, numbers and bytes, checked at the door.

Each check returns the value that was given, so that a caller can write
`lane_id = limits.name("lane_id", lane_id)`, and raises `InvalidInputError` with the
argument's name, what was given and what would be right.
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar
from uuid import UUID

from leasehold.domain.errors import InvalidInputError

NAME_BYTES_MAX: Final = 64
WORKER_BYTES_MAX: Final = 128
KEY_BYTES_MAX: Final = 256
TAGS_MAX: Final = 64
TAG_VALUE_BYTES_MAX: Final = 256
CAPABILITIES_MAX: Final = 256
CAPABILITIES_BYTES_MAX: Final = 4096
PRIORITY_MAX: Final = 9_000
LEASE_TTL_MS_MAX: Final = 86_400_000
COUNT_MAX: Final = 10_000
PAYLOAD_BYTES_MAX: Final = 16 * 1024 * 1024
FRAME_BYTES_MAX: Final = 1024 * 1024
TEXT_BYTES_MAX: Final = 4096
DETAIL_BYTES_MAX: Final = 64 * 1024
SUMMARY_BYTES_MAX: Final = 1024 * 1024
SUMMARY_DEPTH_MAX: Final = 64
LIMIT_MAX: Final = 1_000_000
SEVERAL_MAX: Final = 10_000
POSITION_MAX: Final = 2**63 - 1
TIME_MS_MAX: Final = 253_402_300_799_999
"""The last millisecond of the year 9999."""

_SHOWN_CHARACTERS_MAX: Final = 60

T = TypeVar("T")


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # An int of more digits than Python writes.
        return "too long to be shown"
    if len(text) > _SHOWN_CHARACTERS_MAX:
        return f"{text[:_SHOWN_CHARACTERS_MAX]}…"
    return text


def refuse(field: str, value: object, rule: str) -> InvalidInputError:
    """Make the error that names the field, the value and the rule it breaks."""
    kind = type(value).__name__
    return InvalidInputError(f"{field} must be {rule}; got {kind} {_shown(value)}")


def text(field: str, value: str, *, bytes_max: int, bytes_min: int = 0) -> str:
    """Check text: valid UTF-8 without NUL, its length in bytes within bounds."""
    rule = f"text of {bytes_min} to {bytes_max} bytes, valid UTF-8 without NUL"
    if not isinstance(value, str):
        raise refuse(field, value, rule)
    if value.isascii():
        size = len(value)
    else:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise refuse(field, value, rule) from None
    if not bytes_min <= size <= bytes_max or "\0" in value:
        raise refuse(field, value, rule)
    return value


def name(field: str, value: str, *, bytes_max: int = NAME_BYTES_MAX) -> str:
    """Check a name: printable ASCII without a leading or trailing space."""
    if (
        not isinstance(value, str)
        or not 1 <= len(value) <= bytes_max
        or not value.isascii()
        or not value.isprintable()
        or value[0] == " "
        or value[-1] == " "
    ):
        rule = (
            f"1 to {bytes_max} bytes of printable ASCII text "
            "with no leading or trailing space"
        )
        raise refuse(field, value, rule)
    return value


def integer(field: str, value: int, *, least: int, most: int) -> int:
    """Check a whole number within closed bounds; a bool is not a number."""
    if type(value) is not int or not least <= value <= most:
        raise refuse(field, value, f"a whole number from {least} to {most}")
    return value


def time_ms(field: str, value: int) -> int:
    """Check a time in milliseconds since the Unix epoch."""
    return integer(field, value, least=0, most=TIME_MS_MAX)


def bytes_of(field: str, value: bytes, *, bytes_max: int) -> bytes:
    """Check a run of bytes; `bytearray` and `memoryview` are copied to `bytes`."""
    if isinstance(value, bytearray | memoryview):
        try:
            value = bytes(value)
        except ValueError:
            raise refuse(field, value, "bytes that are not released") from None
    if not isinstance(value, bytes) or len(value) > bytes_max:
        rule = f"bytes, at most {bytes_max} of them"
        if isinstance(value, str):
            rule += " (text is encoded first, e.g. with .encode())"
        if isinstance(value, bytes):
            message = f"{field} must be {rule}; got {len(value)} bytes"
            raise InvalidInputError(message)
        raise refuse(field, value, rule)
    return value


def identifier(field: str, value: UUID) -> UUID:
    """Check an id."""
    if not isinstance(value, UUID):
        rule = "a uuid.UUID"
        if isinstance(value, str):
            rule += " (text is read with uuid.UUID(text))"
        raise refuse(field, value, rule)
    return value


def capabilities(field: str, value: Iterable[str]) -> tuple[str, ...]:
    """Check a set of capability tokens and return it sorted by its bytes, once each."""
    rule = (
        f"a collection of at most {CAPABILITIES_MAX} tokens, "
        f"{CAPABILITIES_BYTES_MAX} bytes when joined by commas, each not empty, "
        "valid UTF-8, with no comma, white space or control character"
    )
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise refuse(field, value, rule)
    given = tuple(value)
    for token in given:
        if not isinstance(token, str) or not token or not _is_token(token):
            raise refuse(field, token, rule)
    tokens = set(given)
    try:
        joined = len(",".join(tokens).encode())
        ordered = tuple(sorted(tokens, key=str.encode))
    except UnicodeEncodeError:
        raise refuse(field, given, rule) from None
    if len(tokens) > CAPABILITIES_MAX or joined > CAPABILITIES_BYTES_MAX:
        raise refuse(field, given, rule)
    return ordered


def _is_token(token: str) -> bool:
    if token.isascii() and token.isalnum():
        return True
    return not any(
        character == "," or character.isspace() or _is_control(character)
        for character in token
    )


def _is_control(character: str) -> bool:
    point = ord(character)
    return point < 0x20 or 0x7F <= point < 0xA0  # noqa: PLR2004 - C0, DEL and C1


def tags(field: str, value: Mapping[str, str] | None) -> dict[str, str]:
    """Check tags; None is no tags. The result has its keys in order."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > TAGS_MAX:
        raise refuse(field, value, f"a mapping of at most {TAGS_MAX} names to text")
    for key, tag in value.items():
        name(f"a key of {field}", key)
        text(f"{field}[{key!r}]", tag, bytes_max=TAG_VALUE_BYTES_MAX)
    return {key: value[key] for key in sorted(value)}


def several(field: str, given: Iterable[T]) -> list[T]:
    """Return what a call for several is given, at most 10,000 of them."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise refuse(field, given, "a collection")
    found = list(given)
    if len(found) > SEVERAL_MAX:
        message = f"{field} are at most {SEVERAL_MAX}; got {len(found)}"
        raise InvalidInputError(message)
    return found


def page(limit: int) -> int:
    """Check how many rows are asked for."""
    return integer("limit", limit, least=1, most=LIMIT_MAX)
