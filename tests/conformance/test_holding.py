"""Holding a lease for a block: entering, working, and leaving in every way."""

import sys
import threading
import time

import pytest
from holding_time import WITHIN_S, until

import leasehold


def test_a_completed_body_leaves_nothing_behind(ledger, start, lease_story):
    handle = start()
    with ledger.hold(handle) as lease:
        assert isinstance(lease, leasehold.HeldLease)
        assert lease.handle == handle
        assert lease.execution_id == handle.execution_id
        assert (lease.attempt_index, lease.lease_epoch) == (0, 1)
        assert 20_000 < lease.remaining_ms() <= 26_999
        assert not lease.is_lost
        assert lease.lost_because is None
        lease.check()
        lease.progress(50, "half")
        assert lease.append_frame(leasehold.Frame(b"line")).frame_count == 1
        assert lease.complete(b"done") is None
        assert lease.remaining_ms() == 0
        assert not lease.is_lost
        assert lease.lost.wait() is False
    row = ledger.read.execution(handle.execution_id)
    assert (row.public_state, row.result) == ("completed", b"done")
    assert row.raw_fields == {"progress_pct": 50, "progress_message": "half"}
    story = [("acquired", "claim"), ("renewed", "renew"), ("revoked", "completed")]
    assert lease_story(handle.execution_id) == story


def test_who_knows_when_the_claim_was_sent_need_not_renew(ledger, lease_story, clock):
    ledger.create_execution()
    sent_at_s = time.monotonic()
    handle = ledger.claim(worker_id="w")
    with ledger.hold(handle, sent_at_s=sent_at_s) as lease:
        assert 20_000 < lease.remaining_ms() <= 26_999
        lease.complete()
    story = [("acquired", "claim"), ("revoked", "completed")]
    assert lease_story(handle.execution_id) == story


def test_a_claim_of_long_ago_is_renewed_on_entering(ledger, start, lease_story):
    handle = start()
    with ledger.hold(handle, sent_at_s=time.monotonic() - 10.1) as lease:
        assert lease.remaining_ms() > 20_000
        lease.complete()
    assert ("renewed", "renew") in lease_story(handle.execution_id)


def test_a_failed_body_may_say_so_itself(ledger, start):
    handle = start()
    with ledger.hold(handle) as lease:
        answer = lease.fail("it broke", leasehold.FailureClass.PERMANENT)
    assert answer == leasehold.TerminalFailed("not_retryable")
    assert ledger.read.attempt(handle.execution_id, 0).failure_message == "it broke"


def test_what_ended_the_attempt_may_be_repeated(ledger, start, refusals):
    handle = start()
    with ledger.hold(handle) as lease:
        lease.complete(b"done")
        lease.complete(b"done")
        with pytest.raises(leasehold.ExecutionNotActiveError):
            lease.progress(1)
        with pytest.raises(leasehold.ExecutionNotActiveError):
            lease.renew()
    assert refusals(handle) == ["progress", "renew"]


def test_an_exception_fails_the_attempt_and_goes_on(ledger, start):
    handle = start()
    with pytest.raises(ValueError, match="no such film"), ledger.hold(handle):
        raise ValueError("no such film")
    row = ledger.read.attempt(handle.execution_id, 0)
    assert row.outcome == "retry"
    assert row.failure_class == "transient"
    assert row.failure_message == "ValueError: no such film"
    assert "test_holding.py" in row.failure_detail
    assert row.failure_detail.rstrip().endswith("ValueError: no such film")


def test_a_mapping_decides_what_an_exception_fails_the_attempt_with(ledger, start):
    handle = start()
    classes = {LookupError: leasehold.FailureClass.PERMANENT}
    with (
        pytest.raises(KeyError),
        ledger.hold(handle, failure_classes=classes),
    ):
        raise KeyError("film")
    row = ledger.read.attempt(handle.execution_id, 0)
    assert (row.outcome, row.failure_class) == ("failed", "permanent")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interrupt_fails_the_attempt_as_a_crash(ledger, start, error):
    handle = start()
    with pytest.raises(error), ledger.hold(handle):
        raise error
    row = ledger.read.attempt(handle.execution_id, 0)
    assert (row.outcome, row.failure_class) == ("retry", "infra_crash")


