"""A held lease that is lost: how it is told, and how its block is left."""

import threading

import pytest
from holding_time import WITHIN_S, revoke, until

import leasehold


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
        ledger.hold(handle, renew_on="progress") as lease,
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


def test_a_lease_whose_first_renewal_took_too_long_is_not_entered(
    ledger, start, hand_time, monkeypatch
):
    handle = start()
    renew = ledger.renew

    def slowly(given):
        hand_time.now_ns += 27_000_000_000
        return renew(given)

    monkeypatch.setattr(ledger, "renew", slowly)
    with pytest.raises(leasehold.LeaseExpiredError), ledger.hold(handle):
        pytest.fail("the block ran")
    assert ledger.read.attempt(handle.execution_id, 0).outcome is None


def test_a_handle_of_nothing_is_not_entered(ledger, start, mismatched):
    with (
        pytest.raises(leasehold.LeaseConflictError),
        ledger.hold(mismatched(start())),
    ):
        pytest.fail("the block ran")


def test_a_closed_ledger_has_lost_its_leases(ledger, start):
    handle = start()
    told = threading.Event()
    with (
        pytest.raises(leasehold.StoreError, match="closed") as raised,
        ledger.hold(handle, on_lost=lambda lease: told.set()) as lease,
    ):
        ledger.close()
        assert lease.lost.wait(WITHIN_S)
        assert told.wait(WITHIN_S)
    # And no failed assertion of the block.
    assert raised.value.__cause__ is lease.lost_because
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
