"""The table `exec_core`: where each execution stands.

Kept as two tables, `exec_state` and `exec_blob`, which the view `exec_core` joins: a
claim rewrites the row of `exec_state`, and must not rewrite a payload of 16 MiB.
"""

from dataclasses import asdict
from functools import lru_cache
from typing import Final

from leasehold.domain import states
from leasehold.domain.attempts import (
    AttemptLeaseExpired,
    AttemptLeaseReclaimed,
    AttemptLeaseRevoked,
    AttemptProgressed,
)
from leasehold.domain.events import DomainEvent
from leasehold.domain.executions import (
    ExecutionBecameEligible,
    ExecutionCancelled,
    ExecutionClaimed,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionExpired,
    ExecutionFailed,
    ExecutionReplayed,
    ExecutionReprioritised,
    ExecutionResumeGrantIssued,
    ExecutionRetryScheduled,
)
from leasehold.domain.merge_patch import JsonObject, canonical_json
from leasehold.domain.refusals import RefusalRecorded
from leasehold.domain.retries import RetryPolicy
from leasehold.domain.states import (
    EligibilityState,
    LifecyclePhase,
    OwnershipState,
    Standing,
)
from leasehold.projections.changes import (
    Changes,
    Insert,
    Merge,
    Place,
    Rules,
    Update,
    Upsert,
    Values,
)

STATE: Final = "exec_state"
BLOB: Final = "exec_blob"

rules: Final = Rules()


def _key(place: Place) -> Values:
    return {"execution_id": place.execution_id}


def _columns(standing: Standing) -> dict[str, str | int]:
    claimable = (
        standing.eligibility_state is EligibilityState.ELIGIBLE_NOW
        or standing.ownership_state
        in (OwnershipState.LEASE_EXPIRED_RECLAIMABLE, OwnershipState.LEASE_REVOKED)
    )
    return {
        "lifecycle_phase": standing.lifecycle_phase.value,
        "ownership_state": standing.ownership_state.value,
        "eligibility_state": standing.eligibility_state.value,
        "public_state": standing.public_state.value,
        "attempt_state": standing.attempt_state.value,
        "is_claimable": int(claimable),
    }


def _head(event: DomainEvent, place: Place) -> dict[str, str | int]:
    return {
        "stream_version": place.version,
        "stream_sha256": place.sha256,
        "last_event_at_ms": event.occurred_at_ms,
    }


_CREATED: Final = {due: _columns(of) for due, of in states.CREATED.items()}
_RETRY_SCHEDULED: Final = {
    due: _columns(of) for due, of in states.RETRY_SCHEDULED.items()
}
_REPLAYED: Final = _columns(states.REPLAYED)
_LEASED: Final = _columns(states.LEASED)
_LEASE_EXPIRED: Final = _columns(states.LEASE_EXPIRED)
_LEASE_REVOKED: Final = _columns(states.LEASE_REVOKED)
_COMPLETED: Final = _columns(states.COMPLETED)
_FAILED: Final = _columns(states.FAILED)
_CANCELLED: Final = _columns(states.CANCELLED)
_EXPIRED: Final = _columns(states.EXPIRED)


@lru_cache(maxsize=256)
def policy_json(policy: RetryPolicy) -> str:
    """Write a retry policy as it stands in the column."""
    return canonical_json(asdict(policy))


@rules.on(ExecutionCreated)
def created(event: ExecutionCreated, place: Place) -> Changes:
    """Add the row."""
    key = _key(place)
    state = Insert(
        STATE,
        {
            **key,
            "namespace": event.namespace,
            "lane_id": event.lane_id,
            "attempt_index": 0,
            **_CREATED[event.due],
            "priority": event.priority,
            "created_at_ms": event.occurred_at_ms,
            "started_at_ms": None,
            "eligible_at_ms": event.eligible_at_ms,
            "deadline_at_ms": event.deadline_at_ms,
            "terminal_at_ms": None,
            "lease_reclaim_count": 0,
            "tags": canonical_json(event.tags),
            "raw_fields": "{}",
            "capabilities": ",".join(event.capabilities),
            "idempotency_key": event.idempotency_key,
            "arguments_sha256": event.arguments_sha256,
            "retry_policy": policy_json(event.retry_policy),
            "retry_count": 0,
            "max_reclaim_count": event.max_reclaim_count,
            "attempts_started": 0,
            "lease_epoch": 0,
            "terminal_cause": None,
            "refusals_version": 0,
            "refusals_sha256": None,
            **_head(event, place),
        },
    )
    if not event.payload:
        return (state,)
    return (state, Insert(BLOB, {**key, "payload": event.payload, "result": None}))


@rules.on(ExecutionBecameEligible)
def became_eligible(event: ExecutionBecameEligible, place: Place) -> Changes:
    """Let claims take it."""
    values: Values = {
        "eligibility_state": EligibilityState.ELIGIBLE_NOW.value,
        "public_state": states.public_state(
            LifecyclePhase.RUNNABLE, EligibilityState.ELIGIBLE_NOW, None
        ).value,
        "is_claimable": 1,
        **_head(event, place),
    }
    return (Update(STATE, _key(place), values),)


