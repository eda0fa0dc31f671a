"""A store of ten thousand tenures: five thousand executions, each taken over once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demonstration import Shown

import leasehold
from leasehold.adapters.report.page import write_report

EXECUTIONS = 5_000
TTL_MS = 400_000
LANES = ("north", "south")


@contextmanager
def show_many(folder: Path) -> Iterator[Shown]:
    """Make the store, in memory, and the page about it."""
    now_ms = 1_767_603_600_000

    def clock() -> int:
        return now_ms

    with leasehold.open("sqlite://", clock=clock, durability="normal") as ledger:
        for lane in LANES:
            specs = [{"lane_id": lane}] * (EXECUTIONS // len(LANES))
            ledger.create_executions(specs)
        for turn in range(2 * EXECUTIONS):
            now_ms += 70
            if turn == EXECUTIONS:
                now_ms += TTL_MS
            lane = LANES[turn % len(LANES)]
            worker_id = f"worker-{turn % 11}"
            taken = ledger.claim(lane, worker_id=worker_id, lease_ttl_ms=TTL_MS)
            assert taken is not None
        report = ledger.audit(rows=False)
        page = folder / "many.html"
        write_report(ledger.read, report, page)
        yield Shown(ledger, report, page)
