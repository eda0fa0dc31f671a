"""Held leases while processes stop and fork, and while the store hangs.

`LEASEHOLD_HOLD_SECONDS` sets for how long two hundred leases of a second are held.
Without it they are longer than a busy machine stands still, and held until each was
renewed twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import holding_process
import pytest

import leasehold

PROGRAM = Path(holding_process.__file__)
HOLD_S = float(os.environ.get("LEASEHOLD_HOLD_SECONDS", "0"))
HELD_TTL_MS = 1_000 if HOLD_S else 6_000
WITHIN_S = 60
LEASES = 200


@pytest.fixture
def ledger(shared_url):
    """Open each store that can be shared, on its own clock."""
    with leasehold.open(shared_url, durability="normal") as opened:
        yield opened


def claim(ledger, lane_id="default", **terms):
    """Return a handle of a new execution, and when it was asked for."""
    ledger.create_execution(lane_id=lane_id)
    sent_at_s = time.monotonic()
    handle = ledger.claim(lane_id, worker_id="w", **terms)
    assert handle is not None
    return handle, sent_at_s


def claim_when_free(ledger, lane_id):
    until_s = time.monotonic() + WITHIN_S
    while (handle := ledger.claim(lane_id, worker_id="other")) is None:
        assert time.monotonic() < until_s
        time.sleep(0.02)
    return handle


@pytest.fixture
def stopped(ledger, shared_url):
    """Stop a worker until its leases are taken over; return what it saw then."""
    lane = holding_process.LANE
    ledger.create_executions([{"lane_id": lane}] * 2)
    command = [sys.executable, "-W", "error", PROGRAM, shared_url]
    worker = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert worker.stdout is not None
        for _ in range(2):
            assert worker.stdout.readline() == "holding\n"
        worker.send_signal(signal.SIGSTOP)
        stopped_s = time.monotonic()
        taken = [claim_when_free(ledger, lane) for _ in range(2)]
        time.sleep(max(0, stopped_s + 1.5 - time.monotonic()))
        worker.send_signal(signal.SIGCONT)
        output, errors = worker.communicate(timeout=WITHIN_S)
        assert errors == ""
        return taken, json.loads(output)
    finally:
        worker.kill()
        worker.communicate()


def test_a_worker_that_was_stopped_notices_before_it_writes(ledger, stopped):
    taken, (of_thread, of_task) = stopped
    assert of_thread.pop("told") == ["LeaseExpiredError"]
    refused = uuid.UUID(of_thread.pop("execution_id"))
    assert of_thread == {
        "is_lost": True,
        "remaining_ms": 0,
        "event": True,
        "body": "LeaseExpiredError",
        "bare": "LeaseConflictError",
    }
    assert of_task.pop("execution_id")
    assert of_task == {"cancelled": True, "body": "LeaseExpiredError"}
    for handle in taken:
        assert handle.kind is leasehold.HandleKind.RECLAIMED
        ledger.complete(handle, b"by the other")
    refusals = [
        (row.execution_id, row.operation)
        for row in ledger.read.lease_events()
        if row.event_type is leasehold.LeaseEventType.REFUSED
    ]
    assert refusals == [(refused, "complete")]
    assert ledger.audit().ok


def test_a_store_that_hangs_for_a_while_loses_no_lease(ledger, outsider):
    handle, sent_at_s = claim(ledger, lease_ttl_ms=4_000)
    with ledger.hold(handle, sent_at_s=sent_at_s) as lease:
        outsider.hold(handle.execution_id)
        # The renewal is due after 1.3 seconds, and waits.
        assert not lease.lost.wait(2)
        outsider.release()
        until_s = sent_at_s + 6
        while time.monotonic() < until_s:
            assert not lease.lost.wait(0.1)
        lease.complete()


def test_a_lease_is_lost_in_time_though_its_renewal_hangs(ledger, outsider):
    handle, sent_at_s = claim(ledger, lease_ttl_ms=1_000)
    told = threading.Event()
    with (
        pytest.raises(leasehold.LeaseExpiredError) as raised,
        ledger.hold(
            handle, sent_at_s=sent_at_s, on_lost=lambda lease: told.set()
        ) as lease,
    ):
        outsider.hold(handle.execution_id)
        try:
            # Sooner than the store gives up, which is after half a minute.
            is_told = told.wait(15)
            in_flight = lease._kept.in_flight
            lease.check()
        finally:
            outsider.release()
    assert (is_told, in_flight) == (True, 1)
    assert raised.value.__cause__ is lease.lost_because
    assert ledger.read.attempt(handle.execution_id, 0).outcome is None


@pytest.fixture
def renewed(ledger, monkeypatch):
    """Count the calls that renew, and give the seconds that each took."""
    took_s = []
    renew_many = ledger.renew_many

    def timed(handles):
        began_s = time.monotonic()
        try:
            return renew_many(handles)
        finally:
            took_s.append(round(time.monotonic() - began_s, 3))

    monkeypatch.setattr(ledger, "renew_many", timed)
    return took_s


def load(ledger):
    for _ in range(20):
        ledger.create_execution(lane_id="load")


def renewals(ledger, handle):
    (tenure,) = ledger.read.tenures(handle.execution_id)
    return tenure.renewals


def check_two_hundred(ledger):
    assert ledger.read.counts()["completed"] == LEASES
    report = ledger.audit()
    assert report.ok
    assert report.figures.refusals == 0
    assert report.figures.renewals >= LEASES * max(1, HOLD_S - 1)


def test_two_hundred_leases_are_held(ledger, renewed):
    """Whatever the store is doing besides, none is lost."""
    ledger.create_executions([{"lane_id": "held"}] * LEASES)
    with contextlib.ExitStack() as held:
        leases = []
        for _ in range(LEASES):
            sent_at_s = time.monotonic()
            handle = ledger.claim("held", worker_id="w", lease_ttl_ms=HELD_TTL_MS)
            leases.append(held.enter_context(ledger.hold(handle, sent_at_s=sent_at_s)))
        last = leases[-1].handle
        until_s = time.monotonic() + HOLD_S
        while time.monotonic() < until_s or renewals(ledger, last) < 2:
            load(ledger)
            lost = [lease for lease in leases if lease.is_lost]
            if lost:
                # Two hundred blocks that are left by an error each tell of it.
                held.pop_all()
                longest_s = sorted(renewed)[-3:]
                pytest.fail(f"{len(lost)} lost; the longest calls: {longest_s} s")
        for lease in leases:
            lease.complete()
    check_two_hundred(ledger)


def test_two_hundred_leases_are_renewed_every_100_ms(ledger, renewed):
    """As often as a worker might that has no guard, in one transaction each time."""
    ledger.create_executions([{"lane_id": "held"}] * LEASES)
    handles = ledger.claim_many(LEASES, "held", worker_id="w", lease_ttl_ms=HELD_TTL_MS)
    until_s = time.monotonic() + HOLD_S
    while time.monotonic() < until_s or len(renewed) < 3:
        next_s = time.monotonic() + 0.1
        answers = ledger.renew_many(handles)
        refused = [each for each in answers if isinstance(each, Exception)]
        assert not refused, (len(refused), refused[0], sorted(renewed)[-3:])
        load(ledger)
        time.sleep(max(0.0, next_s - time.monotonic()))
    ledger.complete_many([(handle, None) for handle in handles])
    check_two_hundred(ledger)


FORKED = """
import os, sys, leasehold

def see_in_the_child(ledger, handle, lease):
    assert lease.is_lost and lease.lost.is_set() and lease.lost.wait(60)
    assert lease.remaining_ms() == 0
    calls = [lease.check, lease.progress, lease.complete, lease.renew]
    for call in (*calls, ledger.hold(handle).__enter__):
        try:
            call()
        except leasehold.StoreError as error:
            assert "forked" in str(error), error
        else:
            raise AssertionError(call)
    lease.beat()
    ledger.close()

ledger = leasehold.open(sys.argv[1], durability="normal")
ledger.create_execution()
handle = ledger.claim(worker_id="w")
child = None
try:
    with ledger.hold(handle, on_lost=print) as lease:
        child = os.fork()
        if child == 0:
            see_in_the_child(ledger, handle, lease)
        else:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            assert not lease.is_lost
            lease.complete(b"by the parent")
except leasehold.StoreError as error:
    assert child == 0 and "forked" in str(error), error
    os._exit(7)
print(ledger.read.execution(handle.execution_id).result)
ledger.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_hold_the_lease(shared_url):
    done = subprocess.run(
        [sys.executable, "-c", FORKED, shared_url],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if "fork" not in line]
    assert (done.stdout, told) == ("b'by the parent'\n", [])
