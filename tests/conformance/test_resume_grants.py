"""Resume grants: recorded, single-use, bound, and they expire."""

import uuid

import pytest

import leasehold


@pytest.fixture
def lost(ledger, clock, start):
    """Give the handle of a lease that ran out."""
    handle = start(ttl=1_000)
    clock.advance(1_000)
    return handle


def test_a_grant_tells_what_it_is_for(ledger, clock, start, topics) -> None:
    handle = start()
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w2", ttl_ms=500)
    assert grant.execution_id == handle.execution_id
    assert grant.worker_id == "w2"
    assert grant.expires_at_ms == clock() + 500
    assert topics(handle.execution_id)[-1] == "execution.resume_grant_issued"


def test_a_grant_runs_half_a_minute_unless_said(ledger, clock, start) -> None:
    grant = ledger.issue_resume_grant(start().execution_id, worker_id="w2")
    assert grant.expires_at_ms == clock() + 30_000


def test_a_grant_crosses_processes_as_text(ledger, lost) -> None:
    grant = ledger.issue_resume_grant(lost.execution_id, worker_id="w2")
    again = leasehold.ResumeGrant.parse(str(grant))
    assert again == grant
    assert ledger.claim_from_resume_grant(again, worker_id="w2") is not None


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", "ä", "\0"])
def test_text_that_is_no_grant_is_refused(token) -> None:
    with pytest.raises(leasehold.LeaseholdError):
        leasehold.ResumeGrant.parse(token)


def test_a_cut_or_altered_grant_is_refused(ledger, start) -> None:
    grant = ledger.issue_resume_grant(start().execution_id, worker_id="w2")
    token = str(grant)
    for place in range(len(token)):
        with pytest.raises(leasehold.LeaseholdError):
            leasehold.ResumeGrant.parse(token[:place])


def test_the_same_attempt_goes_on_under_the_next_epoch(
    ledger, clock, lost, attempt_row, core
) -> None:
    begun = attempt_row(lost.execution_id)["started_at_ms"]
    grant = ledger.issue_resume_grant(lost.execution_id, worker_id="w2")

    resumed = ledger.claim_from_resume_grant(
        grant, worker_id="w2", worker_instance_id="w2-a", lease_ttl_ms=700
    )

    assert resumed.kind is leasehold.HandleKind.RESUMED
    assert (resumed.attempt_index, resumed.lease_epoch) == (0, 2)
    assert resumed.lease_id != lost.lease_id
    row = attempt_row(lost.execution_id)
    assert row["worker_id"] == "w2"
    assert row["worker_instance_id"] == "w2-a"
    assert row["lease_id"] == str(resumed.lease_id)
    assert row["lease_epoch"] == 2
    assert row["lease_expires_at_ms"] == clock() + 700
    assert row["started_at_ms"] == begun
    assert row["outcome"] is None
    assert core(lost.execution_id)["public_state"] == "running"
    ledger.complete(resumed)


def test_a_recorded_expiry_keeps_its_row(ledger, lost, lease_story) -> None:
    ledger.sweep()
    grant = ledger.issue_resume_grant(lost.execution_id, worker_id="w2")
    assert ledger.claim_from_resume_grant(grant, worker_id="w2") is not None
    assert lease_story(lost.execution_id) == [
        ("acquired", "claim"),
        ("expired", "sweep"),
        ("reclaimed", "resume_grant"),
    ]


def test_a_revoked_lease_is_resumed_at_once(ledger, start, lease_story) -> None:
    handle = start()
    ledger.revoke_lease(handle.execution_id, actor="ann", reason="stuck")
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="worker-1")
    resumed = ledger.claim_from_resume_grant(grant, worker_id="worker-1")
    assert (resumed.attempt_index, resumed.lease_epoch) == (0, 2)
    assert lease_story(handle.execution_id) == [
        ("acquired", "claim"),
        ("revoked", "operator"),
        ("reclaimed", "resume_grant"),
    ]
    ledger.complete(resumed)


def test_the_event_of_a_resume_names_its_grant(ledger, lost, sql) -> None:
    grant = ledger.issue_resume_grant(lost.execution_id, worker_id="w2")
    ledger.claim_from_resume_grant(grant, worker_id="w2")
    event = ledger.read.history(lost.execution_id)[-1]
    assert event.topic == "attempt.lease_reclaimed"
    assert str(grant.grant_id) in str(event.event)


def test_a_live_lease_leaves_the_grant_standing(ledger, clock, start) -> None:
    handle = start(ttl=1_000)
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w2")
    for _ in range(3):
        assert ledger.claim_from_resume_grant(grant, worker_id="w2") is None
    clock.advance(999)
    assert ledger.claim_from_resume_grant(grant, worker_id="w2") is None
    clock.advance(1)
    assert ledger.claim_from_resume_grant(grant, worker_id="w2") is not None


def refused(ledger, grant, worker_id="w2"):
    with pytest.raises(leasehold.InvalidGrantError) as error:
        ledger.claim_from_resume_grant(grant, worker_id=worker_id)
    assert error.value.code == "invalid_grant"
    return str(error.value)


def test_an_unknown_grant_is_refused(ledger, lost, snapshot) -> None:
    grant = ledger.issue_resume_grant(lost.execution_id, worker_id="w2")
    before = snapshot()
    for field in ({"grant_id": uuid.uuid4()}, {"execution_id": uuid.uuid4()}):
        parts = {
            "grant_id": grant.grant_id,
            "execution_id": grant.execution_id,
            "worker_id": grant.worker_id,
            "expires_at_ms": grant.expires_at_ms,
        }
        refused(ledger, leasehold.ResumeGrant(**{**parts, **field}))
    assert snapshot() == before


