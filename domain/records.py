"""An event together with its place in the log."""

from dataclasses import dataclass

from leasehold.domain.events import DomainEvent


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as stored.

    Attributes:
        position: Its place in the log; grows along each execution.
        stream_id: The stream that it belongs to.
        version: Its place in the stream, from 1.
        topic: Its stored name.
        recorded_at_ms: When it happened, in ms since the Unix epoch.
        event: The event.
        sha256: Its own hash in hex, over the hash of the event before it in its
            stream, the stream, the version, the topic and the content.
    """

    position: int
    stream_id: str
    version: int
    topic: str
    recorded_at_ms: int
    event: DomainEvent
    sha256: str
