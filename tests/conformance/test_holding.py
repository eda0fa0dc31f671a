"""Holding a lease for a block: entering, working, and every way to leave."""

import sys
import threading
import time

import pytest

import leasehold
from leasehold.adapters.holding.renewing import HoldTimes

WITHIN_S = 10


def until(condition):
    """Wait until it holds; a test that waits in vain fails."""
    ends_s = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.002)


def revoke(ledger, handle):
    ledger.revoke_lease(handle.execution_id, actor="dora", reason="it hangs")


class HandTime:
    """The clock that held leases are counted by, moved by hand."""

    def __init__(self, keeper):
        self.now_ns = 0
        self.keeper = keeper
        keeper.times = HoldTimes(now_ns=lambda: self.now_ns)

    def pass_a_third(self):
        """Let a third of a ttl of 30 s pass, and renew."""
        self.now_ns += 10_000_000_000
        self.keeper.renew_due()


@pytest.fixture
def hand_time(ledger):
    return HandTime(ledger._keeper)


@pytest.fixture
def refusals(lease_rows):
    def count(handle):
        rows = lease_rows(handle.execution_id)
        return [row["operation"] for row in rows if row["event_type"] == "refused"]

    return count


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


def test_a_lost_lease_is_told_in_every_way(ledger, start, hand_time, refusals):
    handle = start()
    told = []
    with (
        pytest.raises(leasehold.LeaseRevokedError) as raised,
        ledger.hold(handle, on_lost=told.append) as lease,
    ):
        revoke(ledger, handle)
        hand_time.pass_a_third()
        assert lease.lost.wait(WITHIN_S)
        assert lease.lost.is_set()
        assert lease.is_lost
        assert lease.remaining_ms() == 0
        assert isinstance(lease.lost_because, leasehold.LeaseRevokedError)
        for call in (
            lease.check,
            lease.progress,
            lease.renew,
            lease.complete,
            lambda: lease.append_frame(leasehold.Frame(b"x")),
            lambda: lease.fail("x", leasehold.FailureClass.PERMANENT),
        ):
            with pytest.raises(leasehold.LeaseRevokedError):
                call()
    assert raised.value.__cause__ is lease.lost_because
    until(lambda: told)
    assert told == [lease]
    assert refusals(handle) == ["renew"]


def test_the_error_of_a_lost_lease_comes_from_the_exception_of_the_body(
    ledger, start, hand_time
):
    handle = start()
    with (
        pytest.raises(leasehold.LeaseRevokedError) as raised,
        ledger.hold(handle) as lease,
    ):
        revoke(ledger, handle)
        hand_time.pass_a_third()
        lease.lost.wait(WITHIN_S)
        raise ValueError("the disk is full")
    assert isinstance(raised.value.__cause__, ValueError)
    assert ledger.read.attempt(handle.execution_id, 0).outcome is None


def test_the_error_of_a_lost_lease_goes_on_as_it_is(ledger, start, hand_time):
    handle = start()
    with (
        pytest.raises(leasehold.LeaseRevokedError) as raised,
        ledger.hold(handle) as lease,
    ):
        revoke(ledger, handle)
        hand_time.pass_a_third()
        lease.lost.wait(WITHIN_S)
        lease.check()
    assert raised.value.__cause__ is lease.lost_because


def test_an_interrupt_is_not_taken_for_a_lost_lease(ledger, start, hand_time):
    handle = start()
    with pytest.raises(KeyboardInterrupt) as raised, ledger.hold(handle) as lease:
        revoke(ledger, handle)
        hand_time.pass_a_third()
        lease.lost.wait(WITHIN_S)
        raise KeyboardInterrupt
    assert "the lease was lost" in raised.value.__notes__[0]
    assert ledger.read.attempt(handle.execution_id, 0).outcome is None


