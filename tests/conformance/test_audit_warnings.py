"""The warnings of an audit, and what it is asked: since when, as of when, of what."""

import pytest
from planting import plant
from watching import TTL_MS, Watched, take, taken_over

import leasehold
from leasehold import AuditCheck, Severity
from leasehold.adapters import auditing


def the_warning(watched, check):
    (found,) = watched.found()
    assert found.check is check
    assert found.severity is Severity.WARNING
    assert watched.ledger.audit().ok
    return found


def test_a_clock_that_stepped_back_is_told_once_for_each_operation(told, clock) -> None:
    first = take(told)
    watched = Watched(told)
    clock.advance(-70)
    told.complete(first.handle)
    found = the_warning(watched, AuditCheck.CLOCK_REGRESSION)
    ended = told.read.history(first.handle.execution_id)[-2]
    assert (found.position, ended.topic) == (ended.position, "attempt.succeeded")
    assert " 0.070 s before what was recorded already" in found.text


def test_a_time_that_steps_back_without_a_reading_is_told(told, clock) -> None:
    first = take(told)
    watched = Watched(told)
    position, *_ = plant(told, first.progressed(clock() - 5))
    found = the_warning(watched, AuditCheck.CLOCK_REGRESSION)
    assert found.position == position
    assert " 0.005 s before an earlier event" in found.text


def test_an_instance_that_takes_over_from_itself_is_told(told, clock) -> None:
    take(told, instance="one")
    clock.advance(TTL_MS)
    watched = Watched(told)
    second = take(told, instance="one", new=False)
    found = the_warning(watched, AuditCheck.SHARED_INSTANCE)
    started = told.read.history(second.handle.execution_id)[-1]
    assert found.position == started.position
    assert "its lease of epoch 1 was over" in found.text


def test_an_instance_that_was_told_of_its_loss_may_take_over(told, clock) -> None:
    first = take(told, instance="one")
    clock.advance(TTL_MS)
    with pytest.raises(leasehold.LeaseExpiredError):
        told.renew(first.handle)
    watched = Watched(told)
    take(told, instance="one", new=False)
    assert watched.found() == []


def test_an_instance_whose_lease_was_ended_may_come_again(told, clock) -> None:
    first = take(told, instance="one")
    watched = Watched(told)
    told.complete(first.handle)
    told.replay_execution(first.handle.execution_id, actor="op", reason="again")
    take(told, instance="one", new=False)
    assert watched.found() == []


def test_two_live_tenures_of_one_instance_are_an_overlap_and_told(told, clock) -> None:
    first = take(told, instance="one")
    watched = Watched(told)
    _, started = first.started(clock(), "first", taken_over=False)
    started = started.model_copy(update={"worker_instance_id": "one"})
    position, *_ = plant(told, started)
    assert sorted(watched.found_at()) == [
        (AuditCheck.OVERLAPPING_TENURES, position),
        (AuditCheck.SHARED_INSTANCE, position),
    ]


def test_a_refusal_says_who_what_which_epoch_and_how_late(told, clock) -> None:
    first = take(told)
    taken_over(told, clock)
    watched = Watched(told)
    clock.advance(250)
    with pytest.raises(leasehold.LeaseConflictError):
        told.complete(first.handle)
    found = the_warning(watched, AuditCheck.REFUSED_WRITE)
    assert found.text == (
        "complete of worker 'first' was refused (lease_conflict): it presented epoch "
        "1, which had ended 0.250 s before; the current one was 2 (refusal 1 of its "
        "handle)"
    )


def test_a_refusal_that_does_not_tell_the_current_epoch_takes_the_last_one(
    told, clock
) -> None:
    first = take(told)
    taken_over(told, clock)
    watched = Watched(told)
    plant(told, first.refused(clock(), "renew", 7))
    found = the_warning(watched, AuditCheck.REFUSED_WRITE)
    assert "the current one was 2" in found.text


def test_a_renewal_at_the_last_moment_is_told(told, clock) -> None:
    first = take(told)
    clock.advance(900)
    told.renew(first.handle)
    watched = Watched(told)
    clock.advance(901)
    told.renew(first.handle)
    found = the_warning(watched, AuditCheck.LITTLE_HEADROOM)
    assert found.text == "worker 'first' renewed epoch 1 with 0.099 s of 1.000 s left"


def test_twenty_renewals_in_a_row_without_progress_are_told_once(told, clock) -> None:
    first = take(told)
    told.progress(first.handle, 1)
    watched = Watched(told)
    for _ in range(19):
        told.renew(first.handle)
    assert watched.found() == []
    told.renew(first.handle)
    position = told.read.history(first.handle.execution_id)[-1].position
    for _ in range(45):
        told.renew(first.handle)
    found = the_warning(watched, AuditCheck.NO_PROGRESS)
    assert found.position == position
    assert found.text.endswith("20 times in a row without progress or a frame")


