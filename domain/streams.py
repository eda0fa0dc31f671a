"""The streams that an execution's events are kept in.

Execution `<id>`, attempt `<id>/<index>`, its frames `<id>/<index>/frames`, and the
refusals `<id>/refusals`.
"""

from typing import Final
from uuid import UUID

from leasehold.domain.attempts import AttemptEvent
from leasehold.domain.events import DomainEvent
from leasehold.domain.frames import FrameAppended
from leasehold.domain.refusals import RefusalRecorded

EXECUTION_ID_CHARACTERS: Final = 36
"""How many characters of a stream id are the id of the execution."""


def of_execution(execution_id: UUID | str) -> str:
    """Name the stream of an execution."""
    return str(execution_id)


def of_attempt(execution_id: UUID | str, attempt_index: int) -> str:
    """Name the stream of an attempt."""
    return f"{execution_id}/{attempt_index}"


def of_frames(execution_id: UUID | str, attempt_index: int) -> str:
    """Name the stream of an attempt's durable and summary frames."""
    return f"{execution_id}/{attempt_index}/frames"


def of_refusals(execution_id: UUID | str) -> str:
    """Name the stream of an execution's refused writes."""
    return f"{execution_id}/refusals"


def of_event(event: DomainEvent, execution_id: UUID | str) -> str:
    """Name the stream that an event belongs to.

    Args:
        event: The event.
        execution_id: The event's own; as text where the caller has it so.
    """
    if isinstance(event, AttemptEvent):
        return of_attempt(execution_id, event.attempt_index)
    if isinstance(event, FrameAppended):
        return of_frames(execution_id, event.attempt_index)
    if isinstance(event, RefusalRecorded):
        return of_refusals(execution_id)
    return of_execution(execution_id)
