"""What each event changes in `attempt`, by equality."""

import pytest
from event_samples import EXECUTION, EXPIRY, LEASE, NEXT_LEASE, NOW, TTL, make

from leasehold.domain.attempts import (
    AttemptCancelled,
    AttemptDeadlinePassed,
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
from leasehold.domain.frames import FrameAppended
from leasehold.domain.states import TerminalCause
from leasehold.projections import attempt
from leasehold.projections.changes import Insert, Place, Update

PLACE = Place(str(EXECUTION), 4, "e5" * 32)
KEY = {"execution_id": str(EXECUTION), "attempt_index": 0}


def head(at_ms=NOW):
    return {
        "stream_version": 4,
        "stream_sha256": "e5" * 32,
        "last_event_at_ms": at_ms,
    }


def ended(outcome, at_ms=NOW, lease_ended_at_ms=NOW):
    values = {
        "lease_state": "ended",
        "lease_expires_at_ms": None,
        "terminal_at_ms": at_ms,
        "outcome": outcome,
        **head(at_ms),
    }
    if lease_ended_at_ms is not None:
        values["lease_ended_at_ms"] = lease_ended_at_ms
    return values


def changes(event):
    rule = attempt.rules.rule_for(type(event))
    return rule(event, PLACE)


def test_a_start_adds_the_row() -> None:
    row = {
        **KEY,
        "lane_id": "lane",
        "worker_id": "worker-1",
        "worker_instance_id": "instance-1",
        "lease_id": str(LEASE),
        "lease_epoch": 1,
        "lease_ttl_ms": TTL,
        "lease_state": "held",
        "lease_expires_at_ms": EXPIRY,
        "lease_ended_at_ms": None,
        "started_at_ms": NOW,
        "terminal_at_ms": None,
        "outcome": None,
        "failure_class": None,
        "failure_message": None,
        "failure_detail": None,
        "frames_version": 0,
        "frames_sha256": None,
        **head(),
    }
    assert changes(make(AttemptStarted)) == (Insert("attempt", row),)


FAILURE = {
    "failure_class": "transient",
    "failure_message": "broke",
    "failure_detail": "line 1",
}
RULES = {
    "progressed": (make(AttemptProgressed), head()),
    "renewed": (
        make(AttemptLeaseRenewed),
        {"lease_expires_at_ms": 1_900, **head()},
    ),
    "lease expired": (
        make(AttemptLeaseExpired),
        {
            "lease_state": "expired",
            "lease_expires_at_ms": None,
            "lease_ended_at_ms": EXPIRY,
            **head(1_600),
        },
    ),
    "resumed": (
        make(AttemptLeaseReclaimed),
        {
            "worker_id": "worker-2",
            "worker_instance_id": None,
            "lease_id": str(NEXT_LEASE),
            "lease_epoch": 2,
            "lease_ttl_ms": 700,
            "lease_state": "held",
            "lease_expires_at_ms": 2_400,
            "lease_ended_at_ms": None,
            **head(1_700),
        },
    ),
    "revoked": (
        make(AttemptLeaseRevoked),
        {
            "lease_state": "revoked",
            "lease_expires_at_ms": None,
            "lease_ended_at_ms": NOW,
            **head(),
        },
    ),
    "interrupted": (
        make(AttemptInterrupted),
        ended("interrupted_reclaimed", 1_700, lease_ended_at_ms=None),
    ),
    "succeeded": (make(AttemptSucceeded), ended("success")),
    "retried": (make(AttemptFailed), {**ended("retry"), **FAILURE}),
    "failed": (
        make(
            AttemptFailed,
            retry_at_ms=None,
            terminal_cause=TerminalCause.RETRIES_EXHAUSTED,
            failure_detail=None,
        ),
        {**ended("failed"), **FAILURE, "failure_detail": None},
    ),
    "cancelled": (make(AttemptCancelled), ended("cancelled")),
    "cancelled late": (
        make(AttemptCancelled, occurred_at_ms=1_800),
        ended("cancelled", 1_800, lease_ended_at_ms=EXPIRY),
    ),
    "cancelled after the lease had ended": (
        make(AttemptCancelled, lease_expires_at_ms=None),
        ended("cancelled", lease_ended_at_ms=None),
    ),
    "deadline passed": (make(AttemptDeadlinePassed), ended("expired")),
    "framed": (
        make(FrameAppended),
        {
            "frames_version": 4,
            "frames_sha256": "e5" * 32,
            "last_event_at_ms": NOW,
        },
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_an_event_makes_exactly_this_change(case) -> None:
    event, values = RULES[case]
    assert changes(event) == (Update("attempt", KEY, values),)


def test_every_rule_is_pinned_here() -> None:
    pinned = {type(event) for event, _ in RULES.values()} | {AttemptStarted}
    assert set(attempt.rules.event_types()) == pinned


def test_each_attempt_has_its_own_row() -> None:
    (update,) = changes(make(AttemptProgressed, attempt_index=7))
    assert update.key == {**KEY, "attempt_index": 7}
