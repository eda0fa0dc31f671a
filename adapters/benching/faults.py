"""Who crashes, who stalls, and when they come back: drawn from a seed.

It is a thread of its own that never calls the store: a process that is stopped in the
midst of a transaction may hold the store up until it is continued from here.
"""

import heapq
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from leasehold.adapters.benching.fleet import SUBMITTER, Fleet

KILLED: Final = "killed"
STALLED: Final = "stalled"

_TICK_S: Final = 0.01
_ACTIONS: Final = {KILLED: 5, STALLED: 4, SUBMITTER: 1}
_AWAY_S: Final = (0.0, 2.0)
_STALL_TTLS: Final = (1.2, 2.5)


class Faults(threading.Thread):
    """Kills and stops processes of a fleet now and then, and lets them come back.

    Attributes:
        counts: How many workers were killed and stalled, how many submitters killed.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        every_s: float,
        lease_ttl_ms: int,
        work_ms: int,
        chance: random.Random,
    ) -> None:
        """Do nothing yet.

        Args:
            fleet: Whose processes.
            every_s: The mean pause between two faults.
            lease_ttl_ms: A worker that stalls does so for longer.
            work_ms: A worker is hit within that time from a claim.
            chance: Draws what happens.
        """
        super().__init__(name="leasehold-faults", daemon=True)
        self.counts: Counter[str] = Counter()
        self._fleet = fleet
        self._every_s = every_s
        self._ttl_s = lease_ttl_ms / 1000
        self._work_s = work_ms / 1000
        self._chance = chance
        self._is_over = threading.Event()
        self._away: set[str] = set()
        self._back: list[tuple[float, str, Callable[[str], None]]] = []

    def run(self) -> None:
        """Go on until it is over; then let everyone come back."""
        next_s = time.monotonic() + self._pause_s()
        while not self._is_over.wait(_TICK_S):
            now_s = time.monotonic()
            while self._back and self._back[0][0] <= now_s:
                self._come_back()
            if now_s >= next_s:
                self._strike()
                next_s = time.monotonic() + self._pause_s()
        while self._back:
            self._come_back()

    def end(self) -> None:
        """Do no more, and return when everyone is back."""
        self._is_over.set()
        self.join()

    def _pause_s(self) -> float:
        return self._chance.uniform(0.5, 1.5) * self._every_s

    def _come_back(self) -> None:
        _, name, how = heapq.heappop(self._back)
        how(name)
        self._away.discard(name)

    def _strike(self) -> None:
        (action,) = self._chance.choices(list(_ACTIONS), list(_ACTIONS.values()))
        there = [name for name in self._fleet.workers if name not in self._away]
        name = SUBMITTER if action == SUBMITTER else self._drawn(there)
        if name is None or name in self._away or not self._fleet.is_there(name):
            return
        self._await_work(name)
        fleet, away_s = self._fleet, self._chance.uniform(*_AWAY_S)
        self._away.add(name)
        self.counts[action] += 1
        if action == STALLED:
            away_s = self._chance.uniform(*_STALL_TTLS) * self._ttl_s
            fleet.stop(name)
        else:
            fleet.kill(name)
        how = fleet.resume if action == STALLED else fleet.start
        heapq.heappush(self._back, (time.monotonic() + away_s, name, how))

    def _drawn(self, names: list[str]) -> str | None:
        # One at least goes on, so that there is somebody to take over.
        return self._chance.choice(names) if len(names) > 1 else None

    def _await_work(self, name: str) -> None:
        """Wait for a claim, which may not come, and somewhat longer."""
        before, until_s = self._fleet.claims(name), time.monotonic() + self._ttl_s
        while self._fleet.claims(name) == before and time.monotonic() < until_s:
            if self._is_over.wait(_TICK_S):
                return
        self._is_over.wait(self._chance.uniform(0, self._work_s))
