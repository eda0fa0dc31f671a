"""What each event changes in `exec_core`, by equality."""

import pytest
from event_samples import EXECUTION, NOW, make

from leasehold.domain.attempts import (
    AttemptLeaseExpired,
    AttemptLeaseReclaimed,
    AttemptLeaseRevoked,
    AttemptProgressed,
)
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
from leasehold.domain.refusals import RefusalRecorded
from leasehold.domain.retries import Exponential, RetryPolicy
from leasehold.domain.states import TerminalCause
from leasehold.projections import exec_core
from leasehold.projections.changes import Insert, Merge, Place, Update, Upsert

PLACE = Place(str(EXECUTION), 4, "e5" * 32)
KEY = {"execution_id": str(EXECUTION)}
HEAD = {
    "stream_version": 4,
    "stream_sha256": "e5" * 32,
    "last_event_at_ms": NOW,
}


def standing(phase, ownership, eligibility, public, attempt, *, claimable):
    return {
        "lifecycle_phase": phase,
        "ownership_state": ownership,
        "eligibility_state": eligibility,
        "public_state": public,
        "attempt_state": attempt,
        "is_claimable": claimable,
    }


def runnable(attempt_state):
    return standing(
        "runnable", "unowned", "eligible_now", "pending", attempt_state, claimable=1
    )


def delayed(attempt_state):
    later = "not_eligible_until_time"
    return standing("runnable", "unowned", later, "delayed", attempt_state, claimable=0)


def active(ownership, attempt_state, *, claimable):
    return standing(
        "active",
        ownership,
        "not_applicable",
        "running",
        attempt_state,
        claimable=claimable,
    )


def terminal(public):
    columns = standing(
        "terminal",
        "unowned",
        "not_applicable",
        public,
        "attempt_terminal",
        claimable=0,
    )
    return {**columns, "terminal_at_ms": NOW, **HEAD}


def changes(event):
    rule = exec_core.rules.rule_for(type(event))
    return rule(event, PLACE)


CREATED_ROW = {
    **KEY,
    "namespace": "space",
    "lane_id": "lane",
    "attempt_index": 0,
    **runnable("initial"),
    "priority": 7,
    "created_at_ms": NOW,
    "started_at_ms": None,
    "eligible_at_ms": NOW,
    "deadline_at_ms": 9_000,
    "terminal_at_ms": None,
    "lease_reclaim_count": 0,
    "tags": '{"a":"1","b":"2"}',
    "raw_fields": "{}",
    "capabilities": "cpu,gpu",
    "idempotency_key": "once",
    "arguments_sha256": "ab" * 32,
    "retry_policy": '{"backoff":{"delay_ms":100},"max_retries":2}',
    "retry_count": 0,
    "max_reclaim_count": 1,
    "attempts_started": 0,
    "lease_epoch": 0,
    "terminal_cause": None,
    "refusals_version": 0,
    "refusals_sha256": None,
    **HEAD,
}


def test_a_creation_adds_the_row_and_the_payload_apart() -> None:
    assert changes(make(ExecutionCreated)) == (
        Insert("exec_state", CREATED_ROW),
        Insert("exec_blob", {**KEY, "payload": b"work", "result": None}),
    )


def test_a_creation_without_a_payload_adds_one_row() -> None:
    created = make(
        ExecutionCreated,
        payload=b"",
        due=False,
        eligible_at_ms=1_400,
        capabilities=(),
        tags={},
        idempotency_key=None,
        deadline_at_ms=None,
        retry_policy=RetryPolicy(backoff=Exponential(jitter=1)),
    )
    policy = (
        '{"backoff":{"initial_ms":1000,"jitter":1.0,"max_ms":60000,"multiplier":2.0},'
        '"max_retries":3}'
    )
    row = {
        **CREATED_ROW,
        **delayed("initial"),
        "eligible_at_ms": 1_400,
        "capabilities": "",
        "tags": "{}",
        "idempotency_key": None,
        "deadline_at_ms": None,
        "retry_policy": policy,
    }
    assert changes(created) == (Insert("exec_state", row),)


def update(values):
    return (Update("exec_state", KEY, values),)


def merge(patch, values=None):
    return (Merge("exec_state", KEY, "raw_fields", patch, values=values or {}),)


