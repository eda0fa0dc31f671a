"""Taking what is confidential out of a history, so that the lease story is left.

Payloads, results, messages, reasons and failure details go, and the digests that would
tell of them; frames go as a whole. Ids, times, workers, lanes, tags, keys, leases and
causes stay.
"""

from typing import Any, Final

from leasehold.domain.attempts import (
    AttemptFailed,
    AttemptLeaseRevoked,
    AttemptProgressed,
    AttemptSucceeded,
)
from leasehold.domain.events import DomainEvent
from leasehold.domain.executions import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionFailed,
    ExecutionReplayed,
    ExecutionRetryScheduled,
)
from leasehold.domain.frames import FrameAppended

NO_DIGEST: Final = "0" * 64
"""What stands in the place of a digest that would tell of what was taken out."""

_REPLACED: Final[dict[type[DomainEvent], dict[str, Any]]] = {
    ExecutionCreated: {"payload": b"", "arguments_sha256": NO_DIGEST},
    ExecutionCompleted: {"result": None},
    ExecutionRetryScheduled: {"failure_message": ""},
    ExecutionFailed: {"failure_message": None},
    ExecutionCancelled: {"reason": ""},
    ExecutionReplayed: {"reason": ""},
    AttemptProgressed: {"message": None},
    AttemptSucceeded: {"result_sha256": None},
    AttemptFailed: {"failure_message": "", "failure_detail": None},
    AttemptLeaseRevoked: {"reason": ""},
}


def redacted(event: DomainEvent) -> DomainEvent | None:
    """Return an event without what is confidential; None where nothing would be left.

    An event that is redacted already stays as it is.
    """
    if isinstance(event, FrameAppended):
        return None
    replaced = _REPLACED.get(type(event))
    if replaced is None:
        return event
    fields = {name: getattr(event, name) for name in type(event).model_fields}
    return type(event).model_validate({**fields, **replaced})
