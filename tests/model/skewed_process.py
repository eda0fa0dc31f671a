"""Workers whose clocks go wrong, each in its own way.

It reads lines of JSON from its input: `url`, `seed`, `rounds`, `clocks`, `hosts`. For
each line it forks a worker for each clock, and prints as one line of JSON what they
were told. A clock has a `rate`, and `steps`: after which round it is set by how many
milliseconds. All begin at the same time, which runs faster than the real one, so that
leases run out while they work. With `hosts` the ledgers have no clock of their own:
it is the host's time that is wrong.
The library is imported once, before the forks.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from importlib import import_module
from typing import Any

import leasehold

LANE = "work"
START_MS = 1_700_000_000_000
TTL_MS = 3_000
HOST_TTL_MS = 60
FASTER = 50
FAILS = leasehold.FailureClass.TRANSIENT
HOST_TIME, HOST_TIME_NS = time.time, time.time_ns


class SkewedClock:
    """A clock that runs at its own rate and is set now and then."""

    def __init__(self, begun_s: float, rate: float, steps: dict[str, int]) -> None:
        self.begun_s = begun_s
        self.rate = rate
        self.steps = steps
        self.offset_ms = 0
        self.highest_ms = 0

    def __call__(self) -> int:
        """Return now in ms."""
        passed_ms = (time.monotonic() - self.begun_s) * 1000 * FASTER * self.rate
        now_ms = START_MS + int(passed_ms) + self.offset_ms
        self.highest_ms = max(self.highest_ms, now_ms)
        return now_ms

    def end_round(self, number: int) -> None:
        """Set it, if it is to be set after this round."""
        self.offset_ms += self.steps.get(str(number), 0)

    def be_the_host(self) -> None:
        """Let this process believe that it is by so much later or earlier."""
        time.time = lambda: HOST_TIME() + self.offset_ms / 1000
        time.time_ns = lambda: HOST_TIME_NS() + self.offset_ms * 1_000_000


class Worker:
    """Claims, writes with what it holds or held, and now and then forgets a lease."""

    def __init__(self, order: dict[str, Any], number: int, begun_s: float) -> None:
        self.clock = SkewedClock(begun_s, **order["clocks"][number])
        if order["hosts"]:
            self.clock.be_the_host()
        self.ttl_ms = HOST_TTL_MS if order["hosts"] else TTL_MS
        self.ledger = leasehold.open(
            order["url"],
            clock=None if order["hosts"] else self.clock,
            durability="normal",
        )
        self.number = number
        self.chance = random.Random(f"{order['seed']} {number}")
        self.held: list[leasehold.Handle] = []
        self.told: list[dict[str, Any]] = []

    def work(self, rounds: int) -> None:
        """Take one after another, and write with any of those taken."""
        for number in range(rounds):
            handle = self.ledger.claim(
                LANE, worker_id=f"worker-{self.number}", lease_ttl_ms=self.ttl_ms
            )
            if handle is not None:
                self.note("claimed", handle)
                # The first one is forgotten: somebody has to take it over.
                self.held += [handle] if number else []
            if self.held:
                self.write(self.chance.choice(self.held))
            self.clock.end_round(number)
        self.ledger.close()

    def write(self, handle: leasehold.Handle) -> None:
        """Make one of the calls of a holder, who may have lost the lease."""
        operation = self.chance.choice(
            ["renew", "renew", "progress", "frame", "complete", "fail", "forget"]
        )
        try:
            match operation:
                case "renew":
                    self.ledger.renew(handle)
                case "progress":
                    self.ledger.progress(handle, self.chance.randint(0, 100))
                case "frame":
                    self.ledger.append_frame(handle, leasehold.Frame(b"line"))
                case "complete":
                    self.ledger.complete(handle, b"done")
                case "fail":
                    self.ledger.fail(handle, "broke", FAILS)
        except leasehold.ContentionError as refusal:
            operation = refusal.code
        self.note(operation, handle)
        if operation not in {"renew", "progress", "frame"}:
            self.held.remove(handle)

    def note(self, what: str, handle: leasehold.Handle) -> None:
        """Note what was told about a lease."""
        of_lease = {"id": str(handle.execution_id), "epoch": handle.lease_epoch}
        self.told.append({"what": what, **of_lease})


def run_worker(
    order: dict[str, Any], number: int, begun_s: float, pipe: int, gate: int
) -> None:
    """Be a worker, tell what it was told, and end."""
    status = 1
    try:
        worker = Worker(order, number, begun_s)
        os.write(pipe, b"\n")
        os.read(gate, 1)
        worker.work(order["rounds"])
        told = {"told": worker.told, "highest_ms": worker.clock.highest_ms}
        with os.fdopen(pipe, "w") as output:
            json.dump(told, output)
        status = 0
    finally:
        os._exit(status)


def run_all(order: dict[str, Any]) -> list[Any]:
    """Fork the workers; return what each of them was told, None for one that broke.

    They begin when all are ready: when nobody can write to the gate any more.
    """
    begun_s = time.monotonic()
    pipes = []
    gate, gate_holder = os.pipe()
    for number in range(len(order["clocks"])):
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.close(reading)
            os.close(gate_holder)
            run_worker(order, number, begun_s, writing, gate)
        os.close(writing)
        pipes.append(reading)
    for pipe in pipes:
        os.read(pipe, 1)
    os.close(gate)
    os.close(gate_holder)
    answers = []
    for pipe in pipes:
        with os.fdopen(pipe) as told:
            answers.append(told.read())
    for _ in pipes:
        os.wait()
    return [json.loads(answer) if answer else None for answer in answers]


def warm_up() -> None:
    """Load what a worker needs, before the forks."""
    with leasehold.open("sqlite://") as ledger:
        ledger.create_execution()
        ledger.complete(ledger.claim(worker_id="w"))
    import_module("leasehold.adapters.postgres.store")


if __name__ == "__main__":
    warm_up()
    for line in sys.stdin:
        print(json.dumps(run_all(json.loads(line))), flush=True)