def test_a_generator_that_is_not_finished_fails_the_attempt(ledger, start):
    handle = start()

    def work():
        with ledger.hold(handle) as lease:
            yield lease

    generator = work()
    next(generator)
    generator.close()
    row = ledger.read.attempt(handle.execution_id, 0)
    assert (row.outcome, row.failure_class) == ("retry", "infra_crash")


def test_an_exception_after_the_end_goes_on_and_changes_nothing(ledger, start):
    handle = start()
    with pytest.raises(ValueError, match="later"), ledger.hold(handle) as lease:
        lease.complete()
        raise ValueError("later")
    assert ledger.read.execution(handle.execution_id).public_state == "completed"


def test_leaving_without_an_end_is_an_error_that_says_so(ledger, start):
    handle = start()
    with (
        pytest.raises(leasehold.IllegalTransitionError, match="without complete"),
        ledger.hold(handle),
    ):
        pass
    row = ledger.read.attempt(handle.execution_id, 0)
    assert (row.outcome, row.failure_class) == ("retry", "transient")
    assert "without complete() or fail()" in row.failure_message


def test_a_mapping_may_name_leaving_without_an_end(ledger, start):
    handle = start()
    classes = {leasehold.IllegalTransitionError: "permanent"}
    with (
        pytest.raises(leasehold.IllegalTransitionError),
        ledger.hold(handle, failure_classes=classes),
    ):
        pass
    assert ledger.read.execution(handle.execution_id).public_state == "failed"


def test_a_failure_that_the_store_cannot_take_is_a_note(
    ledger, start, monkeypatch, caplog
):
    handle = start()

    def fail(*given):
        raise leasehold.StoreError("the disk is full")

    monkeypatch.setattr(ledger, "fail", fail)
    with pytest.raises(ValueError, match="x") as raised, ledger.hold(handle):
        raise ValueError("x")
    (note,) = raised.value.__notes__
    assert "could not be failed (the disk is full)" in note
    assert note in caplog.text
    assert ledger.read.attempt(handle.execution_id, 0).outcome is None


def test_the_end_waits_for_a_renewal_that_is_under_way(
    ledger, start, hand_time, monkeypatch, lease_story
):
    """It would come after the end, and be refused and recorded."""
    handle = start()
    renew_many, complete = ledger.renew_many, ledger.complete
    sent, may_arrive = threading.Event(), threading.Event()
    seen = []

    def slowly(handles):
        sent.set()
        assert may_arrive.wait(WITHIN_S)
        seen.append("renewed")
        return renew_many(handles)

    def note(*given):
        seen.append("completed")
        complete(*given)

    monkeypatch.setattr(ledger, "renew_many", slowly)
    monkeypatch.setattr(ledger, "complete", note)
    with ledger.hold(handle) as lease:
        renewing = threading.Thread(target=hand_time.pass_a_third)
        renewing.start()
        assert sent.wait(WITHIN_S)
        ending = threading.Thread(target=lease.complete)
        ending.start()
        # Had it not to wait, it would be done by then.
        ending.join(0.1)
        may_arrive.set()
        ending.join(WITHIN_S)
        renewing.join(WITHIN_S)
    assert seen == ["renewed", "completed"]
    story = ["acquired", "renewed", "renewed", "revoked"]
    assert [event for event, _ in lease_story(handle.execution_id)] == story


@pytest.mark.parametrize(
    "terms",
    [
        {"renew_on": "sometimes"},
        {"margin_ms": 0},
        {"margin_ms": 1.5},
        {"on_lost": "print"},
        {"failure_classes": {int: "permanent"}},
        {"sent_at_s": -1},
    ],
    ids=repr,
)
def test_terms_that_break_a_rule_are_refused(ledger, start, terms):
    with pytest.raises(leasehold.InvalidInputError, match=next(iter(terms))):
        ledger.hold(start(), **terms)


