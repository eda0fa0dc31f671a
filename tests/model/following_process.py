"""A process that writes or projects: `following_process.py URL ROLE NUMBER COUNT`.

`write`: lets so many executions live, in a lane of its own. `project`: runs a
projection until it has seen so many events, and prints how many of them it took in.

`crash` (without further arguments) reads lines of JSON: `url`, `at`, `stage`, `batch`,
`is_postgres`. For each it forks a child that runs the projection and kills itself in
the midst of the `at`-th event, or does not where that is 0, and prints how it ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from processes import begin_together

import leasehold
from leasehold.adapters import projecting

EVENTS_EACH = 5
NAME = "counts"
STAGES = ("before", "midst", "after")
LONG_S = 200


class Counts:
    """Keeps each position, and how many there were, in two statements."""

    def __init__(self, *, is_postgres: bool, at: int = 0, stage: str = "") -> None:
        self.mark = "%s" if is_postgres else "?"
        self.at, self.stage = at, stage
        self.count = 0

    def create(self, execute: projecting.Execute) -> None:
        """Make two tables, the second with one row."""
        execute("CREATE TABLE IF NOT EXISTS seen (position BIGINT PRIMARY KEY)")
        execute("CREATE TABLE IF NOT EXISTS total (id INTEGER PRIMARY KEY, n BIGINT)")
        execute("INSERT INTO total VALUES (1, 0) ON CONFLICT (id) DO NOTHING")

    def apply(self, recorded: Any, execute: projecting.Execute) -> None:
        """Take an event in; a second time would break the primary key."""
        self.count += 1
        self.crash("before")
        execute(f"INSERT INTO seen VALUES ({self.mark})", recorded.position)
        self.crash("midst")
        execute("UPDATE total SET n = n + 1")
        self.crash("after")

    def crash(self, stage: str) -> None:
        """End here and now, if that is what was ordered."""
        if self.count == self.at and stage == self.stage:
            os.kill(os.getpid(), signal.SIGKILL)


def write(ledger: leasehold.Ledger, lane_id: str, count: int) -> None:
    """Let executions live, one after the other."""
    for _ in range(count):
        ledger.create_execution(lane_id=lane_id)
        handle = ledger.claim(lane_id, worker_id=lane_id)
        assert handle is not None
        ledger.complete(handle)


def project(ledger: leasehold.Ledger, url: str, count: int) -> int:
    """Run the projection until the log has so many events and all are taken in."""
    projection = Counts(is_postgres=url.startswith("postgres"))
    until_s = time.monotonic() + LONG_S
    with ledger.run_projection(projection, NAME) as running:
        while len(ledger.read.events(limit=count)) < count:
            assert time.monotonic() < until_s
            time.sleep(0.05)
        assert running.wait_until(ledger.read.settled_position(), LONG_S)
    return projection.count


def crash_on_order() -> None:
    """Fork a child for each order."""
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            run_to_the_crash(order)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run_to_the_crash(order: dict[str, Any]) -> None:
    """Catch up with the log, as far as it goes."""
    projecting.BATCH = order["batch"]  # type: ignore[misc]
    projection = Counts(
        is_postgres=order["is_postgres"], at=order["at"], stage=order["stage"]
    )
    with leasehold.open(order["url"], durability="normal") as ledger:
        ledger.run_projection(projection, NAME)


def main() -> None:
    """Open the store, do what the role is, print."""
    if sys.argv[1] == "crash":
        crash_on_order()
        return
    url, role, number, count = sys.argv[1:]
    with leasehold.open(url, durability="normal") as ledger:
        begin_together()
        if role == "write":
            write(ledger, f"lane-{number}", int(count))
            print(json.dumps(int(count) * EVENTS_EACH))
        else:
            print(json.dumps(project(ledger, url, int(count))))


if __name__ == "__main__":
    main()
