"""One made-up event of each type, to be changed field by field, and folds of them."""

from typing import Any, TypeVar
from uuid import UUID

from leasehold.domain import attempts, executions
from leasehold.domain.attempts import (
    AnyAttemptEvent,
    Attempt,
    AttemptCancelled,
    AttemptDeadlinePassed,
    AttemptEvent,
    AttemptFailed,
    AttemptInterrupted,
    AttemptLeaseExpired,
    AttemptLeaseReclaimed,
    AttemptLeaseRenewed,
    AttemptLeaseRevoked,
    AttemptProgressed,
    AttemptStarted,
    AttemptSucceeded,
)
from leasehold.domain.events import DomainEvent
from leasehold.domain.executions import (
    Execution,
    ExecutionBecameEligible,
    ExecutionCancelled,
    ExecutionClaimed,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionEvent,
    ExecutionExpired,
    ExecutionFailed,
    ExecutionReplayed,
    ExecutionReprioritised,
    ExecutionResumeGrantIssued,
    ExecutionRetryScheduled,
)
from leasehold.domain.frames import FrameAppended, FrameMode
from leasehold.domain.refusals import RefusalRecorded
from leasehold.domain.retries import Fixed, RetryPolicy
from leasehold.domain.states import FailureClass, LeaseCause, TerminalCause

NOW = 1_000
TTL = 500
EXPIRY = NOW + TTL
EXECUTION = UUID("018f0000-0000-7000-8000-000000000001")
LEASE = UUID("00000000-0000-4000-8000-000000000001")
NEXT_LEASE = UUID("00000000-0000-4000-8000-000000000002")
GRANT = UUID("00000000-0000-4000-8000-00000000000a")
POLICY = RetryPolicy(max_retries=2, backoff=Fixed(100))

E = TypeVar("E", bound=DomainEvent)

LEASE_FIELDS: dict[str, Any] = {
    "attempt_index": 0,
    "lease_id": LEASE,
    "lease_epoch": 1,
}
HOLDER_FIELDS: dict[str, Any] = {
    **LEASE_FIELDS,
    "worker_id": "worker-1",
    "worker_instance_id": "instance-1",
}
BY_A_PERSON: dict[str, Any] = {"actor": "ann", "reason": "because"}

FIELDS: dict[type[DomainEvent], dict[str, Any]] = {
    ExecutionCreated: {
        "namespace": "space",
        "lane_id": "lane",
        "payload": b"work",
        "capabilities": ("cpu", "gpu"),
        "priority": 7,
        "idempotency_key": "once",
        "eligible_at_ms": NOW,
        "due": True,
        "deadline_at_ms": 9_000,
        "retry_policy": POLICY,
        "max_reclaim_count": 1,
        "tags": {"b": "2", "a": "1"},
        "actor": "ann",
        "arguments_sha256": "ab" * 32,
    },
    ExecutionBecameEligible: {"eligible_at_ms": NOW},
    ExecutionClaimed: {
        **LEASE_FIELDS,
        "worker_id": "worker-1",
        "lease_reclaim_count": 0,
    },
    ExecutionResumeGrantIssued: {
        "grant_id": GRANT,
        "worker_id": "worker-2",
        "expires_at_ms": 3_000,
        "actor": "ann",
    },
    ExecutionReprioritised: {"priority": 8, "actor": "ann"},
    ExecutionRetryScheduled: {
        **LEASE_FIELDS,
        "attempt_index": 1,
        "retry_count": 1,
        "eligible_at_ms": 1_100,
        "due": False,
        "failure_message": "broke",
    },
    ExecutionFailed: {
        "cause": TerminalCause.NOT_RETRYABLE,
        "lease_id": LEASE,
        "lease_epoch": 1,
        "failure_message": "broke",
    },
    ExecutionCompleted: {"lease_id": LEASE, "lease_epoch": 1, "result": b"done"},
    ExecutionCancelled: BY_A_PERSON,
    ExecutionExpired: {"deadline_at_ms": 9_000},
    ExecutionReplayed: {"attempt_index": 1, **BY_A_PERSON},
    AttemptStarted: {
        "lane_id": "lane",
        "lease_ttl_ms": TTL,
        "lease_expires_at_ms": EXPIRY,
        "taken_over": False,
    },
    AttemptProgressed: {"percent": 42, "message": "halfway"},
    AttemptLeaseRenewed: {"lease_expires_at_ms": 1_900},
    AttemptLeaseExpired: {
        "lease_expires_at_ms": EXPIRY,
        "cause": LeaseCause.SWEEP,
        "occurred_at_ms": 1_600,
    },
    AttemptLeaseReclaimed: {
        "worker_id": "worker-2",
        "worker_instance_id": None,
        "lease_id": NEXT_LEASE,
        "lease_epoch": 2,
        "grant_id": GRANT,
        "lease_ttl_ms": 700,
        "lease_expires_at_ms": 2_400,
        "occurred_at_ms": 1_700,
    },
    AttemptLeaseRevoked: {"lease_expires_at_ms": EXPIRY, **BY_A_PERSON},
    AttemptInterrupted: {"occurred_at_ms": 1_700},
    AttemptSucceeded: {"lease_expires_at_ms": EXPIRY, "result_sha256": "cd" * 32},
    AttemptFailed: {
        "lease_expires_at_ms": EXPIRY,
        "failure_class": FailureClass.TRANSIENT,
        "failure_message": "broke",
        "failure_detail": "line 1",
        "retry_at_ms": 1_100,
    },
    AttemptCancelled: {"lease_expires_at_ms": EXPIRY, "actor": "ann"},
    AttemptDeadlinePassed: {"lease_expires_at_ms": EXPIRY},
    FrameAppended: {
        **LEASE_FIELDS,
        "ts_ms": NOW,
        "seq": 3,
        "frame_type": "stdout",
        "payload": b"line",
        "correlation_id": "call-1",
        "mode": FrameMode.DURABLE,
    },
    RefusalRecorded: {
        **HOLDER_FIELDS,
        "cause": LeaseCause.LEASE_EXPIRED,
        "operation": "renew",
        "late_ms": 12,
        "refused_count": 4,
        "current_lease_epoch": 2,
    },
}


def make(event_type: type[E], **changes: Any) -> E:
    """Return the sample of a type with some fields changed."""
    fields = {"execution_id": EXECUTION, "occurred_at_ms": NOW}
    if issubclass(event_type, AttemptEvent):
        fields |= HOLDER_FIELDS
    return event_type(**{**fields, **FIELDS[event_type], **changes})


def execution_after(*events: ExecutionEvent) -> Execution:
    """Fold the stream of an execution."""
    execution = None
    for event in events:
        execution = executions.evolve(execution, event)
    assert execution is not None
    return execution


def attempt_after(*events: AnyAttemptEvent) -> Attempt:
    """Fold the stream of an attempt."""
    attempt = None
    for event in events:
        attempt = attempts.evolve(attempt, event)
    assert attempt is not None
    return attempt
