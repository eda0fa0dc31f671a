"""Worker processes that are killed: another takes over, and each completes once.

`LEASEHOLD_WORKER_EXECUTIONS` sets how many executions a fleet works on.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import fleet_process
import pytest

import leasehold

PROGRAM = Path(fleet_process.__file__)
EXECUTIONS = int(os.environ.get("LEASEHOLD_WORKER_EXECUTIONS", "300"))
PROCESSES = 4
KILLS = max(4, EXECUTIONS // 500)
WITHIN_S = 60 + EXECUTIONS / 10


class Fleet:
    """Worker processes, by number."""

    def __init__(self, url: str, end: ExitStack) -> None:
        self.url = url
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        end.callback(self.kill_all)

    def start(self, number: int) -> None:
        """Start the worker of a number; its errors come out with those of the test."""
        self.processes[number] = subprocess.Popen(
            [sys.executable, "-W", "error", PROGRAM, self.url, str(number)]
        )

    def kill(self, number: int) -> None:
        """Kill it: nothing of it is told or written any more."""
        self.processes[number].kill()
        self.processes[number].wait()

    def stop(self, number: int) -> int:
        """Tell it to stop, and return its status."""
        self.processes[number].send_signal(signal.SIGTERM)
        return self.processes[number].wait(WITHIN_S)

    def kill_all(self) -> None:
        """Leave nothing behind."""
        for number in self.processes:
            self.kill(number)


def submitted(ledger):
    return ledger.create_executions(
        [
            {"lane_id": fleet_process.LANE, "payload": b"%d" % number}
            for number in range(EXECUTIONS)
        ]
    )


def test_each_execution_completes_once_whoever_is_killed(shared_url):
    chance = random.Random(7)
    with ExitStack() as end:
        ledger = end.enter_context(leasehold.open(shared_url, durability="normal"))
        ids = submitted(ledger)
        fleet = Fleet(shared_url, end)
        for number in range(PROCESSES):
            fleet.start(number)
        completed = follow_and_kill(ledger, fleet, chance)
        assert sorted(completed) == sorted(ids)
        # One that was just started anew may not be ready for the signal yet.
        statuses = [fleet.stop(number) for number in range(PROCESSES)]
        assert statuses[2:] == [0, 0]
        assert set(statuses[:2]) <= {0, -signal.SIGTERM}
        topics = [event.topic for event in all_completed(ledger)]
        assert len(topics) == EXECUTIONS
        report = ledger.audit()
        assert report.ok, report.findings
        figures = report.figures
        assert figures.reclaims > 0
        print(
            f"{EXECUTIONS} executions, {figures.reclaims} taken over;"
            f" ms to reclaim: {figures.time_to_reclaim_ms}"
        )


def all_completed(ledger):
    """Return all events that say so, a page at a time."""
    found = []
    with ledger.subscribe(after=0, topics=["execution.completed"]) as subscription:
        while events := subscription.next_events(0):
            found += events
    return found


def follow_and_kill(ledger, fleet, chance):
    """Follow what completes; now and then kill one of two workers and start it anew."""
    completed, kills = [], 0
    until_s = time.monotonic() + WITHIN_S
    topics = ["execution.completed", "attempt.progressed"]
    with ledger.subscribe(after=0, topics=topics) as subscription:
        while len(completed) < EXECUTIONS:
            assert time.monotonic() < until_s
            completed += [
                recorded.event.execution_id
                for recorded in subscription.next_events(1)
                if recorded.topic == "execution.completed"
            ]
            if len(completed) > EXECUTIONS * (kills + 1) // (KILLS + 2):
                number = chance.randrange(2)
                time.sleep(chance.random() / 50)
                fleet.kill(number)
                fleet.start(number)
                kills += 1
    assert kills > 0
    return completed


@pytest.mark.parametrize("kind", ["postgres", "file"])
def test_another_process_takes_over_from_one_that_was_killed(new_store, kind):
    url = new_store(kind)
    with ExitStack() as end:
        ledger = end.enter_context(leasehold.open(url, durability="normal"))
        fleet = Fleet(url, end)
        execution_id = ledger.create_execution(lane_id=fleet_process.LANE)
        # As a process that was killed leaves it: claimed, and nobody there.
        handle = ledger.claim(
            fleet_process.LANE, worker_id="killed", lease_ttl_ms=fleet_process.TTL_MS
        )
        assert handle is not None
        fleet.start(0)
        topics = ["execution.completed"]
        with ledger.subscribe(after=0, topics=topics) as subscription:
            assert len(subscription.next_events(WITHIN_S)) == 1
        assert fleet.stop(0) == 0
        assert [row.worker_id for row in ledger.read.attempts(execution_id)] == [
            "killed",
            "worker-0",
        ]
        assert ledger.audit().ok
