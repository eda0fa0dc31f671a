"""Say in words what an event tells: who did it, and what it changed."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

import leasehold
from leasehold.adapters.command_line import output
from leasehold.domain import attempts, executions, frames, refusals
from leasehold.domain.events import DomainEvent

_TEXT_CHARACTERS_MAX: Final = 300
_HOLDERS_MAX: Final = 4096
_MINUTE_MS: Final = 60_000
_IN_SECONDS_MINUTES: Final = 2
"""Up to here a duration is told in seconds alone."""
NOBODY: Final = "-"


class Holders:
    """Remembers who held a lease, for the events that tell the lease alone."""

    def __init__(self) -> None:
        """Know nobody yet."""
        self._worker_of: dict[UUID, str] = {}

    def know(self, lease_id: UUID, worker_id: str) -> None:
        """Remember the holder of a lease; the oldest are forgotten."""
        self._worker_of[lease_id] = worker_id
        if len(self._worker_of) > _HOLDERS_MAX:
            del self._worker_of[next(iter(self._worker_of))]

    def who(self, event: DomainEvent) -> str:
        """Return the person, else the worker, that an event is of."""
        lease_id = getattr(event, "lease_id", None)
        worker_id = getattr(event, "worker_id", None)
        if lease_id is not None and worker_id is not None:
            self.know(lease_id, worker_id)
        actor = getattr(event, "actor", None)
        if actor is not None:
            return output.cell_text(actor)
        if isinstance(event, _OF_ANOTHER):
            return NOBODY
        if worker_id is None and lease_id is not None:
            worker_id = self._worker_of.get(lease_id)
        return NOBODY if worker_id is None else output.cell_text(worker_id)


_OF_ANOTHER: Final = (
    executions.ExecutionResumeGrantIssued,
    attempts.AttemptLeaseExpired,
    attempts.AttemptInterrupted,
    attempts.AttemptDeadlinePassed,
)
"""Events that name a worker and were not caused by it; by whom is not on record."""


def epoch_text(event: DomainEvent) -> str:
    """Return the epoch that an event was written under."""
    epoch = getattr(event, "lease_epoch", None)
    return NOBODY if epoch is None else str(epoch)


def lasting(duration_ms: int) -> str:
    """Write a duration in seconds, a long one also in minutes and hours."""
    if duration_ms < 0:
        return f"-{lasting(-duration_ms)}"
    minutes, rest_ms = divmod(duration_ms, _MINUTE_MS)
    if minutes < _IN_SECONDS_MINUTES:
        minutes, rest_ms = 0, duration_ms
    hours, minutes = divmod(minutes, 60)
    # In integers: what a bundle tells may be larger than a float can be.
    whole, thousandths = divmod(rest_ms, 1000)
    seconds = f"{whole}.{thousandths:03}".rstrip("0").rstrip(".")
    parts = [(f"{hours} h", hours), (f"{minutes} min", minutes)]
    told = [text for text, size in parts if size]
    return " ".join([*told, f"{seconds} s"] if rest_ms or not told else told)


def words(event: DomainEvent) -> str:
    """Say what an event changed, escaped for a terminal."""
    text = _WORDS[type(event)](event)
    if event.clock_at_ms is not None:
        back_ms = event.occurred_at_ms - event.clock_at_ms
        text += f"; the clock had stepped back by {lasting(back_ms)}"
    return output.escaped(text)


def _quoted(text: str | None) -> str:
    """Write what somebody gave as a reason or message, behind a colon."""
    if not text:
        return ""
    cut = text if len(text) <= _TEXT_CHARACTERS_MAX else text[:_TEXT_CHARACTERS_MAX]
    return f": {cut}{'…' if len(cut) < len(text) else ''}"


def _runs(event: Any) -> str:  # noqa: ANN401 - several events have these fields
    return f"its lease runs {lasting(event.lease_expires_at_ms - event.occurred_at_ms)}"


def _size(value: bytes) -> str:
    return output.size_text(len(value))


def _created(event: executions.ExecutionCreated) -> str:
    told = [f"created in lane {event.lane_id}"]
    if event.namespace != "default":
        told.append(f"namespace {event.namespace}")
    if event.payload:
        told.append(f"payload {_size(event.payload)}")
    if event.priority:
        told.append(f"priority {event.priority}")
    if event.capabilities:
        told.append(f"needs {' '.join(event.capabilities)}")
    if not event.due:
        told.append(f"not before {output.time_text(event.eligible_at_ms)}")
    if event.deadline_at_ms is not None:
        told.append(f"deadline {output.time_text(event.deadline_at_ms)}")
    if event.idempotency_key is not None:
        told.append(f"key {output.cut(event.idempotency_key)}")
    if event.tags:
        tags = " ".join(f"{key}={value}" for key, value in event.tags.items())
        told.append(f"tags {output.cut(tags)}")
    return ", ".join(told)


def _claimed(event: executions.ExecutionClaimed) -> str:
    text = f"claimed for attempt {event.attempt_index}"
    count = event.lease_reclaim_count
    if count:
        text += f", after {count} take-over{'s' if count > 1 else ''}"
    return text


def _granted(event: executions.ExecutionResumeGrantIssued) -> str:
    stands = lasting(event.expires_at_ms - event.occurred_at_ms)
    return f"{event.worker_id} may resume the attempt, for {stands}"


def _retried(event: executions.ExecutionRetryScheduled) -> str:
    text = f"to be retried as attempt {event.attempt_index}"
    if not event.due:
        text += f", in {lasting(event.eligible_at_ms - event.occurred_at_ms)}"
    return f"{text} (retry {event.retry_count})"


def _completed(event: executions.ExecutionCompleted) -> str:
    return "completed" if event.result is None else f"completed, {_size(event.result)}"


def _failed_for_good(event: executions.ExecutionFailed) -> str:
    return f"failed for good, {event.cause}{_quoted(event.failure_message)}"


def _started(event: attempts.AttemptStarted) -> str:
    verb = "took over as" if event.taken_over else "started"
    return f"{verb} attempt {event.attempt_index}; {_runs(event)}"


def _progressed(event: attempts.AttemptProgressed) -> str:
    percent = "" if event.percent is None else f" {event.percent} %"
    return f"progress{percent}{_quoted(event.message)}"


def _ran_out(event: attempts.AttemptLeaseExpired) -> str:
    late_ms = event.occurred_at_ms - event.lease_expires_at_ms
    return (
        f"the lease of {event.worker_id} had run out {lasting(late_ms)} before; "
        f"noticed by a {event.cause}"
    )


def _attempt_failed(event: attempts.AttemptFailed) -> str:
    what = f"attempt {event.attempt_index} failed, {event.failure_class}"
    return f"{what}{_quoted(event.failure_message)}"


def _framed(event: frames.FrameAppended) -> str:
    text = f"frame {event.frame_type}, {_size(event.payload)}"
    if event.summary_version is not None:
        text += f", makes summary version {event.summary_version}"
    return text


def _refused(event: refusals.RefusalRecorded) -> str:
    text = f"refused: {event.operation}, {event.cause}"
    if event.late_ms is not None:
        text += f", {lasting(event.late_ms)} too late"
    current = event.current_lease_epoch
    if current is not None and current != event.lease_epoch:
        text += f"; the epoch is {current}"
    if event.refused_count > 1:
        text += f"; refused {event.refused_count} times so far"
    return text


_WORDS: Final[Mapping[type[DomainEvent], Callable[[Any], str]]] = {
    executions.ExecutionCreated: _created,
    executions.ExecutionBecameEligible: lambda _: "its delay was over",
    executions.ExecutionClaimed: _claimed,
    executions.ExecutionResumeGrantIssued: _granted,
    executions.ExecutionReprioritised: lambda event: f"priority {event.priority}",
    executions.ExecutionRetryScheduled: _retried,
    executions.ExecutionFailed: _failed_for_good,
    executions.ExecutionCompleted: _completed,
    executions.ExecutionCancelled: lambda event: f"cancelled{_quoted(event.reason)}",
    executions.ExecutionExpired: lambda event: (
        f"expired: its deadline was {output.time_text(event.deadline_at_ms)}"
    ),
    executions.ExecutionReplayed: lambda event: (
        f"reopened as attempt {event.attempt_index}{_quoted(event.reason)}"
    ),
    attempts.AttemptStarted: _started,
    attempts.AttemptProgressed: _progressed,
    attempts.AttemptLeaseRenewed: lambda event: f"renewed; {_runs(event)}",
    attempts.AttemptLeaseExpired: _ran_out,
    attempts.AttemptLeaseReclaimed: lambda event: (
        f"resumed attempt {event.attempt_index}; {_runs(event)}"
    ),
    attempts.AttemptLeaseRevoked: lambda event: (
        f"revoked the lease of {event.worker_id}{_quoted(event.reason)}"
    ),
    attempts.AttemptInterrupted: lambda event: (
        f"attempt {event.attempt_index} of {event.worker_id} was interrupted"
    ),
    attempts.AttemptSucceeded: lambda event: f"attempt {event.attempt_index} succeeded",
    attempts.AttemptFailed: _attempt_failed,
    attempts.AttemptCancelled: lambda event: (
        f"ended attempt {event.attempt_index} of {event.worker_id}"
    ),
    attempts.AttemptDeadlinePassed: lambda event: (
        f"attempt {event.attempt_index} of {event.worker_id} ended: the deadline passed"
    ),
    frames.FrameAppended: _framed,
    refusals.RefusalRecorded: _refused,
}


def story_of(record: leasehold.RecordedEvent, holders: Holders) -> tuple[str, str, str]:
    """Return the epoch, who it was, and what changed."""
    event = record.event
    return epoch_text(event), holders.who(event), words(event)
