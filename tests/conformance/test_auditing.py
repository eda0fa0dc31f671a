"""The audit of leases: each violation planted in a good history is named, alone."""

import uuid

import pytest
from planting import holder_of, plant
from watching import LANE, TTL_MS, Watched, shown_time, take, taken_over

import leasehold
from leasehold import AuditCheck, Severity
from leasehold.domain import executions


def test_a_story_with_every_event_in_it_has_no_error(told) -> None:
    report = told.audit()
    assert report.ok
    assert {it.severity for it in report.findings} == {Severity.WARNING}
    assert report.rows
    assert not told.audit(rows=False).rows


def test_an_empty_ledger_is_fine(ledger) -> None:
    report = ledger.audit()
    assert report.ok
    assert report.findings == ()
    assert report.counts == {}
    assert report.figures.events == report.figures.tenures == 0
    assert report.figures.longest_tenure_ms is None


def test_a_fresh_claim_of_what_is_held_is_an_overlap(told, clock) -> None:
    first = take(told)
    watched = Watched(told)
    claimed = first.started(clock(), "second", taken_over=False)
    _, position = plant(told, *claimed)
    (found,) = watched.found()
    assert (found.check, found.position) == (AuditCheck.OVERLAPPING_TENURES, position)
    assert found.severity is Severity.ERROR
    assert found.execution_id == first.handle.execution_id
    assert "'second' took epoch 2 as a new lease" in found.text
    assert "of epoch 1 of worker 'first' ran until" in found.text
    # The history goes on from what it says: the second one may write.
    plant(told, holder_of(claimed).progressed(clock()))
    assert len(watched.found()) == 1


@pytest.mark.parametrize(("epoch", "why"), [(4, "is 2"), (1, "is 2")])
def test_an_epoch_that_does_not_follow_is_named_once(epoch, why, told, clock) -> None:
    first = take(told)
    plant(told, *first.retried(clock()))
    watched = Watched(told)
    claimed = first.started(clock(), "second", epoch=epoch, taken_over=False)
    _, position = plant(told, *claimed)
    (found,) = watched.found()
    assert (found.check, found.position) == (
        AuditCheck.EPOCH_OUT_OF_SEQUENCE,
        position,
    )
    assert found.text.endswith(f"the one after epoch 1 {why}")
    second = holder_of(claimed)
    third = second.started(clock() + TTL_MS, "third", taken_over=True)
    at_ms = clock.advance(TTL_MS)
    plant(
        told,
        second.progressed(at_ms - 1),
        second.expired(at_ms, at_ms, "claim"),
        second.interrupted(at_ms),
        *third,
        *holder_of(third).completed(at_ms),
    )
    assert len(watched.found()) == 1


def test_an_epoch_that_begins_anew_after_a_replay_is_named(told, clock) -> None:
    first = take(told)
    told.complete(first.handle)
    told.replay_execution(first.handle.execution_id, actor="op", reason="again")
    watched = Watched(told)
    _, position = plant(
        told, *first.started(clock(), "second", epoch=1, taken_over=False)
    )
    assert watched.found_at() == [(AuditCheck.EPOCH_OUT_OF_SEQUENCE, position)]


@pytest.mark.parametrize(
    "write",
    [
        lambda old, now: [old.progressed(now)],
        lambda old, now: [old.framed(now)],
        lambda old, now: [old.renewed(now, now + 5_000)],
        lambda old, now: old.completed(now),
        lambda old, now: old.failed(now),
        lambda old, now: old.retried(now),
        lambda old, now: old.completed(now)[1:],
        lambda old, now: [old.interrupted(now)],
        lambda old, now: [old.expired(now, now, "sweep")],
        lambda old, now: old.cancelled(now),
        lambda old, now: old.past_its_deadline(now),
        lambda old, now: [old.revoked(now)],
    ],
    ids=[
        "progress",
        "frame",
        "renewal",
        "completion",
        "failure",
        "retry",
        "half a completion",
        "interruption",
        "expiry",
        "cancellation",
        "deadline",
        "revocation",
    ],
)
def test_a_write_under_an_epoch_that_is_over_is_foreign(write, told, clock) -> None:
    first = take(told)
    taken_over(told, clock)
    watched = Watched(told)
    position, *_ = plant(told, *write(first, clock()))
    assert watched.found_at(rows=False) == [(AuditCheck.FOREIGN_WRITE, position)]
    assert "under epoch 1 was accepted" in watched.found(rows=False)[0].text


