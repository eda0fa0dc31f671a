"""The bundle: a history in a file, NDJSON that proves itself.

One header line, one line an event with its position, one closing line with the number
of events and the SHA-256 over all lines before it. It holds no time, host or store, so
that the same events give the same bytes. All lines have sorted keys and no spaces; the
state of an event stands in its line as it is stored, byte for byte.

    {"bundle":"leasehold","format_version":1,"redacted":false,"schema_versions":{…}}
    {"position":1,"state":{"sha256":"…","schema_version":1,…},"stream":"…",…}
    {"events":1,"sha256":"…"}
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from leasehold.adapters import codec
from leasehold.domain import limits, streams
from leasehold.domain.catalogue import EVENT_TYPES
from leasehold.domain.errors import InvalidInputError, StoreError
from leasehold.domain.executions import ExecutionCreated
from leasehold.domain.merge_patch import canonical_json
from leasehold.domain.records import RecordedEvent
from leasehold.domain.redaction import redacted
from leasehold.domain.streams import EXECUTION_ID_CHARACTERS

FORMAT_VERSION: Final = 1
LINE_BYTES_MAX: Final = 48 * 1024 * 1024
"""More than the line of the largest event has: 16 MiB of payload, as text."""

_NAME: Final = "leasehold"
_SCHEMA_VERSIONS: Final = {
    event_type.TOPIC: event_type.SCHEMA_VERSION for event_type in EVENT_TYPES
}
_EVENT: Final = re.compile(
    rb'\{"position":([1-9][0-9]{0,18}),"state":(\{.*\}),"stream":"([0-9a-z/-]{1,80})",'
    rb'"topic":"([a-z_.]{1,64})","version":([1-9][0-9]{0,18})\}'
)
_HEX_DIGITS: Final = 64
_FIRST_HEAD: Final = bytes.fromhex(codec.FIRST_HASH)

Stored = tuple[int, str, int, str, bytes]
"""An event as a store has it: position, stream, version, topic and state."""


@dataclass(frozen=True, slots=True)
class BundleHeader:
    """What a bundle tells of itself.

    Attributes:
        redacted: Whether what is confidential was taken out.
        original_sha256: The digest of the same bundle before that; None where nothing
            was taken out.
    """

    redacted: bool = False
    original_sha256: str | None = None

    def line(self) -> bytes:
        """Return the first line."""
        told: dict[str, Any] = {
            "bundle": _NAME,
            "format_version": FORMAT_VERSION,
            "redacted": self.redacted,
            "schema_versions": _SCHEMA_VERSIONS,
        }
        if self.original_sha256 is not None:
            told["original_sha256"] = self.original_sha256
        return _line(told)


@dataclass(frozen=True, slots=True)
class BundleSummary:
    """Say what a bundle holds.

    Attributes:
        events: How many events.
        executions: Of how many executions.
        sha256: The digest that its last line tells, in hex.
        header: What its first line tells.
    """

    events: int
    executions: int
    sha256: str
    header: BundleHeader


def _line(told: dict[str, Any]) -> bytes:
    return canonical_json(told).encode() + b"\n"


def _event_line(stored: Stored) -> bytes:
    position, stream_id, version, topic, state = stored
    return b'{"position":%d,"state":%b,"stream":"%b","topic":"%b","version":%d}\n' % (
        position,
        state,
        stream_id.encode(),
        topic.encode(),
        version,
    )


class Sequence:
    """Holds each event against those before it, in log order.

    Attributes:
        executions: The executions that were begun, each with its last time.
    """

    def __init__(self) -> None:
        """Begin before the first event."""
        self.executions: dict[str, int] = {}
        self._position = 0
        self._heads: dict[str, tuple[int, bytes]] = {}

    def check(self, stored: Stored) -> RecordedEvent:
        """Return the next event, if it goes on where those before it end.

        Raises:
            StoreError: `corrupt_event`: it does not, or cannot be read; the message
                says what is wrong.
        """
        position, stream_id, version, topic, state = stored
        if not self._position < position <= limits.POSITION_MAX:
            raise _corrupt("its position is not higher than that of the one before")
        last, head = self._heads.get(stream_id, (0, _FIRST_HEAD))
        if version != last + 1:
            raise _corrupt(
                f"version {version} of stream {stream_id} does not follow version "
                f"{last}: an event is missing, doubled or moved"
            )
        recorded = codec.decode(position, stream_id, version, topic, state)
        _, content = codec.split(state)
        expected = codec.hash_of(head.hex(), stream_id, version, topic, content)
        if recorded.sha256 != expected:
            raise _corrupt("its hash does not follow from the events before it")
        event = recorded.event
        if streams.of_event(event, event.execution_id) != stream_id:
            raise _corrupt("the event is not of the stream that it stands in")
        execution_id = stream_id[:EXECUTION_ID_CHARACTERS]
        if isinstance(event, ExecutionCreated) == (execution_id in self.executions):
            raise _corrupt(
                f"execution {execution_id} is not created once, before all else"
            )
        last_ms = self.executions.get(execution_id, 0)
        if not last_ms <= event.occurred_at_ms <= limits.TIME_MS_MAX:
            raise _corrupt(
                f"its time {event.occurred_at_ms} ms does not follow {last_ms} ms, "
                f"that of an earlier event of execution {execution_id}"
            )
        self.executions[execution_id] = event.occurred_at_ms
        self._heads[stream_id] = (version, bytes.fromhex(expected))
        self._position = position
        return recorded


def _corrupt(text: str) -> StoreError:
    return StoreError(text, code="corrupt_event")


class BundleWriter:
    """Writes lines, and keeps the digest over them."""

    def __init__(self, target: BinaryIO | None, header: BundleHeader) -> None:
        """Write the header.

        Args:
            target: Where to; None to work the digest out alone.
            header: The first line.
        """
        self._target = target
        self._header = header
        self._digest = hashlib.sha256()
        self._sequence = Sequence()
        self._events = 0
        self._write(header.line())

    def add(self, stored: Stored) -> RecordedEvent:
        """Write an event; return it.

        Raises:
            StoreError: `corrupt_event`: a reader would refuse it.
        """
        try:
            line = _event_line(stored)
            if _EVENT.fullmatch(line[:-1]) is None:
                raise _corrupt("it does not make a line")
            recorded = self._sequence.check(stored)
        except (StoreError, ValueError, TypeError, AttributeError) as error:
            message = (
                f"the event at position {stored[0]} (stream {stored[1]}, version "
                f"{stored[2]}) was damaged and cannot be written to a bundle: {error}"
            )
            raise StoreError(message, code="corrupt_event") from error
        self._write(line)
        self._events += 1
        return recorded

    def finish(self) -> BundleSummary:
        """Write the closing line."""
        sha256 = self._digest.hexdigest()
        self._write(_line({"events": self._events, "sha256": sha256}))
        executions = len(self._sequence.executions)
        return BundleSummary(self._events, executions, sha256, self._header)

    def _write(self, line: bytes) -> None:
        self._digest.update(line)
        if self._target is not None:
            _write_whole(self._target, line)


def _write_whole(target: BinaryIO, line: bytes) -> None:
    """Write all of a line: a file without a buffer may take a part of it."""
    taken = target.write(line)
    left = memoryview(line)
    # Whoever does not tell how much was taken has taken all.
    while taken is not None and taken < len(left):
        left = left[taken:]
        taken = target.write(left)


def redacted_events(events: Iterable[Stored]) -> Iterator[Stored]:
    """Take what is confidential out of events, and hash them anew.

    Raises:
        StoreError: `corrupt_event`: an event cannot be read.
    """
    heads: dict[str, tuple[int, str]] = {}
    for stored in events:
        recorded = codec.decode(*stored)
        event = redacted(recorded.event)
        if event is None:
            continue
        version, head = heads.get(recorded.stream_id, (0, codec.FIRST_HASH))
        state, sha256 = codec.encode(event, recorded.stream_id, version + 1, head)
        heads[recorded.stream_id] = (version + 1, sha256)
        yield (
            recorded.position,
            recorded.stream_id,
            version + 1,
            recorded.topic,
            state,
        )


class BundleReader:
    """Reads a bundle from its beginning, and verifies every line.

    Raises, at the first line that is wrong:
        InvalidInputError: It names the line, and says what is wrong.
    """

    def __init__(self, source: BinaryIO) -> None:
        """Read from a binary file."""
        self._source = source
        self._digest = hashlib.sha256()
        self._number = 0
        self._sequence = Sequence()
        self.summary: BundleSummary | None = None

    def events(self) -> Iterator[tuple[RecordedEvent, bytes]]:
        """Give each event with its bytes; `summary` is there after the last."""
        header = self._header(self._next_line())
        events = 0
        while True:
            line = self._next_line()
            if line.startswith(b'{"events":'):
                self._check_end(line, events)
                break
            yield self._event(line)
            self._digest.update(line + b"\n")
            events += 1
        if self._source.read(1):
            raise self._wrong("something follows the closing line")
        sha256 = self._digest.hexdigest()
        executions = len(self._sequence.executions)
        self.summary = BundleSummary(events, executions, sha256, header)

    def _next_line(self) -> bytes:
        self._number += 1
        line = self._source.readline(LINE_BYTES_MAX + 1)
        if len(line) > LINE_BYTES_MAX:
            raise self._wrong(f"it has more than {LINE_BYTES_MAX} bytes")
        if not line.endswith(b"\n"):
            raise self._wrong("the bundle ends here without its closing line")
        return line[:-1]

    def _wrong(self, text: str) -> InvalidInputError:
        message = f"line {self._number} of the bundle: {text}; nothing was imported"
        return InvalidInputError(message)

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            told = json.loads(line)
            is_canonical = _line(told) == line + b"\n"
        except (ValueError, RecursionError, TypeError):
            told, is_canonical = None, False
        if not isinstance(told, dict) or not is_canonical:
            raise self._wrong("it is not a JSON object with sorted keys and no spaces")
        return told

    def _header(self, line: bytes) -> BundleHeader:
        told = self._parsed(line)
        if told.get("bundle") != _NAME:
            raise self._wrong("it is not the header of a leasehold bundle")
        version = told.get("format_version")
        if type(version) is not int or version != FORMAT_VERSION:
            raise self._wrong(
                f"its format_version is {version!r}, this version of leasehold reads "
                f"{FORMAT_VERSION}"
            )
        self._check_schema_versions(told.get("schema_versions"))
        is_redacted, original = told.get("redacted"), told.get("original_sha256")
        if not isinstance(is_redacted, bool) or is_redacted != _is_digest(original):
            raise self._wrong(
                "it must tell whether it is redacted, and then the digest of the "
                "original as original_sha256"
            )
        unknown = told.keys() - {
            "bundle",
            "format_version",
            "redacted",
            "schema_versions",
            "original_sha256",
        }
        if unknown:
            named = ", ".join(sorted(unknown))
            raise self._wrong(f"it tells what is not known: {named}")
        self._digest.update(line + b"\n")
        return BundleHeader(is_redacted, original)

    def _check_schema_versions(self, told: object) -> None:
        if not isinstance(told, dict):
            raise self._wrong("its schema_versions are missing")
        for topic, version in told.items():
            known = _SCHEMA_VERSIONS.get(topic, 0)
            if type(version) is not int or not 1 <= version <= known:
                raise self._wrong(
                    f"it has events of {topic!r} in version {version!r}, which this "
                    "version of leasehold does not know; install a later one"
                )

    def _event(self, line: bytes) -> tuple[RecordedEvent, bytes]:
        match = _EVENT.fullmatch(line)
        if match is None:
            raise self._wrong("it is not the line of an event")
        position, version = int(match[1]), int(match[5])
        state, stream_id, topic = match[2], match[3].decode(), match[4].decode()
        try:
            recorded = self._sequence.check(
                (position, stream_id, version, topic, state)
            )
        except StoreError as error:
            raise self._wrong(str(error)) from error
        return recorded, state

    def _check_end(self, line: bytes, events: int) -> None:
        told = self._parsed(line)
        sha256 = self._digest.hexdigest()
        if line != _line({"events": events, "sha256": sha256})[:-1]:
            raise self._wrong(
                f"it tells of {told.get('events')!r} events and the digest "
                f"{told.get('sha256')!r}; the lines before it are {events} events "
                f"with the digest {sha256}: one was dropped, added or altered"
            )


def _is_digest(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) == _HEX_DIGITS
        and all(character in "0123456789abcdef" for character in value)
    )
