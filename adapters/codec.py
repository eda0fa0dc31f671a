"""Between events and the bytes that are stored.

The stored state of an event is one JSON object in bytes: its hash, the version of
its schema, then its fields. The hash stands at a fixed place, so that it is taken off
without parsing:

    {"sha256":"<64 hex digits>","schema_version":1,"execution_id":…}

The content is the object without the hash. The hash is SHA-256 over the hash of the
event before it in its stream (32 raw bytes, zeros for the first), then stream,
version and topic, each followed by a NUL byte, then the content. A chain like that is
what Haber and Stornetta described ("How to time-stamp a digital document", 1991).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from leasehold.domain.catalogue import BY_TOPIC, EVENT_TYPES
from leasehold.domain.errors import StoreError
from leasehold.domain.events import DomainEvent
from leasehold.domain.records import RecordedEvent
from leasehold.domain.refusals import RefusalRecorded

FIRST_HASH: Final = "0" * 64
"""What the first event of a stream builds on."""

_HASH_BYTES: Final = 32
_HASH_OPENING: Final = b'{"sha256":"'
_HASH_CLOSING: Final = b'",'
_HASH_START: Final = len(_HASH_OPENING)
_HASH_END: Final = _HASH_START + 64
_CONTENT_START: Final = _HASH_END + len(_HASH_CLOSING)

Fields = dict[str, Any]
Upcaster = Callable[[Fields], Fields]


def _refusal_without_current_epoch(fields: Fields) -> Fields:
    return {**fields, "current_lease_epoch": None}


UPCASTERS: Final[Mapping[tuple[str, int], Upcaster]] = {
    (RefusalRecorded.TOPIC, 1): _refusal_without_current_epoch,
}
"""By topic and schema version: how the fields of that version become the next one's."""

_OPENINGS: Final[Mapping[type[DomainEvent], bytes]] = {
    event_type: b'{"schema_version":%d,' % event_type.SCHEMA_VERSION
    for event_type in EVENT_TYPES
}
"""How the content of an event begins, by its type."""


def hash_of(
    previous: str, stream_id: str, version: int, topic: str, content: bytes
) -> str:
    """Return the hash of an event, in hex.

    Raises:
        StoreError: `corrupt_event`: what it builds on is no hash.
    """
    try:
        before = bytes.fromhex(previous)
    except (ValueError, TypeError):
        before = b""
    if len(before) != _HASH_BYTES:
        message = (
            f"the hash kept for the head of stream {stream_id} is none: "
            "its row was changed by hand"
        )
        raise StoreError(message, code="corrupt_event")
    place = f"{stream_id}\0{version}\0{topic}\0".encode(errors="surrogateescape")
    return hashlib.sha256(before + place + content).hexdigest()


def encode(
    event: DomainEvent, stream_id: str, version: int, previous: str
) -> tuple[bytes, str]:
    """Return the state of an event as stored, and its hash in hex.

    Args:
        event: The event.
        stream_id: The stream that it goes to.
        version: Its version there, from 1.
        previous: The hash of the event before it, `FIRST_HASH` for the first.
    """
    event_type = type(event)
    body: bytes = event_type.__pydantic_serializer__.to_json(event, exclude_none=True)
    content = _OPENINGS[event_type] + body[1:]
    topic = event_type.TOPIC
    sha256 = hash_of(previous, stream_id, version, topic, content)
    state = _HASH_OPENING + sha256.encode() + _HASH_CLOSING + content[1:]
    return state, sha256


def split(state: bytes | memoryview) -> tuple[str, bytes]:
    """Return the hash in hex and the content of a stored state.

    Raises:
        StoreError: `corrupt_event`: the state is not bytes that begin with a hash.
    """
    if isinstance(state, memoryview):
        state = state.tobytes()
    if not isinstance(state, bytes):
        message = f"a stored event is bytes, and this is {type(state).__name__}"
        raise StoreError(message, code="corrupt_event")
    if (
        state[:_HASH_START] != _HASH_OPENING
        or state[_HASH_END:_CONTENT_START] != _HASH_CLOSING
    ):
        message = "a stored event does not begin with its hash"
        raise StoreError(message, code="corrupt_event")
    sha256 = state[_HASH_START:_HASH_END].decode("ascii", errors="replace")
    return sha256, b"{" + state[_CONTENT_START:]


def decode(
    position: int, stream_id: str, version: int, topic: str, state: bytes | memoryview
) -> RecordedEvent:
    """Return a stored event, brought up to the schema of this version.

    Raises:
        StoreError: `corrupt_event`: an unknown topic, a schema of a later version,
            or bytes that do not make the event; the message says where.
    """
    event, sha256 = read(position, stream_id, version, topic, state)
    return RecordedEvent(
        position, stream_id, version, topic, event.occurred_at_ms, event, sha256
    )


def read(
    position: int, stream_id: str, version: int, topic: str, state: bytes | memoryview
) -> tuple[DomainEvent, str]:
    """Return what `decode` does without its place: the event and its hash in hex."""
    try:
        event_type = BY_TOPIC[topic]
        sha256, content = split(state)
        opening = _OPENINGS[event_type]
        if content.startswith(opening):
            fields = b"{" + content[len(opening) :]
            event: DomainEvent
            event = event_type.__pydantic_validator__.validate_json(fields)
        else:
            event = _decode_other_version(event_type, content)
    except (KeyError, ValueError, RecursionError, StoreError) as error:
        message = (
            f"the event at position {position} (stream {stream_id}, version {version}, "
            f"topic {topic!r}) cannot be read: {_reason(error)}"
        )
        raise StoreError(message, code="corrupt_event") from error
    return event, sha256


def _decode_other_version(event_type: type[DomainEvent], content: bytes) -> DomainEvent:
    fields = json.loads(content)
    schema_version = fields.pop("schema_version", None)
    if type(schema_version) is not int or schema_version > event_type.SCHEMA_VERSION:
        message = (
            f"its schema version is {schema_version!r}, "
            f"and this version of leasehold reads up to {event_type.SCHEMA_VERSION}"
        )
        raise StoreError(message, code="corrupt_event")
    while schema_version < event_type.SCHEMA_VERSION:
        fields = UPCASTERS[event_type.TOPIC, schema_version](fields)
        schema_version += 1
    return event_type.model_validate_json(json.dumps(fields))


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no such event or version is known: {error}"
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the JSON"
        return f"{where}: {first['msg']}"
    return str(error)