CLAIMED = {
    **active("leased", "running_attempt", claimable=0),
    "attempt_index": 0,
    "attempts_started": 1,
    "lease_epoch": 1,
    "lease_reclaim_count": 0,
    **HEAD,
}
RETRY = {
    "attempt_index": 1,
    "eligible_at_ms": 1_100,
    "retry_count": 1,
    **HEAD,
}
FAILED = {**terminal("failed"), "terminal_cause": "not_retryable"}
RULES = {
    "became eligible": (
        make(ExecutionBecameEligible),
        update(
            {
                "eligibility_state": "eligible_now",
                "public_state": "pending",
                "is_claimable": 1,
                **HEAD,
            }
        ),
    ),
    "claimed for the first time": (
        make(ExecutionClaimed),
        update({**CLAIMED, "started_at_ms": NOW}),
    ),
    "claimed again": (
        make(ExecutionClaimed, attempt_index=2, lease_epoch=5, lease_reclaim_count=1),
        update(
            {
                **CLAIMED,
                "attempt_index": 2,
                "attempts_started": 3,
                "lease_epoch": 5,
                "lease_reclaim_count": 1,
            }
        ),
    ),
    "resumed": (
        make(AttemptLeaseReclaimed),
        update({**active("leased", "running_attempt", claimable=0), "lease_epoch": 2}),
    ),
    "lease expired": (
        make(AttemptLeaseExpired),
        update(active("lease_expired_reclaimable", "attempt_interrupted", claimable=1)),
    ),
    "lease revoked": (
        make(AttemptLeaseRevoked),
        update(active("lease_revoked", "attempt_interrupted", claimable=1)),
    ),
    "progressed": (
        make(AttemptProgressed),
        merge({"progress_pct": 42, "progress_message": "halfway"}),
    ),
    "progressed, percent only": (
        make(AttemptProgressed, percent=0, message=None),
        merge({"progress_pct": 0}),
    ),
    "progressed, message only": (
        make(AttemptProgressed, percent=None, message=""),
        merge({"progress_message": ""}),
    ),
    "granted": (make(ExecutionResumeGrantIssued), update(HEAD)),
    "reprioritised": (
        make(ExecutionReprioritised),
        update({"priority": 8, **HEAD}),
    ),
    "retry, delayed": (
        make(ExecutionRetryScheduled),
        merge(
            {"last_failure_message": "broke"},
            {**delayed("pending_retry_attempt"), **RETRY},
        ),
    ),
    "retry, due": (
        make(ExecutionRetryScheduled, due=True),
        merge(
            {"last_failure_message": "broke"},
            {**runnable("pending_retry_attempt"), **RETRY},
        ),
    ),
    "failed": (
        make(ExecutionFailed),
        merge({"last_failure_message": "broke"}, FAILED),
    ),
    "failed after too many take-overs": (
        make(
            ExecutionFailed,
            cause=TerminalCause.RECLAIMS_EXHAUSTED,
            lease_id=None,
            lease_epoch=None,
            failure_message=None,
        ),
        update({**FAILED, "terminal_cause": "reclaims_exhausted"}),
    ),
    "completed": (
        make(ExecutionCompleted),
        (
            *update(terminal("completed")),
            Upsert("exec_blob", KEY, {"result": b"done"}),
        ),
    ),
    "completed with an empty result": (
        make(ExecutionCompleted, result=b""),
        (*update(terminal("completed")), Upsert("exec_blob", KEY, {"result": b""})),
    ),
    "completed without a result": (
        make(ExecutionCompleted, result=None),
        update(terminal("completed")),
    ),
    "cancelled": (
        make(ExecutionCancelled),
        merge({"cancellation_reason": "because"}, terminal("cancelled")),
    ),
    "expired": (make(ExecutionExpired), update(terminal("expired"))),
    "replayed": (
        make(ExecutionReplayed),
        (
            *update(
                {
                    **runnable("pending_replay_attempt"),
                    "attempt_index": 1,
                    "eligible_at_ms": NOW,
                    "deadline_at_ms": None,
                    "terminal_at_ms": None,
                    "terminal_cause": None,
                    "lease_reclaim_count": 0,
                    "retry_count": 0,
                    **HEAD,
                }
            ),
            Update("exec_blob", KEY, {"result": None}),
        ),
    ),
    "refused": (
        make(RefusalRecorded),
        update(
            {
                "refusals_version": 4,
                "refusals_sha256": "e5" * 32,
                "last_event_at_ms": NOW,
            }
        ),
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_an_event_makes_exactly_these_changes(case) -> None:
    event, expected = RULES[case]
    assert changes(event) == expected


def test_every_rule_is_pinned_here() -> None:
    pinned = {type(event) for event, _ in RULES.values()} | {ExecutionCreated}
    assert set(exec_core.rules.event_types()) == pinned


def test_text_that_looks_like_the_stored_null_is_text() -> None:
    (merged,) = changes(make(AttemptProgressed, percent=None, message="__ff_null__"))
    assert merged.null_sentinel is None