@pytest.mark.parametrize(
    "other",
    [
        {"lease_epoch": 2},
        {"lease_id": uuid.UUID(int=7)},
        {"worker_id": "other"},
        {"worker_instance_id": "other"},
    ],
    ids=["epoch", "lease", "worker", "instance"],
)
def test_a_write_of_another_than_the_holder_is_foreign(other, told, clock) -> None:
    first = take(told, instance="first-1")
    watched = Watched(told)
    position, *_ = plant(told, first.progressed(clock(), **other))
    assert watched.found_at() == [(AuditCheck.FOREIGN_WRITE, position)]


def test_a_write_after_a_revocation_is_foreign(told, clock) -> None:
    first = take(told)
    told.revoke_lease(first.handle.execution_id, actor="op", reason="stuck")
    watched = Watched(told)
    position, *_ = plant(told, first.progressed(clock()))
    assert watched.found_at() == [(AuditCheck.FOREIGN_WRITE, position)]
    assert watched.found()[0].text.endswith("of worker 'first' was revoked")


def test_a_write_under_a_lease_that_nobody_ever_held_is_foreign(told, clock) -> None:
    execution_id = told.create_execution(lane_id=LANE)
    other = told.read.attempts(told.read.executions()[0].execution_id)[0]
    watched = Watched(told)
    planted = executions.ExecutionCompleted(
        execution_id=execution_id,
        occurred_at_ms=clock(),
        lease_id=other.lease_id,
        lease_epoch=1,
    )
    position, *_ = plant(told, planted)
    assert watched.found_at() == [(AuditCheck.FOREIGN_WRITE, position)]
    assert watched.found()[0].text.endswith("nobody has ever held the execution")


@pytest.mark.parametrize("late_ms", [0, 1, 5_000])
@pytest.mark.parametrize(
    "write",
    [
        lambda it, now: [it.progressed(now)],
        lambda it, now: [it.framed(now)],
        lambda it, now: [it.renewed(now, now + TTL_MS)],
        lambda it, now: it.completed(now),
        lambda it, now: it.failed(now),
        lambda it, now: it.retried(now),
        lambda it, now: it.completed(now)[1:],
    ],
    ids=[
        "progress",
        "frame",
        "renewal",
        "completion",
        "failure",
        "retry",
        "half a completion",
    ],
)
def test_a_write_of_the_holder_after_the_expiry_is_late(
    write, late_ms, told, clock
) -> None:
    first = take(told)
    clock.advance(TTL_MS + late_ms)
    watched = Watched(told)
    position, *_ = plant(told, *write(first, clock()))
    found = [it for it in watched.found() if it.severity is Severity.ERROR]
    assert [(it.check, it.position) for it in found] == [
        (AuditCheck.LATE_WRITE, position)
    ]
    assert f" {late_ms / 1000:.3f} s after its lease had run out" in found[0].text


def test_a_write_after_a_recorded_expiry_is_late(told, clock) -> None:
    first = take(told)
    clock.advance(TTL_MS)
    told.sweep()
    watched = Watched(told)
    position, *_ = plant(told, first.progressed(clock()))
    assert watched.found_at() == [(AuditCheck.LATE_WRITE, position)]


def test_the_last_millisecond_of_a_lease_is_not_late(told, clock) -> None:
    first = take(told)
    clock.advance(TTL_MS - 1)
    told.progress(first.handle, 5)
    assert told.audit().ok


@pytest.mark.parametrize("longer_ms", [0, -1, -900])
def test_a_renewal_that_does_not_lengthen_is_bad(longer_ms, told, clock) -> None:
    first = take(told)
    watched = Watched(told)
    expires_at_ms = first.handle.lease_expires_at_ms + longer_ms
    position, *_ = plant(told, first.renewed(clock(), expires_at_ms))
    (found,) = watched.found()
    assert (found.check, found.position) == (AuditCheck.BAD_RENEWAL, position)
    assert f"now runs until {shown_time(expires_at_ms)}" in found.text


@pytest.mark.parametrize(
    "other",
    [
        {"lease_epoch": 2},
        {"lease_id": uuid.UUID(int=7)},
        {"worker_id": "other"},
        {"worker_instance_id": "other"},
    ],
    ids=["epoch", "lease", "worker", "instance"],
)
def test_a_renewal_that_changes_holder_or_epoch_is_bad(other, told, clock) -> None:
    first = take(told, instance="first-1")
    watched = Watched(told)
    renewal = first.renewed(clock(), clock() + 2 * TTL_MS, **other)
    position, *_ = plant(told, renewal)
    assert watched.found_at(rows=False) == [(AuditCheck.BAD_RENEWAL, position)]


