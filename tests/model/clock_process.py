"""A process whose host has another time: `clock_process.py URL OFFSET_S`.

Reads calls as lines of JSON, `[name, arguments]`, and prints what each gave: `claim`
takes the milliseconds of its lease and prints a handle, `renew` takes a handle and
prints the new expiry or why it was refused, `host` prints the time that this process
believes in.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

OFFSET_S = int(sys.argv[2])
HOST_TIME, HOST_TIME_NS = time.time, time.time_ns
time.time = lambda: HOST_TIME() + OFFSET_S
time.time_ns = lambda: HOST_TIME_NS() + OFFSET_S * 1_000_000_000

import leasehold  # noqa: E402 - it is to know no other time


def answer(ledger: leasehold.Ledger, name: str, argument: Any) -> Any:
    """Make one call."""
    if name == "host":
        return time.time_ns() // 1_000_000
    if name == "renew":
        try:
            return ledger.renew(leasehold.Handle.parse(argument)).expires_at_ms
        except leasehold.ContentionError as refusal:
            return refusal.code
    worker_id = f"worker at {OFFSET_S}"
    handle = ledger.claim(worker_id=worker_id, lease_ttl_ms=argument)
    return None if handle is None else str(handle)


def main() -> None:
    """Answer until nothing more comes."""
    with leasehold.open(sys.argv[1], durability="normal") as ledger:
        for line in sys.stdin:
            print(json.dumps(answer(ledger, *json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
