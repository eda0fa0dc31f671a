"""Which events each operation records, in order, in which streams."""

import pytest

import leasehold

TRANSIENT = leasehold.FailureClass.TRANSIENT
PERMANENT = leasehold.FailureClass.PERMANENT
BY = {"actor": "ann", "reason": "because"}


@pytest.fixture
def recorded(ledger):
    """Run a call and give (topic, stream ending, rows of lease_event) per event."""

    def run(execution_id, call):
        before = len(ledger.read.history(execution_id))
        call()
        rows = {
            row.event_id: (row.event_type, row.cause)
            for row in ledger.read.lease_events(execution_id=execution_id)
        }
        return [
            (
                event.topic,
                event.stream_id.removeprefix(str(execution_id)),
                rows.get(event.position),
            )
            for event in ledger.read.history(execution_id)[before:]
        ]

    return run


def test_create(ledger) -> None:
    execution_id = ledger.create_execution()
    (event,) = ledger.read.history(execution_id)
    assert event.topic == "execution.created"
    assert event.stream_id == str(execution_id)
    assert event.version == 1


def test_claim_of_a_pending_execution(ledger, recorded) -> None:
    execution_id = ledger.create_execution()
    assert recorded(execution_id, lambda: ledger.claim(worker_id="w")) == [
        ("execution.claimed", "", None),
        ("attempt.started", "/0", ("acquired", "claim")),
    ]


def test_claim_of_a_delayed_execution(ledger, clock, recorded) -> None:
    execution_id = ledger.create_execution(delay_until_ms=clock() + 10)
    clock.advance(10)
    assert recorded(execution_id, lambda: ledger.claim(worker_id="w")) == [
        ("execution.became_eligible", "", None),
        ("execution.claimed", "", None),
        ("attempt.started", "/0", ("acquired", "claim")),
    ]


def test_take_over_by_a_claim_that_meets_the_expiry(
    ledger, clock, start, recorded
) -> None:
    execution_id = start(ttl=10).execution_id
    clock.advance(10)
    assert recorded(execution_id, lambda: ledger.claim(worker_id="w")) == [
        ("attempt.lease_expired", "/0", ("expired", "claim")),
        ("attempt.interrupted", "/0", None),
        ("execution.claimed", "", None),
        ("attempt.started", "/1", ("reclaimed", "claim")),
    ]


@pytest.mark.parametrize("lost_by", ["sweep", "revoke"])
def test_take_over_of_a_lease_whose_end_is_recorded(
    lost_by, ledger, clock, start, recorded
) -> None:
    execution_id = start(ttl=10).execution_id
    if lost_by == "revoke":
        ledger.revoke_lease(execution_id, **BY)
    else:
        clock.advance(10)
        ledger.sweep()
    assert recorded(execution_id, lambda: ledger.claim(worker_id="w")) == [
        ("attempt.interrupted", "/0", None),
        ("execution.claimed", "", None),
        ("attempt.started", "/1", ("reclaimed", "claim")),
    ]


@pytest.mark.parametrize("swept", [False, True])
def test_take_over_past_the_cap(swept, ledger, clock, start, recorded) -> None:
    execution_id = start(ttl=10, max_reclaim_count=0).execution_id
    clock.advance(10)
    if swept:
        ledger.sweep()
    expiry = [("attempt.lease_expired", "/0", ("expired", "claim"))]
    assert recorded(execution_id, lambda: ledger.claim(worker_id="w")) == [
        *([] if swept else expiry),
        ("attempt.interrupted", "/0", None),
        ("execution.failed", "", None),
    ]


def test_grant_and_resume(ledger, clock, start, recorded) -> None:
    execution_id = start(ttl=10).execution_id
    clock.advance(10)
    grants = []

    def issue():
        grants.append(ledger.issue_resume_grant(execution_id, worker_id="w"))

    assert recorded(execution_id, issue) == [
        ("execution.resume_grant_issued", "", None)
    ]
    assert recorded(
        execution_id,
        lambda: ledger.claim_from_resume_grant(grants[0], worker_id="w"),
    ) == [("attempt.lease_reclaimed", "/0", ("reclaimed", "resume_grant"))]


