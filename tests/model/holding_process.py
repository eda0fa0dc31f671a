"""A worker that is stopped by a signal while it holds two leases, and continued.

One body is a thread, the other a task. It says "holding", is stopped, and writes
nothing before it notices that time has passed. Then it prints as one line of JSON what
each of them saw, and what the store said to a write with the bare handle.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from typing import Any

import leasehold

LANE = "stopped"
TTL_MS = 3_000
STOPPED_S = 1.0


def wait_to_be_stopped() -> None:
    """Return when this process was stopped for a while."""
    last_s = time.monotonic()
    while time.monotonic() - last_s < STOPPED_S:
        last_s = time.monotonic()
        time.sleep(0.005)


def in_a_thread(ledger: leasehold.Ledger, saw: dict[str, Any]) -> None:
    """Hold a lease, and try to write when it has run out."""
    sent_at_s = time.monotonic()
    handle = claim(ledger)
    told: list[str] = []
    try:
        # Nothing is reported, so no renewal is under way when this is stopped.
        with ledger.hold(
            handle,
            renew_on="progress",
            sent_at_s=sent_at_s,
            on_lost=lambda lease: told.append(type(lease.lost_because).__name__),
        ) as lease:
            print("holding", flush=True)
            wait_to_be_stopped()
            saw["is_lost"] = lease.is_lost
            saw["remaining_ms"] = lease.remaining_ms()
            saw["event"] = lease.lost.wait(30)
            lease.progress(99)
    except leasehold.LeaseholdError as error:
        saw["body"] = type(error).__name__
    try:
        ledger.complete(handle, b"too late")
    except leasehold.LeaseholdError as error:
        saw["bare"] = type(error).__name__
    saw["execution_id"] = str(handle.execution_id)
    saw["told"] = told


async def in_a_task(ledger: leasehold.Ledger, saw: dict[str, Any]) -> None:
    """Hold a lease and do nothing, until the task is cancelled."""
    sent_at_s = time.monotonic()
    handle = claim(ledger)
    saw["execution_id"] = str(handle.execution_id)
    try:
        async with ledger.hold(handle, renew_on="progress", sent_at_s=sent_at_s):
            print("holding", flush=True)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                saw["cancelled"] = True
                raise
    except leasehold.LeaseholdError as error:
        saw["body"] = type(error).__name__


def claim(ledger: leasehold.Ledger) -> leasehold.Handle:
    """Claim what the test has created."""
    handle = ledger.claim(LANE, worker_id="stopped", lease_ttl_ms=TTL_MS)
    assert handle is not None
    return handle


def main(url: str) -> None:
    """Hold the leases of a store; print what happened."""
    of_thread: dict[str, Any] = {}
    of_task: dict[str, Any] = {}
    with leasehold.open(url, durability="normal") as ledger:
        body = threading.Thread(target=in_a_thread, args=(ledger, of_thread))
        body.start()
        asyncio.run(in_a_task(ledger, of_task))
        body.join()
    print(json.dumps([of_thread, of_task]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
