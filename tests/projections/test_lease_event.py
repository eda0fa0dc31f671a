"""What each event adds to `lease_event`, by equality."""

import pytest
from event_samples import EXECUTION, EXPIRY, LEASE, NEXT_LEASE, NOW, make

from leasehold.domain.attempts import (
    AttemptCancelled,
    AttemptDeadlinePassed,
    AttemptFailed,
    AttemptLeaseExpired,
    AttemptLeaseReclaimed,
    AttemptLeaseRenewed,
    AttemptLeaseRevoked,
    AttemptStarted,
    AttemptSucceeded,
)
from leasehold.domain.refusals import RefusalRecorded
from leasehold.domain.states import LeaseCause, TerminalCause
from leasehold.projections import lease_event
from leasehold.projections.changes import POSITION, Insert, Place

PLACE = Place(str(EXECUTION), 4, "e5" * 32)


def row(event_type, cause, **columns):
    return {
        "event_id": POSITION,
        "execution_id": str(EXECUTION),
        "attempt_index": 0,
        "lease_id": str(LEASE),
        "lease_epoch": 1,
        "event_type": event_type,
        "cause": cause,
        "worker_id": "worker-1",
        "worker_instance_id": "instance-1",
        "actor": None,
        "expires_at_ms": EXPIRY,
        "occurred_at_ms": NOW,
        "operation": None,
        "late_ms": None,
        "refused_count": None,
        **columns,
    }


REFUSED = {
    "expires_at_ms": None,
    "operation": "renew",
    "late_ms": 12,
    "refused_count": 4,
}
ROWS = {
    "claimed": (make(AttemptStarted), row("acquired", "claim")),
    "taken over": (make(AttemptStarted, taken_over=True), row("reclaimed", "claim")),
    "renewed": (
        make(AttemptLeaseRenewed),
        row("renewed", "renew", expires_at_ms=1_900),
    ),
    "found expired by a sweep": (
        make(AttemptLeaseExpired),
        row("expired", "sweep", occurred_at_ms=1_600),
    ),
    "found expired by a claim": (
        make(AttemptLeaseExpired, cause=LeaseCause.CLAIM),
        row("expired", "claim", occurred_at_ms=1_600),
    ),
    "resumed": (
        make(AttemptLeaseReclaimed),
        row(
            "reclaimed",
            "resume_grant",
            lease_id=str(NEXT_LEASE),
            lease_epoch=2,
            worker_id="worker-2",
            worker_instance_id=None,
            expires_at_ms=2_400,
            occurred_at_ms=1_700,
        ),
    ),
    "revoked": (make(AttemptLeaseRevoked), row("revoked", "operator", actor="ann")),
    "completed": (make(AttemptSucceeded), row("revoked", "completed")),
    "retried": (make(AttemptFailed), row("revoked", "retry_scheduled")),
    "failed": (
        make(
            AttemptFailed,
            retry_at_ms=None,
            terminal_cause=TerminalCause.NOT_RETRYABLE,
        ),
        row("revoked", "failed"),
    ),
    "cancelled": (make(AttemptCancelled), row("revoked", "cancelled", actor="ann")),
    "cancelled after the lease had ended": (
        make(AttemptCancelled, lease_expires_at_ms=None),
        row("revoked", "cancelled", actor="ann", expires_at_ms=None),
    ),
    "deadline passed": (make(AttemptDeadlinePassed), row("revoked", "deadline")),
    **{
        f"refused, {cause}": (
            make(RefusalRecorded, cause=LeaseCause(cause)),
            row("refused", cause, **REFUSED),
        )
        for cause in (
            "lease_conflict",
            "lease_expired",
            "lease_revoked",
            "execution_not_active",
        )
    },
    "refused, of a lease that never was": (
        make(RefusalRecorded, worker_id=None, worker_instance_id=None, late_ms=None),
        row(
            "refused",
            "lease_expired",
            **{**REFUSED, "late_ms": None},
            worker_id=None,
            worker_instance_id=None,
        ),
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_an_event_adds_exactly_this_row(case) -> None:
    event, values = ROWS[case]
    rule = lease_event.rules.rule_for(type(event))
    assert rule(event, PLACE) == (Insert("lease_event", values),)


def test_every_rule_is_pinned_here() -> None:
    pinned = {type(event) for event, _ in ROWS.values()}
    assert set(lease_event.rules.event_types()) == pinned
