"""Writes events past the ledger: with a right version and hash, and their rows."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from leasehold.adapters import codec
from leasehold.adapters.store import Append
from leasehold.domain import attempts, executions, frames, refusals, streams
from leasehold.projections.changes import Place

if TYPE_CHECKING:
    import leasehold
    from leasehold.domain.events import DomainEvent

INSERT = (
    "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
    " VALUES (?, ?, ?, ?)"
)


def head(ledger: leasehold.Ledger, stream_id: str) -> tuple[int, str]:
    """Return the version and the hash of the last event of a stream."""
    execution_id = uuid.UUID(stream_id[: streams.EXECUTION_ID_CHARACTERS])
    history = ledger.read.history(execution_id)
    there = [it for it in history if it.stream_id == stream_id]
    return (there[-1].version, there[-1].sha256) if there else (0, codec.FIRST_HASH)


def plant(ledger: leasehold.Ledger, *events: DomainEvent) -> list[int]:
    """Append events of one execution in one transaction; return their positions."""
    heads: dict[str, tuple[int, str]] = {}
    appends = []
    for event in events:
        stream_id = streams.of_event(event, event.execution_id)
        version, previous = heads.get(stream_id) or head(ledger, stream_id)
        state, sha256 = codec.encode(event, stream_id, version + 1, previous)
        heads[stream_id] = version + 1, sha256
        place = Place(stream_id, version + 1, sha256)
        appends.append(Append(event, place, state))
    behind: Any = ledger._store
    with behind.write() as session:
        session.append(appends)
    history = ledger.read.history(events[0].execution_id)
    return [it.position for it in history[-len(events) :]]


def plant_bytes(
    ledger: leasehold.Ledger, outsider: Any, stream_id: str, topic: str, content: bytes
) -> int:
    """Append what need not be an event, with the right hash; return its position."""
    version, previous = head(ledger, stream_id)
    sha256 = codec.hash_of(previous, stream_id, version + 1, topic, content)
    state = b'{"sha256":"' + sha256.encode() + b'",' + content[1:]
    outsider.execute(INSERT, stream_id, version + 1, topic, state)
    (row,) = outsider.execute("SELECT max(notification_id) AS n FROM stored_events")
    return int(row["n"])


class Holder:
    """A worker with a lease, whose events can be made whether it holds it or not."""

    def __init__(self, handle: leasehold.Handle, worker: str, instance: str | None):
        self.handle = handle
        self.facts: dict[str, Any] = {
            "execution_id": handle.execution_id,
            "attempt_index": handle.attempt_index,
            "lease_id": handle.lease_id,
            "lease_epoch": handle.lease_epoch,
            "worker_id": worker,
            "worker_instance_id": instance,
        }

    @property
    def lease(self) -> dict[str, Any]:
        """What an event of the execution says of the lease."""
        names = ("execution_id", "lease_id", "lease_epoch")
        return {name: self.facts[name] for name in names}

    def progressed(self, at_ms: int, **other: Any) -> DomainEvent:
        """Report progress."""
        facts = {**self.facts, **other}
        return attempts.AttemptProgressed(**facts, occurred_at_ms=at_ms, percent=1)

    def renewed(self, at_ms: int, expires_at_ms: int, **other: Any) -> DomainEvent:
        """Renew the lease."""
        return attempts.AttemptLeaseRenewed(
            **{**self.facts, **other},
            occurred_at_ms=at_ms,
            lease_expires_at_ms=expires_at_ms,
        )

    def framed(self, at_ms: int, **other: Any) -> DomainEvent:
        """Append a durable frame."""
        names = ("execution_id", "attempt_index", "lease_id", "lease_epoch")
        fields = {
            **{name: self.facts[name] for name in names},
            "occurred_at_ms": at_ms,
            "ts_ms": at_ms,
            "seq": 0,
            "frame_type": "stdout",
            "payload": b"x",
            "mode": frames.FrameMode.DURABLE,
        }
        return frames.FrameAppended(**{**fields, **other})

    def completed(self, at_ms: int) -> list[DomainEvent]:
        """Finish the work."""
        return [
            attempts.AttemptSucceeded(**self.facts, occurred_at_ms=at_ms),
            executions.ExecutionCompleted(**self.lease, occurred_at_ms=at_ms),
        ]

    def retried(self, at_ms: int) -> list[DomainEvent]:
        """Fail in a way that is retried."""
        return [
            attempts.AttemptFailed(
                **self.facts,
                occurred_at_ms=at_ms,
                failure_class="transient",
                failure_message="m",
                retry_at_ms=at_ms,
            ),
            executions.ExecutionRetryScheduled(
                **self.lease,
                occurred_at_ms=at_ms,
                attempt_index=self.facts["attempt_index"] + 1,
                retry_count=1,
                eligible_at_ms=at_ms,
                due=True,
                failure_message="m",
            ),
        ]

    def failed(self, at_ms: int) -> list[DomainEvent]:
        """Fail for good."""
        return [
            attempts.AttemptFailed(
                **self.facts,
                occurred_at_ms=at_ms,
                failure_class="permanent",
                failure_message="m",
                terminal_cause="not_retryable",
            ),
            executions.ExecutionFailed(
                **self.lease,
                occurred_at_ms=at_ms,
                cause="not_retryable",
                failure_message="m",
            ),
        ]

    def expired(self, at_ms: int, expires_at_ms: int, cause: str) -> DomainEvent:
        """Record the expiry of the lease."""
        return attempts.AttemptLeaseExpired(
            **self.facts,
            occurred_at_ms=at_ms,
            lease_expires_at_ms=expires_at_ms,
            cause=cause,
        )

    def interrupted(self, at_ms: int) -> DomainEvent:
        """Close the attempt for a take-over."""
        return attempts.AttemptInterrupted(**self.facts, occurred_at_ms=at_ms)

    def cancelled(self, at_ms: int) -> list[DomainEvent]:
        """Cancel the execution under this lease."""
        return [
            attempts.AttemptCancelled(**self.facts, occurred_at_ms=at_ms, actor="op"),
            executions.ExecutionCancelled(
                execution_id=self.facts["execution_id"],
                occurred_at_ms=at_ms,
                actor="op",
                reason="r",
            ),
        ]

    def past_its_deadline(self, at_ms: int) -> list[DomainEvent]:
        """Let the deadline pass under this lease."""
        return [
            attempts.AttemptDeadlinePassed(**self.facts, occurred_at_ms=at_ms),
            executions.ExecutionExpired(
                execution_id=self.facts["execution_id"],
                occurred_at_ms=at_ms,
                deadline_at_ms=at_ms,
            ),
        ]

    def revoked(self, at_ms: int) -> DomainEvent:
        """Take this lease away."""
        return attempts.AttemptLeaseRevoked(
            **self.facts, occurred_at_ms=at_ms, actor="op", reason="r"
        )

    def refused(self, at_ms: int, operation: str, late_ms: int) -> DomainEvent:
        """Record that a write with this lease was refused."""
        return refusals.RefusalRecorded(
            **self.facts,
            occurred_at_ms=at_ms,
            cause="lease_conflict",
            operation=operation,
            late_ms=late_ms,
            refused_count=1,
            current_lease_epoch=None,
        )

    def started(
        self, at_ms: int, worker: str, *, epoch: int | None = None, taken_over: bool
    ) -> list[DomainEvent]:
        """Let another worker claim the execution after this one."""
        lease = {
            "execution_id": self.facts["execution_id"],
            "attempt_index": self.facts["attempt_index"] + 1,
            "lease_id": uuid.uuid4(),
            "lease_epoch": self.facts["lease_epoch"] + 1 if epoch is None else epoch,
            "worker_id": worker,
        }
        return [
            executions.ExecutionClaimed(
                **lease, occurred_at_ms=at_ms, lease_reclaim_count=int(taken_over)
            ),
            attempts.AttemptStarted(
                **lease,
                occurred_at_ms=at_ms,
                lane_id="audited",
                lease_ttl_ms=1_000,
                lease_expires_at_ms=at_ms + 1_000,
                taken_over=taken_over,
            ),
        ]

    def resumed(
        self, at_ms: int, worker: str, *, epoch: int | None = None
    ) -> DomainEvent:
        """Let another worker resume the attempt with a grant."""
        return attempts.AttemptLeaseReclaimed(
            **{
                **self.facts,
                "lease_id": uuid.uuid4(),
                "lease_epoch": self.facts["lease_epoch"] + 1
                if epoch is None
                else epoch,
                "worker_id": worker,
                "worker_instance_id": None,
            },
            occurred_at_ms=at_ms,
            grant_id=uuid.uuid4(),
            lease_ttl_ms=1_000,
            lease_expires_at_ms=at_ms + 1_000,
        )


def holder_of(events: list[DomainEvent] | DomainEvent) -> Holder:
    """Give the holder that an acquisition makes."""
    event: Any = events[-1] if isinstance(events, list) else events
    return Holder(event, event.worker_id, event.worker_instance_id)
