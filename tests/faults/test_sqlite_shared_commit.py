"""Calls of several threads that share a commit, on a disk that fails under it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

import pytest
from disks import FAULTS, Disk, Plan
from scripted_work import NAME
from sqlite_vfs import layer

import leasehold
from leasehold.adapters.sqlite import grouping

if TYPE_CHECKING:
    from concurrent.futures import Future

EVERY = int(os.environ.get("LEASEHOLD_FAULTS_EVERY", "0"))
FEW = 3
PATIENCE_S = 120
LANES = ["first", "second", "third"]
TRIED = {
    "a write fails",
    "a write is torn",
    "the disk is full",
    "a sync fails",
    "a lock fails",
    "a read fails",
}


class HeldClock:
    """A clock that holds up the call that reads it, while it is told to."""

    def __init__(self) -> None:
        self.free = Event()
        self.free.set()
        self.is_read = Event()

    def __call__(self) -> int:
        self.is_read.set()
        self.free.wait()
        return 1_000_000


def create_together(ledger, clock, disk) -> dict[str, BaseException | None]:
    """Create in each lane, by calls that share a transaction; return their errors."""
    calls: dict[str, Future] = {}
    with ThreadPoolExecutor(len(LANES)) as executor:
        clock.is_read.clear()
        clock.free.clear()
        disk.is_counting = True
        try:
            for lane_id in LANES:
                calls[lane_id] = executor.submit(
                    ledger.create_execution, lane_id=lane_id, payload=bytes(20_000)
                )
                wait_for_the_last(calls, ledger, clock)
        finally:
            clock.free.set()
        errors = {lane_id: call.exception() for lane_id, call in calls.items()}
        disk.is_counting = False
    return errors


def wait_for_the_last(calls, ledger, clock) -> None:
    """Wait until it has the turn, or waits for it; or until the first has failed."""
    waiters = ledger._store._transactions.turns._waiters
    give_up_at = time.monotonic() + PATIENCE_S
    while not (clock.is_read.is_set() and len(waiters) == len(calls) - 1):
        if calls["first"].done():
            return
        assert time.monotonic() < give_up_at
        time.sleep(0.0005)


def endure(folder, plan, opener) -> Disk:
    """Have the disk fail under the calls; check what they answer and what is there."""
    folder.mkdir()
    disk, clock = Disk(folder, plan), HeldClock()
    url = f"sqlite:///{folder / NAME}"
    with layer(disk), leasehold.open(url, clock=clock) as ledger:
        ledger.create_execution(lane_id="before")
        errors = create_together(ledger, clock, disk)
        kept = disk.files().kept()
        disk.heal()
        made = {lane_id for lane_id, error in errors.items() if error is None}
        refused = set(LANES) - made
        assert {type(errors[lane_id]) for lane_id in refused} <= {leasehold.StoreError}
        assert {*ledger.read.lanes()} == {"before", *made}
        for lane_id in sorted(refused):
            ledger.create_execution(lane_id=lane_id)
        assert {*ledger.read.lanes()} == {"before", *LANES}
        assert ledger.verify().ok
        assert ledger.audit().ok
    opener.digest_of(kept)
    with leasehold.open(f"sqlite:///{opener.path}") as left:
        # What one commit is for is there together, or not at all.
        assert {*left.read.lanes()} in ({"before", *made}, {"before", *LANES})
    return disk


@pytest.mark.parametrize(
    "fault",
    [fault for fault in FAULTS if fault.name in TRIED],
    ids=lambda fault: fault.name,
)
def test_all_that_share_a_commit_are_told_what_became_of_it(
    fault, refer, tmp_path, monkeypatch, rows
) -> None:
    # However slow this machine is, time closes no group.
    monkeypatch.setattr(grouping, "OPEN_S_MAX", PATIENCE_S)
    opener = refer("full").opener
    asked = endure(tmp_path / "none", None, opener).asked
    places = [n for n, kind in enumerate(asked) if kind in fault.codes]
    hits = 0
    for at in places[:: EVERY or max(1, len(places) // FEW)]:
        hits += endure(tmp_path / str(at), Plan(fault, at, False), opener).hits
    assert hits
    rows.append((f"{fault.name}, under calls that share a commit", "once", hits))
