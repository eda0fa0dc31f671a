"""The audit of one execution as a fold: what it keeps still about, and its measures."""

from uuid import UUID

import pytest

from leasehold.domain import attempts, executions
from leasehold.domain.audit_rules import RULES
from leasehold.domain.auditing import ExecutionAudit
from leasehold.domain.catalogue import EVENT_TYPES
from leasehold.domain.figures import Spread, Tally
from leasehold.domain.findings import AuditCheck, Severity
from leasehold.domain.retries import RetryPolicy
from leasehold.domain.states import TenureEnd

ID = UUID(int=1)
LEASE = {
    "execution_id": ID,
    "attempt_index": 0,
    "lease_id": UUID(int=2),
    "lease_epoch": 1,
    "worker_id": "w",
}


def created():
    return executions.ExecutionCreated(
        execution_id=ID,
        occurred_at_ms=0,
        namespace="n",
        lane_id="l",
        payload=b"",
        capabilities=(),
        priority=0,
        eligible_at_ms=0,
        due=True,
        retry_policy=RetryPolicy(),
        max_reclaim_count=1,
        tags={},
        arguments_sha256="a",
    )


def started(at_ms=0, **other):
    return attempts.AttemptStarted(
        **{**LEASE, **other},
        occurred_at_ms=at_ms,
        lane_id="l",
        lease_ttl_ms=100,
        lease_expires_at_ms=at_ms + 100,
        taken_over=other.get("lease_epoch", 1) > 1,
    )


def progressed(at_ms, **other):
    return attempts.AttemptProgressed(**{**LEASE, **other}, occurred_at_ms=at_ms)


@pytest.fixture
def found():
    return []


@pytest.fixture
def audit(found):
    """Begin an audit: `audit(gaps=…)`."""
    return lambda **options: ExecutionAudit(ID, found.append, **options)


def take_all(audited, *events):
    for position, event in enumerate(events, start=1):
        audited.take(event, position)
    return audited


def test_every_event_has_a_rule_or_is_said_to_need_none() -> None:
    assert set(RULES) == set(EVENT_TYPES)


def test_every_check_is_an_error_or_a_warning() -> None:
    errors = [it for it in AuditCheck if it.severity is Severity.ERROR]
    warnings = [it for it in AuditCheck if it.severity is Severity.WARNING]
    assert len(errors) == 11
    assert len(warnings) == 6


def test_behind_a_missing_event_nothing_is_said_of_leases(audit, found) -> None:
    # The renewal at position 3 is missing, by which 150 was not too late.
    audited = audit(gaps=[(2, 4)])
    audited.take(created(), 1)
    audited.take(started(), 2)
    audited.take(progressed(150), 4)
    audited.finish(1_000)
    assert found == []
    assert not audited.state.orphaned


def test_the_next_acquisition_tells_anew_who_holds_it(audit, found) -> None:
    audited = audit(gaps=[(2, 4)])
    audited.take(created(), 1)
    audited.take(started(), 2)
    # Epochs 2 and 3 may be what is missing.
    audited.take(started(400, lease_epoch=4, attempt_index=3), 4)
    audited.take(progressed(410, lease_epoch=1), 5)
    audited.finish(1_000)
    checks = [(it.check, it.position) for it in found]
    assert checks == [(AuditCheck.FOREIGN_WRITE, 5), (AuditCheck.ORPHAN, 4)]


def test_an_acquisition_within_the_gap_tells_nothing_yet(audit, found) -> None:
    audited = audit(gaps=[(2, 9)])
    audited.take(created(), 1)
    audited.take(started(), 2)
    audited.take(started(10, lease_epoch=7), 3)
    audited.take(progressed(410), 4)
    audited.take(started(500, lease_epoch=8, attempt_index=2), 9)
    audited.take(progressed(510), 10)
    assert [it.position for it in found] == [10]


def test_an_event_that_cannot_be_read_leaves_a_gap(audit, found) -> None:
    audited = audit()
    audited.take(created(), 1)
    audited.take(started(), 2)
    audited.miss(3)
    audited.take(progressed(150), 4)
    assert found == []


def test_an_execution_begins_with_its_creation_and_has_one(audit, found) -> None:
    take_all(audit(), started(), created(), progressed(5))
    texts = {it.position: (it.check, it.text) for it in found}
    assert texts == {
        1: (
            AuditCheck.UNREADABLE_EVENT,
            "attempt.started stands before the creation of its execution",
        ),
        2: (AuditCheck.UNREADABLE_EVENT, "the execution was created before"),
    }


def test_what_ended_a_tenure_first_counts(audit) -> None:
    revoked = attempts.AttemptLeaseRevoked(
        **LEASE, occurred_at_ms=40, actor="op", reason="r"
    )
    cancelled = attempts.AttemptCancelled(**LEASE, occurred_at_ms=60, actor="op")
    audited = take_all(audit(), created(), started(), revoked, cancelled)
    (tenure,) = audited.state.tenures
    assert tenure.ended_by(now_ms=50) is TenureEnd.OPERATOR
    assert tenure.ended_at_ms(now_ms=50) == 40


def test_an_expiry_that_came_before_the_recorded_end_counts(audit) -> None:
    cancelled = attempts.AttemptCancelled(**LEASE, occurred_at_ms=160, actor="op")
    audited = take_all(audit(), created(), started(), cancelled)
    (tenure,) = audited.state.tenures
    assert tenure.ended_by(now_ms=160) is TenureEnd.EXPIRED
    assert tenure.ended_at_ms(now_ms=160) == 100


@pytest.mark.parametrize(
    ("count", "spread"),
    [
        (0, Spread(0, None, None, None)),
        (1, Spread(1, 1.0, 1, 1)),
        (19, Spread(19, 10.0, 19, 19)),
        (20, Spread(20, 10.5, 19, 20)),
        (21, Spread(21, 11.0, 20, 21)),
        (100, Spread(100, 50.5, 95, 100)),
    ],
)
def test_a_spread_has_its_percentile_by_nearest_rank(count, spread, audit) -> None:
    tally = Tally()
    for attempt in range(1, count + 1):
        audited = take_all(audit(), created(), *[started()] * attempt)
        audited.finish(0)
        tally.add(audited.state)
    figures = tally.figures(events=0, executions=count)
    assert figures.attempts_per_execution == spread


def test_a_time_of_any_size_is_measured(audit) -> None:
    audited = take_all(
        audit(), created(), started(), started(10**30, lease_epoch=2, attempt_index=1)
    )
    audited.finish(0)
    tally = Tally()
    tally.add(audited.state)
    spread = tally.figures(events=3, executions=1).time_to_reclaim_ms
    assert spread.max == 2**63 - 1