def test_renew_progress_frame(ledger, start, recorded) -> None:
    handle = start()
    calls = [
        lambda: ledger.renew(handle),
        lambda: ledger.progress(handle, 1),
        lambda: ledger.append_frame(handle, leasehold.Frame(b"x")),
    ]
    assert [recorded(handle.execution_id, call) for call in calls] == [
        [("attempt.lease_renewed", "/0", ("renewed", "renew"))],
        [("attempt.progressed", "/0", None)],
        [("frame.appended", "/0/frames", None)],
    ]


def test_revoke_priority_replay(ledger, start, recorded) -> None:
    one = start().execution_id
    calls = [
        lambda: ledger.revoke_lease(one, **BY),
        lambda: ledger.change_priority(one, 5, actor="ann"),
    ]
    assert [recorded(one, call) for call in calls] == [
        [("attempt.lease_revoked", "/0", ("revoked", "operator"))],
        [("execution.reprioritised", "", None)],
    ]
    ledger.cancel_execution(one, **BY)
    assert recorded(one, lambda: ledger.replay_execution(one, **BY)) == [
        ("execution.replayed", "", None)
    ]


def test_complete(ledger, start, recorded) -> None:
    handle = start()
    assert recorded(handle.execution_id, lambda: ledger.complete(handle)) == [
        ("attempt.succeeded", "/0", ("revoked", "completed")),
        ("execution.completed", "", None),
    ]


def test_fail(ledger, start, recorded) -> None:
    retried, ended = start(), start()
    assert recorded(
        retried.execution_id, lambda: ledger.fail(retried, "r", TRANSIENT)
    ) == [
        ("attempt.failed", "/0", ("revoked", "retry_scheduled")),
        ("execution.retry_scheduled", "", None),
    ]
    assert recorded(ended.execution_id, lambda: ledger.fail(ended, "r", PERMANENT)) == [
        ("attempt.failed", "/0", ("revoked", "failed")),
        ("execution.failed", "", None),
    ]


def test_cancel(ledger, start, recorded) -> None:
    held = start().execution_id
    waiting = ledger.create_execution()
    assert recorded(held, lambda: ledger.cancel_execution(held, **BY)) == [
        ("attempt.cancelled", "/0", ("revoked", "cancelled")),
        ("execution.cancelled", "", None),
    ]
    assert recorded(waiting, lambda: ledger.cancel_execution(waiting, **BY)) == [
        ("execution.cancelled", "", None)
    ]


def test_deadline(ledger, clock, start, recorded) -> None:
    held = start(deadline_at_ms=clock() + 10).execution_id
    waiting = ledger.create_execution(deadline_at_ms=clock() + 20)
    clock.advance(10)
    assert recorded(held, ledger.sweep) == [
        ("attempt.deadline_passed", "/0", ("revoked", "deadline")),
        ("execution.expired", "", None),
    ]
    clock.advance(10)
    assert recorded(waiting, ledger.sweep) == [("execution.expired", "", None)]


def test_sweep_of_a_delay_and_a_lease(ledger, clock, start, recorded) -> None:
    held = start(ttl=10).execution_id
    delayed = ledger.create_execution(delay_until_ms=clock() + 20)
    clock.advance(10)
    assert recorded(held, ledger.sweep) == [
        ("attempt.lease_expired", "/0", ("expired", "sweep"))
    ]
    clock.advance(10)
    assert recorded(delayed, ledger.sweep) == [("execution.became_eligible", "", None)]


def test_refusal(ledger, start, mismatched, recorded) -> None:
    handle = start()

    def refused():
        with pytest.raises(leasehold.LeaseConflictError):
            ledger.renew(mismatched(handle))

    assert recorded(handle.execution_id, refused) == [
        ("refusal.recorded", "/refusals", ("refused", "lease_conflict"))
    ]
