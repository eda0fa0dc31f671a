"""`expire` and `crash`: what they leave in every store, and what they refuse."""

import threading
import uuid

import pytest

import leasehold
from leasehold.testing import Crash, Expire, ManualClock

TTL_MS = 30_000


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def expire(ledger, clock):
    return Expire(ledger, clock)


@pytest.fixture
def crash(ledger, expire):
    return Crash(ledger, expire)


@pytest.fixture
def handle(ledger):
    ledger.create_execution()
    return ledger.claim(worker_id="worker-1", lease_ttl_ms=TTL_MS)


def state_of(ledger, handle):
    return ledger.read.execution(handle.execution_id).ownership_state


def test_the_lease_has_just_run_out_and_nobody_has_recorded_it(
    ledger, clock, handle, expire
):
    assert expire(handle) == clock.now_ms() == handle.lease_expires_at_ms
    assert state_of(ledger, handle) == leasehold.OwnershipState.LEASED
    with pytest.raises(leasehold.LeaseExpiredError):
        ledger.renew(handle)
    (tenure,) = ledger.read.tenures(handle.execution_id)
    assert tenure.ended_at_ms == handle.lease_expires_at_ms
    assert ledger.claim(worker_id="worker-2").kind == leasehold.HandleKind.RECLAIMED


def test_one_millisecond_before_it_still_stood(ledger, clock, handle, expire):
    clock.advance_to(handle.lease_expires_at_ms - 1)
    renewed = ledger.renew(handle)
    assert expire(handle) == renewed.expires_at_ms > handle.lease_expires_at_ms


@pytest.mark.parametrize("by", ["handle", "execution"])
def test_a_crash_is_recorded_and_the_handle_refused(ledger, clock, handle, crash, by):
    ledger.progress(handle, 50, "half")
    crash(handle if by == "handle" else handle.execution_id)
    assert clock.now_ms() == handle.lease_expires_at_ms
    expected = leasehold.OwnershipState.LEASE_EXPIRED_RECLAIMABLE
    assert state_of(ledger, handle) == expected
    events = ledger.read.lease_events(handle.execution_id)
    assert [row.event_type for row in events] == ["acquired", "expired"]
    for write in (ledger.renew, ledger.progress, ledger.complete):
        with pytest.raises(leasehold.LeaseExpiredError):
            write(handle, *([10] if write == ledger.progress else []))
    assert ledger.claim(worker_id="worker-2").kind == leasehold.HandleKind.RECLAIMED
    crash(handle)  # It is over already: nothing more happens.
    assert clock.now_ms() == handle.lease_expires_at_ms


def test_the_last_lease_of_an_execution_is_meant(ledger, clock, handle, expire):
    expire(handle)
    later = ledger.claim(worker_id="worker-2", lease_ttl_ms=1_000)
    assert expire(handle) == handle.lease_expires_at_ms
    assert expire(handle.execution_id) == later.lease_expires_at_ms


def test_a_lease_that_ended_otherwise_cannot_run_out(ledger, handle, expire, crash):
    ledger.complete(handle)
    for lose in (expire, crash):
        with pytest.raises(AssertionError, match=r"worker-1 .* by completed"):
            lose(handle)


def test_a_lease_that_nobody_knows(ledger, handle, expire):
    ledger.create_execution()
    unknown = handle.replace(lease_id=uuid.uuid4())
    for lease in (unknown, uuid.uuid4()):
        with pytest.raises(AssertionError, match="knows no such lease"):
            expire(lease)


def test_a_ledger_on_another_clock_is_told(ledger, handle):
    ahead = ManualClock(handle.lease_expires_at_ms + 1)
    with pytest.raises(AssertionError, match="another clock"):
        Expire(ledger, ahead)(handle)


def test_a_thread_that_renews_meanwhile_does_not_keep_the_lease(
    ledger, clock, handle, crash
):
    refused = []

    def renew_for_ever():
        while not refused:
            try:
                ledger.renew(handle)
            except leasehold.LeaseExpiredError as error:
                refused.append(error)

    renewing = threading.Thread(target=renew_for_ever)
    renewing.start()
    try:
        crash(handle)
    finally:
        renewing.join()
    (tenure,) = ledger.read.tenures(handle.execution_id)
    assert tenure.ended_by == leasehold.TenureEnd.EXPIRED
    assert tenure.ended_at_ms == clock.now_ms() == tenure.expires_at_ms