@pytest.mark.parametrize("operation", ["progress", "append_frame", "complete", "fail"])
def test_a_refused_call_loses_the_lease(ledger, start, operation, refusals):
    handle = start()
    with (
        pytest.raises(leasehold.LeaseRevokedError) as raised,
        ledger.hold(handle) as lease,
    ):
        revoke(ledger, handle)
        assert not lease.is_lost
        calls = {
            "progress": lambda: lease.progress(1),
            "append_frame": lambda: lease.append_frame(leasehold.Frame(b"x")),
            "complete": lease.complete,
            "fail": lambda: lease.fail("x", leasehold.FailureClass.PERMANENT),
        }
        calls[operation]()
    assert raised.value is lease.lost_because
    assert refusals(handle) == [operation]


def test_a_lease_that_was_lost_unnoticed_is_noticed_on_leaving(ledger, start, refusals):
    handle = start()
    with pytest.raises(leasehold.LeaseRevokedError) as raised, ledger.hold(handle):
        revoke(ledger, handle)
        raise ValueError("x")
    assert isinstance(raised.value.__cause__, ValueError)
    assert refusals(handle) == ["fail"]


def test_a_lease_that_ran_out_is_not_written_to(ledger, start, hand_time, event_count):
    handle = start()
    with (
        pytest.raises(leasehold.LeaseExpiredError, match="27000 ms ago") as raised,
        ledger.hold(handle) as lease,
    ):
        before = event_count()
        hand_time.now_ns = 26_998_999_999
        assert lease.remaining_ms() == 0
        assert not lease.is_lost
        hand_time.now_ns = 27_000_000_000
        assert lease.is_lost
        raise ValueError("x")
    assert isinstance(raised.value.__cause__, ValueError)
    assert event_count() == before


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


def test_a_ledger_that_is_closed_while_a_hold_is_entered_keeps_nothing(
    ledger, start, monkeypatch
):
    handle = start()
    looked_up = ledger._lease_ttl_ms

    def look_up(given):
        found = looked_up(given)
        ledger._keeper.close()
        return found

    monkeypatch.setattr(ledger, "_lease_ttl_ms", look_up)
    with pytest.raises(leasehold.StoreError, match="closed"), ledger.hold(handle):
        pytest.fail("the block ran")
    assert not list(ledger._keeper._all_kept)


def test_a_lease_that_was_lost_before_leaving_without_an_end_says_so(ledger, start):
    handle = start()
    with pytest.raises(leasehold.LeaseRevokedError), ledger.hold(handle):
        revoke(ledger, handle)


def test_a_lost_lease_is_not_entered(ledger, start, clock, refusals):
    handle = start()
    clock.advance(30_000)
    with pytest.raises(leasehold.LeaseExpiredError), ledger.hold(handle):
        pytest.fail("the block ran")
    other = ledger.claim(worker_id="other")
    for gone in (handle, handle.replace(lease_epoch=7)):
        with pytest.raises(leasehold.LeaseConflictError), ledger.hold(gone):
            pytest.fail("the block ran")
    assert other.attempt_index == 1


def test_a_handle_of_nothing_is_not_entered(ledger, start, mismatched):
    with (
        pytest.raises(leasehold.LeaseConflictError),
        ledger.hold(mismatched(start())),
    ):
        pytest.fail("the block ran")


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


def test_a_closed_ledger_has_lost_its_leases(ledger, start):
    handle = start()
    told = threading.Event()
    with (
        pytest.raises(leasehold.StoreError, match="closed"),
        ledger.hold(handle, on_lost=lambda lease: told.set()) as lease,
    ):
        ledger.close()
        assert lease.lost.wait(WITHIN_S)
        assert told.wait(WITHIN_S)
    with pytest.raises(leasehold.StoreError, match="closed"), ledger.hold(handle):
        pytest.fail("the block ran")


def test_an_on_lost_that_fails_is_logged(ledger, start, caplog):
    handle = start()

    def on_lost(lease):
        raise ZeroDivisionError("in the callback")

    with (
        pytest.raises(leasehold.LeaseRevokedError),
        ledger.hold(handle, on_lost=on_lost) as lease,
    ):
        revoke(ledger, handle)
        lease.progress(1)
    until(lambda: "in the callback" in caplog.text)
    assert "on_lost" in caplog.text


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
