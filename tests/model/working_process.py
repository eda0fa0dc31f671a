"""One of many worker processes on one store: `working_process.py URL NUMBER`.

Claims until everything has ended, and prints what it was told as one line of JSON. Some
leases are short and given up on purpose; their handles are used later, when another
worker may have taken over.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from collections import Counter
from typing import Any

from processes import begin_together

import leasehold
from leasehold import FailureClass

LANE = "work"
SHORT_TTL_MS = 60
LONG_TTL_MS = 60_000
PAUSE_S = 0.02


class Worker:
    """Claims, renews, fails, completes, and now and then forgets what it holds."""

    def __init__(self, ledger: leasehold.Ledger, number: int) -> None:
        self.ledger = ledger
        self.number = number
        self.chance = random.Random(number)
        self.told: Counter[str] = Counter()
        self.forgotten: list[leasehold.Handle] = []

    def run(self) -> None:
        """Work until nothing is left that has not ended."""
        pause = threading.Event()
        while True:
            forgets = self.chance.random() < 0.04
            handle = self.ledger.claim(
                LANE,
                worker_id=f"worker-{self.number}",
                worker_instance_id=f"process-{self.number}",
                lease_ttl_ms=SHORT_TTL_MS if forgets else LONG_TTL_MS,
            )
            if handle is None:
                self.wake_the_dead()
                if self.all_ended():
                    return
                pause.wait(PAUSE_S)
            elif forgets:
                self.told["forgotten"] += 1
                self.forgotten.append(handle)
            else:
                self.work(handle)
                if len(self.forgotten) > 2:
                    self.wake_the_dead()

    def all_ended(self) -> bool:
        """Say whether every execution has ended."""
        counts = self.ledger.read.counts()
        return not any(counts[state] for state in ("pending", "delayed", "running"))

    def work(self, handle: leasehold.Handle) -> None:
        """Report, perhaps renew, and end the attempt one way or another."""
        draw = self.chance.random()
        if draw < 0.3:
            self.call("renewed", self.ledger.renew, handle)
        elif draw < 0.5:
            self.call("progressed", self.ledger.progress, handle, 50)
        self.end(handle)

    def end(self, handle: leasehold.Handle) -> None:
        """Complete mostly; fail now and then, for now or for good."""
        draw = self.chance.random()
        if draw < 0.08:
            transient = FailureClass.TRANSIENT
            answer = self.call("", self.ledger.fail, handle, "broke", transient)
            if answer is not None:
                retried = isinstance(answer, leasehold.RetryScheduled)
                self.told["retried" if retried else "failed"] += 1
        elif draw < 0.12:
            permanent = FailureClass.PERMANENT
            self.call("failed", self.ledger.fail, handle, "hopeless", permanent)
        else:
            self.call("completed", self.ledger.complete, handle, b"done")

    def wake_the_dead(self) -> None:
        """Use the forgotten handles as if nothing had happened."""
        for handle in self.forgotten:
            self.end(handle)
        self.forgotten = []

    def call(self, name: str, operation: Any, *arguments: Any) -> Any:
        """Make a call; count what came of it. Only contention is expected."""
        try:
            answer = operation(*arguments)
        except leasehold.ContentionError as refusal:
            self.told[refusal.code] += 1
            return None
        if name:
            self.told[name] += 1
        return answer


def main() -> None:
    """Open the store, work, print."""
    url, number = sys.argv[1], int(sys.argv[2])
    with leasehold.open(url, durability="normal") as ledger:
        worker = Worker(ledger, number)
        begin_together()
        worker.run()
    print(json.dumps(worker.told))


if __name__ == "__main__":
    main()