def test_what_is_no_handle_is_refused(ledger, start):
    with pytest.raises(leasehold.InvalidInputError):
        ledger.hold("handle")
    valkey = start().replace(backend=leasehold.BackendTag.VALKEY)
    with pytest.raises(leasehold.InvalidInputError, match="Valkey"):
        ledger.hold(valkey)


def test_a_margin_that_eats_the_lease_is_refused_before_anything_is_written(
    ledger, start, event_count
):
    handle, short = start(ttl=1_000), start(ttl=10)
    before = event_count()
    with pytest.raises(leasehold.InvalidInputError, match="999"):
        ledger.hold(handle, margin_ms=1_000).__enter__()
    with pytest.raises(leasehold.InvalidInputError, match="too short"):
        ledger.hold(short).__enter__()
    assert event_count() == before


def test_a_hold_is_entered_once(ledger, start):
    hold = ledger.hold(start())
    with hold as lease:
        lease.complete()
    with pytest.raises(leasehold.InvalidInputError, match="once"), hold:
        pytest.fail("the block ran")


def test_holds_may_be_nested(ledger, start):
    outer_handle, inner_handle = start(), start()
    with pytest.raises(ValueError, match="inner"), ledger.hold(outer_handle) as outer:
        try:
            with ledger.hold(inner_handle):
                raise ValueError("inner")
        finally:
            outer.complete()
    first = ledger.read.attempt(outer_handle.execution_id, 0)
    second = ledger.read.attempt(inner_handle.execution_id, 0)
    assert (first.outcome, second.outcome) == ("success", "retry")


def test_a_body_renews_at_once_before_a_long_step(ledger, start, lease_story):
    handle = start()
    with ledger.hold(handle, sent_at_s=time.monotonic()) as lease:
        renewal = lease.renew()
        assert renewal.lease_epoch == 1
        lease.complete()
    assert ("renewed", "renew") in lease_story(handle.execution_id)


def test_a_call_that_the_store_refused_for_its_argument_does_not_end_the_holding(
    ledger, start
):
    handle = start()
    with ledger.hold(handle) as lease:
        with pytest.raises(leasehold.InvalidInputError):
            lease.complete("text")
        assert lease.remaining_ms() > 0
        lease.complete()


def test_the_threads_are_there_while_a_lease_is_held(ledger, start):
    def own():
        return {t.name for t in ledger._keeper._threads.values() if t.is_alive()}

    assert own() == set()
    with ledger.hold(start()) as first, ledger.hold(start()) as second:
        assert own() == {"leasehold-renewing", "leasehold-watching"}
        assert all(t.daemon for t in ledger._keeper._threads.values())
        first.complete()
        second.complete()
    until(lambda: not own())
    with ledger.hold(start()) as third:
        assert len(own()) == 2
        third.complete()
        ledger.close()
    until(lambda: not own())


def test_many_threads_hold_leases_at_once(ledger):
    count = 24
    ledger.create_executions([{}] * count)
    failed = []

    def work():
        try:
            handle = ledger.claim(worker_id="w", lease_ttl_ms=30_000)
            with ledger.hold(handle) as lease:
                barrier.wait(WITHIN_S)
                lease.progress(50)
                lease.complete()
        except BaseException as error:
            failed.append(error)
            raise

    barrier = threading.Barrier(count)
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S * 3)
    assert not failed
    assert ledger.read.counts()["completed"] == count


def test_holding_needs_anyio_only_in_an_event_loop(ledger, start, monkeypatch):
    monkeypatch.setitem(sys.modules, "anyio", None)
    monkeypatch.delitem(
        sys.modules, "leasehold.adapters.holding.cancelling", raising=False
    )
    handle = start()
    entering = ledger.hold(handle).__aenter__()
    with pytest.raises(leasehold.StoreError, match="extra `aio`"):
        entering.send(None)
    with ledger.hold(handle) as lease:
        lease.complete()