@pytest.mark.parametrize("is_frame", [True, False])
def test_progress_and_frames_show_that_a_holder_works(is_frame, told, clock) -> None:
    first = take(told)
    watched = Watched(told)
    for _ in range(3):
        for _ in range(19):
            told.renew(first.handle)
        if is_frame:
            told.append_frame(first.handle, leasehold.Frame(b"x"))
        else:
            told.progress(first.handle, 1)
    assert watched.found() == []


def test_a_lease_that_ran_out_is_an_orphan_until_someone_takes_it(told, clock) -> None:
    first = take(told)
    told.renew(first.handle)
    renewed = told.read.history(first.handle.execution_id)[-1]
    watched = Watched(told)
    clock.set(renewed.event.lease_expires_at_ms + 7)
    assert the_warning(watched, AuditCheck.ORPHAN).position == renewed.position
    told.sweep()
    swept = told.read.history(first.handle.execution_id)[-1]
    found = the_warning(watched, AuditCheck.ORPHAN)
    assert found.position == swept.position
    assert "ran out at" in found.text
    assert " 0.007 s before this audit" in found.text
    take(told, "second", new=False)
    assert watched.found() == []


def test_a_revoked_lease_is_an_orphan(told, clock) -> None:
    first = take(told)
    clock.advance(10)
    told.revoke_lease(first.handle.execution_id, actor="op", reason="stuck")
    clock.advance(5)
    watched_before = told.audit()
    (found,) = [
        it
        for it in watched_before.findings
        if it.check is AuditCheck.ORPHAN
        and it.execution_id == first.handle.execution_id
    ]
    assert "was revoked at" in found.text
    assert " 0.005 s before this audit" in found.text
    orphans = watched_before.figures.orphans_now
    told.cancel_execution(first.handle.execution_id, actor="op", reason="enough")
    assert told.audit().figures.orphans_now == orphans - 1


def test_an_execution_that_ended_is_no_orphan(told, clock) -> None:
    take(told, deadline_at_ms=clock() + TTL_MS)
    watched = Watched(told)
    clock.advance(TTL_MS)
    told.sweep()
    assert watched.found() == []


def test_only_what_was_recorded_since_is_told(told, clock) -> None:
    first = take(told)
    taken_over(told, clock)
    clock.advance(100)
    before = told.audit()
    since_ms = clock.advance(1)
    with pytest.raises(leasehold.LeaseConflictError):
        told.complete(first.handle)
    report = told.audit(since_ms=since_ms)
    assert report.since_ms == since_ms
    told_of = [it for it in report.findings if it.check is not AuditCheck.ORPHAN]
    assert [it.check for it in told_of] == [AuditCheck.REFUSED_WRITE]
    assert report.figures.refusals == 1
    assert before.figures.refusals > 1
    assert 0 < report.figures.tenures < before.figures.tenures
    with pytest.raises(leasehold.InvalidInputError):
        told.audit(since_ms=-1)


def test_the_first_thousand_findings_are_named_and_all_are_counted(
    told, clock, monkeypatch
) -> None:
    monkeypatch.setattr(auditing, "FINDINGS_MAX", 3)
    first = take(told)
    planted = [first.progressed(clock(), worker_id="other") for _ in range(9)]
    positions = plant(told, *planted)
    report = told.audit(rows=False)
    errors = [it for it in report.findings if it.severity is Severity.ERROR]
    assert [it.position for it in errors] == positions[:3]
    assert report.counts[AuditCheck.FOREIGN_WRITE] == 9
    assert not report.ok


def test_an_earlier_state_is_audited_as_it_was(told, clock) -> None:
    first = take(told)
    (planted,) = plant(told, first.progressed(clock(), worker_id="other"))
    clock.advance(TTL_MS)
    assert not told.audit().ok
    with told.as_of(planted) as then:
        assert not then.audit().ok
        assert then.audit().at_ms == clock() - TTL_MS
    with told.as_of(planted - 1) as then:
        report = then.audit()
    assert report.ok
    assert report.figures.events == planted - 1
    with told.as_of(at_ms=clock()) as then:
        assert then.audit(rows=False).counts == told.audit(rows=False).counts


def test_a_redacted_bundle_is_audited_and_says_so(told, clock, fresh, tmp_path):
    first = take(told)
    for _ in range(60):
        told.append_frame(first.handle, leasehold.Frame(b"secret"))
        told.renew(first.handle)
    assert AuditCheck.NO_PROGRESS not in told.audit().counts
    (position,) = plant(told, first.progressed(clock(), worker_id="other"))
    told.export(tmp_path / "bundle", redact=True)
    other = fresh(clock=clock)
    summary = other.import_bundle(tmp_path / "bundle")
    report = other.audit()
    assert report.redacted_from == (summary.header.original_sha256,)
    errors = [it for it in report.findings if it.severity is Severity.ERROR]
    assert [it.check for it in errors] == [AuditCheck.FOREIGN_WRITE]
    assert report.counts == told.audit().counts
    assert told.audit().redacted_from == ()
    assert {it.position for it in errors} <= {position} | set(range(position))
