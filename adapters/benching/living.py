"""A process that takes executions through their lives, as often as it is told to.

For each order on standard input it tells when it began, when it was done and how long
each life took, step by step. It ends when standard input does.
"""

import json
import time
from typing import Final

from leasehold.adapters.benching.children import (
    given_order,
    lines_of_parent,
    open_store,
    tell,
)
from leasehold.adapters.ledger import Ledger

MODULE: Final = "leasehold.adapters.benching.living"

PAYLOAD: Final = b"x" * 100
RESULT: Final = b"y" * 20
_TTL_MS: Final = 600_000


def live(ledger: Ledger, worker: str, lane_id: str) -> tuple[int, int, int]:
    """Submit, claim and complete; return how long each took, in ns.

    What is claimed may be what another process has submitted: there is at least one
    for each that looks.
    """
    begin_ns = time.monotonic_ns()
    ledger.create_execution(lane_id=lane_id, payload=PAYLOAD)
    created_ns = time.monotonic_ns()
    handle = None
    while handle is None:
        handle = ledger.claim(lane_id, worker_id=worker, lease_ttl_ms=_TTL_MS)
    claimed_ns = time.monotonic_ns()
    ledger.complete(handle, RESULT)
    end_ns = time.monotonic_ns()
    return created_ns - begin_ns, claimed_ns - created_ns, end_ns - claimed_ns


def main() -> None:
    """Live until standard input ends."""
    order = given_order()
    with open_store(order["durability"]) as ledger:
        ledger.claim("none", worker_id=order["worker"])
        tell("ready")
        for line in lines_of_parent():
            lane_id, count = json.loads(line)
            begin_ns = time.monotonic_ns()
            lives = [live(ledger, order["worker"], lane_id) for _ in range(count)]
            tell("lived", begin_ns, time.monotonic_ns(), lives)


if __name__ == "__main__":
    main()