@pytest.mark.parametrize("early_ms", [1, TTL_MS])
def test_a_take_over_by_claim_before_the_expiry_is_early(early_ms, told, clock) -> None:
    first = take(told)
    at_ms = clock.advance(TTL_MS - early_ms)
    watched = Watched(told)
    _, position = plant(told, *first.started(at_ms, "second", taken_over=True))
    (found,) = watched.found()
    assert (found.check, found.position) == (AuditCheck.EARLY_TAKEOVER, position)
    assert "'second' took epoch 2 by a take-over" in found.text


def test_a_whole_take_over_before_the_expiry_is_named_at_its_first_event(
    told, clock
) -> None:
    first = take(told)
    watched = Watched(told)
    expiry = first.expired(clock(), first.handle.lease_expires_at_ms, "claim")
    claimed = first.started(clock(), "second", taken_over=True)
    position, *_ = plant(told, expiry, first.interrupted(clock()), *claimed)
    assert watched.found_at() == [(AuditCheck.EARLY_TAKEOVER, position)]


def test_an_attempt_interrupted_before_the_expiry_is_an_early_take_over(
    told, clock
) -> None:
    first = take(told, max_reclaim_count=0)
    watched = Watched(told)
    end = executions.ExecutionFailed(
        execution_id=first.handle.execution_id,
        occurred_at_ms=clock(),
        cause="reclaims_exhausted",
    )
    position, *_ = plant(told, first.interrupted(clock()), end)
    assert watched.found_at() == [(AuditCheck.EARLY_TAKEOVER, position)]


def test_a_resumption_before_the_expiry_is_an_early_take_over(told, clock) -> None:
    first = take(told)
    watched = Watched(told)
    position, *_ = plant(told, first.resumed(clock(), "second"))
    (found,) = watched.found()
    assert (found.check, found.position) == (AuditCheck.EARLY_TAKEOVER, position)
    assert "with a resume grant" in found.text


def test_a_resumption_under_a_skipped_epoch_is_named(told, clock) -> None:
    first = take(told)
    clock.advance(TTL_MS)
    watched = Watched(told)
    position, *_ = plant(told, first.resumed(clock(), "second", epoch=3))
    assert watched.found_at() == [(AuditCheck.EPOCH_OUT_OF_SEQUENCE, position)]


@pytest.mark.parametrize(
    "write",
    [
        lambda it, now: [it.progressed(now)],
        lambda it, now: [it.framed(now)],
        lambda it, now: [it.renewed(now, now + 5_000)],
        lambda it, now: it.completed(now),
        lambda it, now: it.completed(now)[1:],
        lambda it, now: it.failed(now),
        lambda it, now: [
            executions.ExecutionCancelled(
                execution_id=it.handle.execution_id,
                occurred_at_ms=now,
                actor="op",
                reason="r",
            )
        ],
        lambda it, now: [
            executions.ExecutionReprioritised(
                execution_id=it.handle.execution_id,
                occurred_at_ms=now,
                priority=3,
                actor="op",
            )
        ],
        lambda it, now: it.started(now, "second", taken_over=False),
        lambda it, now: it.started(now, "second", taken_over=False)[1:],
        lambda it, now: [it.resumed(now, "second")],
    ],
    ids=[
        "progress",
        "frame",
        "renewal",
        "completion",
        "half a completion",
        "failure",
        "cancellation",
        "priority",
        "claim",
        "start",
        "resumption",
    ],
)
def test_anything_after_the_end_is_named_once(write, told, clock) -> None:
    first = take(told)
    told.complete(first.handle)
    watched = Watched(told)
    position, *_ = plant(told, *write(first, clock()))
    (found,) = watched.found(rows=False)
    assert (found.check, found.position) == (AuditCheck.AFTER_THE_END, position)
    assert "follows execution.completed, which had ended" in found.text


def test_replays_and_refusals_may_follow_the_end(told, clock) -> None:
    first = take(told)
    told.complete(first.handle)
    with pytest.raises(leasehold.ExecutionNotActiveError):
        told.renew(first.handle)
    told.replay_execution(first.handle.execution_id, actor="op", reason="again")
    told.complete(take(told, "second", new=False).handle)
    told.replay_execution(first.handle.execution_id, actor="op", reason="again")
    assert told.audit().ok