@rules.on(ExecutionClaimed)
def claimed(event: ExecutionClaimed, place: Place) -> Changes:
    """Show who works on it."""
    values: dict[str, str | int] = {
        **_LEASED,
        "attempt_index": event.attempt_index,
        "attempts_started": event.attempt_index + 1,
        "lease_epoch": event.lease_epoch,
        "lease_reclaim_count": event.lease_reclaim_count,
        **_head(event, place),
    }
    if event.attempt_index == 0:
        values["started_at_ms"] = event.occurred_at_ms
    return (Update(STATE, _key(place), values),)


@rules.on(AttemptLeaseReclaimed)
def resumed(event: AttemptLeaseReclaimed, place: Place) -> Changes:
    """Show that the attempt goes on."""
    values: Values = {
        **_LEASED,
        "lease_epoch": event.lease_epoch,
    }
    return (Update(STATE, _key(place), values),)


@rules.on(AttemptLeaseExpired)
def lease_expired(event: AttemptLeaseExpired, place: Place) -> Changes:
    """Let claims take it over."""
    del event
    return (Update(STATE, _key(place), _LEASE_EXPIRED),)


@rules.on(AttemptLeaseRevoked)
def lease_revoked(event: AttemptLeaseRevoked, place: Place) -> Changes:
    """Let claims take it over."""
    del event
    return (Update(STATE, _key(place), _LEASE_REVOKED),)


@rules.on(AttemptProgressed)
def progressed(event: AttemptProgressed, place: Place) -> Changes:
    """Keep each field until it is given again."""
    patch: JsonObject = {}
    if event.percent is not None:
        patch["progress_pct"] = event.percent
    if event.message is not None:
        patch["progress_message"] = event.message
    return (Merge(STATE, _key(place), "raw_fields", patch),)


@rules.on(ExecutionResumeGrantIssued)
def grant_issued(event: ExecutionResumeGrantIssued, place: Place) -> Changes:
    """Keep the head of the stream."""
    return (Update(STATE, _key(place), _head(event, place)),)


@rules.on(ExecutionReprioritised)
def reprioritised(event: ExecutionReprioritised, place: Place) -> Changes:
    """Change the order of claims."""
    values: Values = {"priority": event.priority, **_head(event, place)}
    return (Update(STATE, _key(place), values),)


@rules.on(ExecutionRetryScheduled)
def retry_scheduled(event: ExecutionRetryScheduled, place: Place) -> Changes:
    """Let it wait for the next attempt."""
    values: Values = {
        **_RETRY_SCHEDULED[event.due],
        "attempt_index": event.attempt_index,
        "eligible_at_ms": event.eligible_at_ms,
        "retry_count": event.retry_count,
        **_head(event, place),
    }
    patch: JsonObject = {"last_failure_message": event.failure_message}
    return (Merge(STATE, _key(place), "raw_fields", patch, values=values),)


def _terminal(
    event: DomainEvent, place: Place, standing: dict[str, str | int]
) -> dict[str, str | int]:
    return {
        **standing,
        "terminal_at_ms": event.occurred_at_ms,
        **_head(event, place),
    }


@rules.on(ExecutionFailed)
def failed(event: ExecutionFailed, place: Place) -> Changes:
    """End it, with the cause."""
    values: Values = {
        **_terminal(event, place, _FAILED),
        "terminal_cause": event.cause.value,
    }
    if event.failure_message is None:
        return (Update(STATE, _key(place), values),)
    patch: JsonObject = {"last_failure_message": event.failure_message}
    return (Merge(STATE, _key(place), "raw_fields", patch, values=values),)


@rules.on(ExecutionCompleted)
def completed(event: ExecutionCompleted, place: Place) -> Changes:
    """End it, with the result."""
    state = Update(STATE, _key(place), _terminal(event, place, _COMPLETED))
    if event.result is None:
        return (state,)
    return (state, Upsert(BLOB, _key(place), {"result": event.result}))


@rules.on(ExecutionCancelled)
def cancelled(event: ExecutionCancelled, place: Place) -> Changes:
    """End it, with the reason."""
    values = _terminal(event, place, _CANCELLED)
    patch: JsonObject = {"cancellation_reason": event.reason}
    return (Merge(STATE, _key(place), "raw_fields", patch, values=values),)


@rules.on(ExecutionExpired)
def expired(event: ExecutionExpired, place: Place) -> Changes:
    """End it."""
    return (Update(STATE, _key(place), _terminal(event, place, _EXPIRED)),)


@rules.on(ExecutionReplayed)
def replayed(event: ExecutionReplayed, place: Place) -> Changes:
    """Open it again."""
    values: Values = {
        **_REPLAYED,
        "attempt_index": event.attempt_index,
        "eligible_at_ms": event.occurred_at_ms,
        "deadline_at_ms": None,
        "terminal_at_ms": None,
        "terminal_cause": None,
        "lease_reclaim_count": 0,
        "retry_count": 0,
        **_head(event, place),
    }
    return (
        Update(STATE, _key(place), values),
        Update(BLOB, _key(place), {"result": None}),
    )


@rules.on(RefusalRecorded)
def refused(event: RefusalRecorded, place: Place) -> Changes:
    """Keep the head of the stream of refusals."""
    values: Values = {
        "refusals_version": place.version,
        "refusals_sha256": place.sha256,
        "last_event_at_ms": event.occurred_at_ms,
    }
    return (Update(STATE, _key(place), values),)
