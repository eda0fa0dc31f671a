"""All events, by the topic that they are stored under."""

from collections.abc import Mapping
from typing import Final, get_args

from leasehold.domain.attempts import AnyAttemptEvent
from leasehold.domain.events import DomainEvent
from leasehold.domain.executions import ExecutionEvent
from leasehold.domain.frames import FrameAppended
from leasehold.domain.refusals import RefusalRecorded

EVENT_TYPES: Final[tuple[type[DomainEvent], ...]] = (
    *get_args(ExecutionEvent),
    *get_args(AnyAttemptEvent),
    FrameAppended,
    RefusalRecorded,
)
"""Every event that a store may hold."""

BY_TOPIC: Final[Mapping[str, type[DomainEvent]]] = {
    event_type.TOPIC: event_type for event_type in EVENT_TYPES
}
