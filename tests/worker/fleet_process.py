"""One worker process of a fleet: `fleet_process.py URL NUMBER`, until a signal.

A handler takes a moment, so that some are running whenever the process is killed.
"""

from __future__ import annotations

import sys
import time

import leasehold

LANE = "fleet"
TTL_MS = 1_000
CONCURRENCY = 8
MOMENT_S = 0.005


def work(context: leasehold.WorkContext) -> bytes:
    """Report and return what was submitted."""
    context.progress(50)
    time.sleep(MOMENT_S)
    return context.payload


def main(url: str, number: str) -> None:
    """Work until told to stop."""
    with leasehold.open(url, durability="normal") as ledger:
        leasehold.Worker(
            ledger,
            work,
            lanes=[LANE],
            worker_id=f"worker-{number}",
            concurrency=CONCURRENCY,
            lease_ttl_ms=TTL_MS,
            poll_s=(0.05, 0.5),
        ).run(handle_signals=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
