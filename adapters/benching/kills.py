"""Workers killed in the midst of their work, and how soon others take it over."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from leasehold.adapters.benching.fleet import Fleet, FleetOrder
from leasehold.adapters.benching.judging import Verdict, judge
from leasehold.adapters.benching.measuring import Figure
from leasehold.adapters.benching.places import Place
from leasehold.adapters.benching.rows import BenchOrder, PartReport, Row, Show
from leasehold.adapters.benching.submitting import specs
from leasehold.adapters.benching.witness import Witness
from leasehold.adapters.ledger import Ledger
from leasehold.adapters.opening import open_ledger
from leasehold.adapters.walking import Progress
from leasehold.domain.errors import StoreError
from leasehold.domain.states import PublicState

LEASE_TTL_MS: Final = 1_000
"""Of the leases: what is held is taken over when that has run out."""

_PROCESSES: Final = 3
_KILLS: Final = 2
_WORK_MS: Final = 50
_EXECUTIONS_PART: Final = 6
_EXECUTIONS_LEAST: Final = 12
_LOOK_S: Final = 0.002
_ROUND_S: Final = 120.0
_NS_IN_MS: Final = 1_000_000
_SEED: Final = 1
_OPEN: Final = (PublicState.PENDING, PublicState.DELAYED, PublicState.RUNNING)


class _Round:
    """One round: executions are there, workers are killed, all is done in the end."""

    def __init__(self, ledger: Ledger, fleet: Fleet) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._witness = fleet.witness
        self._until_s = time.monotonic() + _ROUND_S
        self._held: list[tuple[str, int, int]] = []

    def run(self, executions: int) -> None:
        """Create some executions, kill, and wait until all have ended.

        Raises:
            StoreError: They have not ended after two minutes.
        """
        fleet, witness = self._fleet, self._witness
        before = {name: fleet.claims(name) for name in fleet.workers}
        first = witness.created
        numbers = range(first, first + executions)
        ids = self._ledger.create_executions(specs(numbers))
        witness.hear("the bench", ["created", first, [str(one) for one in ids]])
        for _ in range(_KILLS):
            name = self._next_at_work(before)
            if name is None:
                break
            del before[name]
            killed = fleet.kill(name)
            killed_ns = time.monotonic_ns()
            fleet.start(name)
            if killed is not None:
                held = witness.held_by(killed)
                self._held += [(*lease, killed_ns) for lease in held]
        while self._is_open():
            self._wait()

    def _next_at_work(self, before: dict[str, int]) -> str | None:
        """Return who has claimed something just now; None if all is done."""
        while True:
            for name, claims in before.items():
                if self._fleet.claims(name) > claims:
                    return name
            if not self._is_open():
                return None
            self._wait()

    def _is_open(self) -> bool:
        counts = self._ledger.read.counts()
        return any(counts[state] for state in _OPEN)

    def _wait(self) -> None:
        self._fleet.look_after()
        if time.monotonic() > self._until_s:
            message = f"the executions of a round have not ended after {_ROUND_S:.0f} s"
            raise StoreError(message)
        time.sleep(_LOOK_S)

    def taken_over_ms(self) -> Iterator[tuple[float, int]]:
        """Give for each lease that was taken over how long that took.

        From the kill, by the machine's clock, and from the expiry, by the store's.
        """
        for execution_id, epoch, killed_ns in self._held:
            next_ns = self._witness.claimed_ns(execution_id, epoch + 1)
            if next_ns is None:
                continue  # Its end was on the way when the worker was killed.
            for tenure in self._ledger.read.tenures(UUID(execution_id)):
                if tenure.lease_epoch == epoch and tenure.orphaned_ms is not None:
                    yield (next_ns - killed_ns) / _NS_IN_MS, tenure.orphaned_ms


def measure(place: Place, order: BenchOrder, show: Show) -> PartReport:
    """Kill workers round by round; then verify and audit what they left."""
    url = place.url_of("kills")
    executions = max(order.executions // _EXECUTIONS_PART, _EXECUTIONS_LEAST)
    witness = Witness()
    times: list[list[tuple[float, int]]] = []
    with open_ledger(url, durability=order.durability) as ledger:
        with Fleet(_fleet_order(url, order), witness) as fleet:
            show(f"kills: starting {_PROCESSES} processes")
            for name in fleet.workers:
                fleet.start(name)
            for number in range(order.rounds):
                show(f"kills: round {number + 1} of {order.rounds}")
                running = _Round(ledger, fleet)
                running.run(executions)
                times.append(list(running.taken_over_ms()))
            fleet.end()
        show("kills: verifying and auditing")
        verdict = judge(ledger, witness, _unmetered)
    return PartReport(tuple(_rows(times, verdict)), verdict.wrong, verdict.texts)


def _fleet_order(url: str, order: BenchOrder) -> FleetOrder:
    return FleetOrder(
        url=url,
        durability=order.durability,
        kinds=("worker",) * _PROCESSES,
        lease_ttl_ms=LEASE_TTL_MS,
        work_ms=_WORK_MS,
        failing=0.0,
        seed=_SEED,
    )


@contextmanager
def _unmetered(_doing: str) -> Iterator[Progress]:
    yield lambda _done, _total: None


def _rows(times: list[list[tuple[float, int]]], verdict: Verdict) -> Iterator[Row]:
    yield Row(
        "leases taken over", {"count": Figure.of(len(of_round) for of_round in times)}
    )
    hit = [of_round for of_round in times if of_round]
    if hit:
        for place, name in enumerate(("from the kill", "from the expiry")):
            values = [[both[place] for both in of_round] for of_round in hit]
            yield Row(
                f"time to reclaim, {name}",
                {
                    "mean_ms": Figure.of(sum(ms) / len(ms) for ms in values),
                    "max_ms": Figure.of(max(ms) for ms in values),
                },
            )
    yield Row("executions in all", {"count": Figure.of([verdict.executions])})
