"""A client that works on through outages of its server, and keeps a journal.

Run as `outage_worker.py URL NUMBER JOURNAL`; ends its current work and exits when its
standard input does. A line is written when a call has returned, and not before.
"""

from __future__ import annotations

import json
import select
import sys
import time
from pathlib import Path
from typing import Any

import leasehold

PAUSE_S = 0.02
HOUR_MS = 3_600_000


class Worker:
    """Creates, claims, renews, reports and completes, one execution after another."""

    def __init__(self, url: str, name: str, journal: Path) -> None:
        self.ledger = leasehold.open(url)
        self.name = name
        self.journal = journal.open("a")
        self.note("opened")

    def note(self, call: str, **facts: Any) -> None:
        """Write a line of the journal."""
        self.journal.write(json.dumps({"call": call, **facts}, default=str) + "\n")
        self.journal.flush()

    def until_it_works(self, call: Any) -> Any:
        """Repeat a call that can be repeated, over outages."""
        while True:
            try:
                return call()
            except leasehold.StoreError as error:
                self.note("trouble", code=error.code, text=str(error))
                time.sleep(PAUSE_S)

    def live(self, number: int) -> None:
        """Bring one execution through its life."""
        ledger, key = self.ledger, f"{self.name}-{number}"
        one = self.until_it_works(lambda: ledger.create_execution(idempotency_key=key))
        self.note("created", key=key, id=one)
        try:
            handle = ledger.claim(worker_id=self.name, lease_ttl_ms=HOUR_MS)
        except leasehold.StoreError as error:
            # It may have a lease now that nobody knows of.
            self.note("trouble", code=error.code, text=str(error))
            return
        if handle is None:
            return
        of_handle = {"id": handle.execution_id, "epoch": handle.lease_epoch}
        self.note("claimed", **of_handle)
        renewed = self.until_it_works(lambda: ledger.renew(handle))
        self.note("renewed", **of_handle, expires=renewed.expires_at_ms)
        self.until_it_works(lambda: ledger.progress(handle, 50, key))
        self.note("progressed", **of_handle, message=key)
        self.until_it_works(lambda: ledger.complete(handle, key.encode()))
        self.note("completed", **of_handle, result=key)

    def work(self) -> None:
        """Go on until the standard input ends."""
        number = 0
        while not select.select([sys.stdin], [], [], 0)[0]:
            number += 1
            try:
                self.live(number)
            except leasehold.LeaseholdError as error:
                self.note("unexpected", code=error.code, text=str(error))
        self.ledger.close()
        self.journal.close()


if __name__ == "__main__":
    _, store, worker_name, path = sys.argv
    Worker(store, worker_name, Path(path)).work()