def test_a_grant_is_used_once(ledger, clock, lost, snapshot) -> None:
    grant = ledger.issue_resume_grant(lost.execution_id, worker_id="w2")
    ledger.claim_from_resume_grant(grant, worker_id="w2", lease_ttl_ms=10)
    before = snapshot()
    assert "used" in refused(ledger, grant)
    clock.advance(10)
    refused(ledger, grant)
    assert snapshot() == before


def test_a_grant_counts_to_its_last_ms_and_not_at_its_expiry(
    ledger, clock, lost
) -> None:
    early = ledger.issue_resume_grant(lost.execution_id, worker_id="w2", ttl_ms=100)
    late = ledger.issue_resume_grant(lost.execution_id, worker_id="w2", ttl_ms=99)
    clock.advance(99)
    assert str(late.expires_at_ms) in refused(ledger, late) or "expired" in refused(
        ledger, late
    )
    assert ledger.claim_from_resume_grant(early, worker_id="w2") is not None


def test_what_the_store_knows_counts_and_not_what_the_grant_says(
    ledger, clock, lost
) -> None:
    grant = ledger.issue_resume_grant(lost.execution_id, worker_id="w2", ttl_ms=100)
    forged = leasehold.ResumeGrant(
        grant_id=grant.grant_id,
        execution_id=grant.execution_id,
        worker_id="thief",
        expires_at_ms=grant.expires_at_ms + 1_000_000,
    )
    refused(ledger, forged, "thief")
    clock.advance(100)
    refused(ledger, forged, "w2")


def test_a_grant_is_for_its_worker_alone(ledger, lost, snapshot) -> None:
    grant = ledger.issue_resume_grant(lost.execution_id, worker_id="w2")
    before = snapshot()
    refused(ledger, grant, "w3")
    assert snapshot() == before
    assert ledger.claim_from_resume_grant(grant, worker_id="w2") is not None


def test_the_grant_is_looked_at_before_the_execution(ledger, clock, start) -> None:
    handle = start()
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w2", ttl_ms=100)
    refused(ledger, grant, "w3")  # Not None, although the lease is live.
    ledger.complete(handle)
    refused(ledger, grant, "w3")
    with pytest.raises(leasehold.ExecutionNotActiveError) as ended:
        ledger.claim_from_resume_grant(grant, worker_id="w2")
    assert ended.value.public_state == "completed"
    clock.advance(100)
    refused(ledger, grant, "w2")


def test_several_grants_stand_at_once(ledger, clock, lost) -> None:
    first, second, third = (
        ledger.issue_resume_grant(lost.execution_id, worker_id=worker)
        for worker in ("w2", "w3", "w2")
    )
    resumed = ledger.claim_from_resume_grant(second, worker_id="w3", lease_ttl_ms=500)
    assert ledger.claim_from_resume_grant(first, worker_id="w2") is None
    clock.advance(500)
    again = ledger.claim_from_resume_grant(first, worker_id="w2", lease_ttl_ms=500)
    clock.advance(500)
    third_time = ledger.claim_from_resume_grant(third, worker_id="w2")
    epochs = [h.lease_epoch for h in (resumed, again, third_time)]
    assert epochs == [2, 3, 4]
    assert {h.attempt_index for h in (resumed, again, third_time)} == {0}


def test_a_grant_resumes_the_attempt_that_is_current_then(ledger, clock, lost) -> None:
    grant = ledger.issue_resume_grant(lost.execution_id, worker_id="w2")
    assert ledger.claim(worker_id="w3", lease_ttl_ms=1_000).attempt_index == 1
    clock.advance(1_000)
    resumed = ledger.claim_from_resume_grant(grant, worker_id="w2")
    assert (resumed.attempt_index, resumed.lease_epoch) == (1, 3)


def test_a_grant_needs_an_active_execution(ledger, clock, start, snapshot) -> None:
    waiting = ledger.create_execution(delay_until_ms=clock() + 1_000_000)
    ended, retried = start(), start()
    ledger.complete(ended)
    ledger.fail(retried, "flaky", leasehold.FailureClass.TRANSIENT)
    before = snapshot()
    for execution_id, phase in (
        (waiting, "runnable"),
        (ended.execution_id, "terminal"),
        (retried.execution_id, "runnable"),
    ):
        with pytest.raises(leasehold.ExecutionNotActiveError) as refusal:
            ledger.issue_resume_grant(execution_id, worker_id="w")
        assert refusal.value.lifecycle_phase == phase
    with pytest.raises(leasehold.NotFoundError):
        ledger.issue_resume_grant(uuid.uuid4(), worker_id="w")
    assert snapshot() == before


def test_a_grant_is_issued_also_for_a_lost_lease(ledger, lost) -> None:
    ledger.sweep()
    assert ledger.issue_resume_grant(lost.execution_id, worker_id="w", actor="ann")


def test_a_resume_does_not_count_as_a_reclaim(ledger, lost, core) -> None:
    grant = ledger.issue_resume_grant(lost.execution_id, worker_id="w2")
    ledger.claim_from_resume_grant(grant, worker_id="w2")
    assert core(lost.execution_id)["lease_reclaim_count"] == 0
