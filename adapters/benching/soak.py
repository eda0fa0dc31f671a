"""A soak: workers that crash, stall and come back, then a verdict on what they left."""

import random
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from leasehold.adapters.benching.faults import Faults
from leasehold.adapters.benching.fleet import KINDS, SUBMITTER, Fleet, FleetOrder
from leasehold.adapters.benching.judging import Metering, Verdict, judge
from leasehold.adapters.benching.measuring import percentile
from leasehold.adapters.benching.witness import Witness
from leasehold.adapters.ledger import Ledger
from leasehold.adapters.opening import open_ledger
from leasehold.domain.errors import StoreError
from leasehold.domain.states import PublicState

QUARTERS: Final = 4

_TICK_S: Final = 0.25
_DRAIN_S: Final = 180.0
_BACKLOG_S: Final = 10
_ENDED: Final = (
    PublicState.COMPLETED,
    PublicState.FAILED,
    PublicState.CANCELLED,
    PublicState.EXPIRED,
)
_NS_IN_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SoakOrder:
    """What a soak is.

    Attributes:
        seconds: How long the faults go on; what is open then is finished after.
        workers: How many worker processes.
        rate: How many executions are submitted in a second, at most.
        fault_every_s: The mean pause between two faults.
        lease_ttl_ms: Of the leases.
        work_ms: How long an execution takes, on the average.
        failing: What part of all attempts fails, to be retried; 0 … 1.
        durability: As of `leasehold.open`.
        seed: What chance begins with: who is hit, when, and how.
    """

    seconds: float
    workers: int
    rate: float
    fault_every_s: float
    lease_ttl_ms: int
    work_ms: int
    failing: float
    durability: str
    seed: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a soak stands while it runs.

    Attributes:
        seconds: Since it began.
        created: Executions, of which so many are `open` and `ended`.
        faults: Workers killed and stalled, submitters killed.
        refused: Writes of those who were too late.
        wrong: What must not be.
    """

    seconds: float
    created: int
    open: int
    ended: int
    faults: Mapping[str, int]
    refused: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Quarter:
    """A quarter of the time: whether it goes on as it began.

    Attributes:
        ended_per_s: Executions that ended in a second.
        claims: How many claims of bare handles got something.
        claim_p50_ms: How long those took; None without any.
        claim_p95_ms: The same.
    """

    ended_per_s: float
    claims: int
    claim_p50_ms: float | None
    claim_p95_ms: float | None


@dataclass(frozen=True, slots=True)
class SoakReport:
    """What came of a soak.

    Attributes:
        seconds: How long it ran.
        drained_s: How long it took after that until everything had ended.
        processes: How many processes were started.
        faults: Workers killed and stalled, submitters killed.
        witness: What the processes told.
        verdict: What was found in that and in the store.
        store: The store's own facts.
        quarters: The time in four parts.
    """

    seconds: float
    drained_s: float
    processes: int
    faults: Mapping[str, int]
    witness: Witness
    verdict: Verdict
    store: Mapping[str, str | int]
    quarters: tuple[Quarter, ...]


Show = Callable[[Standing], object]


def soak(url: str, order: SoakOrder, show: Show, metering: Metering) -> SoakReport:
    """Run a soak on a store of its own, and judge what it leaves.

    Args:
        url: Of a store that is not there yet, or empty.
        order: What to do.
        show: Told now and then how it stands.
        metering: Gives what is told how far the end is: `verifying` …

    Raises:
        StoreError: The store cannot be opened, or be asked at the end.
    """
    witness = Witness()
    with open_ledger(url, durability=order.durability) as ledger:
        with Fleet(_fleet_order(url, order), witness) as fleet:
            running = _Soak(ledger, fleet, order, show)
            running.run()
        return running.report(metering)


def _fleet_order(url: str, order: SoakOrder) -> FleetOrder:
    return FleetOrder(
        url=url,
        durability=order.durability,
        kinds=tuple(KINDS[number % len(KINDS)] for number in range(order.workers)),
        lease_ttl_ms=order.lease_ttl_ms,
        work_ms=order.work_ms,
        failing=order.failing,
        seed=order.seed,
    )


class _Soak:
    """Leads a fleet, and asks the store how things stand."""

    def __init__(
        self, ledger: Ledger, fleet: Fleet, order: SoakOrder, show: Show
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._order = order
        self._show = show
        self._witness = fleet.witness
        self._faults = Faults(
            fleet,
            every_s=order.fault_every_s,
            lease_ttl_ms=order.lease_ttl_ms,
            work_ms=order.work_ms,
            chance=random.Random(order.seed),  # noqa: S311 - no secret
        )
        self._began_ns = time.monotonic_ns()
        self._target = 0
        self._open = self._ended = 0
        self._ended_at = array("q")
        self._drained_s = 0.0

    @property
    def _seconds(self) -> float:
        return (time.monotonic_ns() - self._began_ns) / _NS_IN_S

    def run(self) -> None:
        """Let the fleet work and suffer, then finish what is open."""
        order, fleet = self._order, self._fleet
        for name in (SUBMITTER, *fleet.workers):
            fleet.start(name)
        self._began_ns = time.monotonic_ns()
        self._faults.start()
        try:
            while (seconds := self._seconds) < order.seconds:
                most = self._ended + max(1, int(order.rate * _BACKLOG_S))
                self._target = min(int(order.rate * seconds) + 1, most)
                fleet.submit_up_to(self._target)
                self._tick()
        finally:
            self._faults.end()
        while self._is_unfinished() and self._seconds < order.seconds + _DRAIN_S:
            self._tick()
        self._drained_s = self._seconds - order.seconds
        fleet.end()

    def _is_unfinished(self) -> bool:
        return self._witness.created < self._target or self._open > 0

    def _tick(self) -> None:
        time.sleep(_TICK_S)
        self._fleet.look_after()
        try:
            self._ledger.sweep()
            counts = self._ledger.read.counts()
        except StoreError as error:
            # A worker that stands still may hold the store up for so long.
            if error.code not in ("store_busy", "store_unavailable"):
                raise
            self._witness.troubles[error.code] += 1
            return
        self._ended = sum(counts[state] for state in _ENDED)
        self._open = sum(counts.values()) - self._ended
        self._note_ended()
        witness = self._witness
        self._show(
            Standing(
                seconds=self._seconds,
                created=witness.created,
                open=self._open,
                ended=self._ended,
                faults=dict(self._faults.counts),
                refused=sum(witness.refused.values()),
                wrong=sum(witness.faults.counts.values()),
            )
        )

    def _note_ended(self) -> None:
        """Keep how many had ended when each quarter was over."""
        over = int(self._seconds * QUARTERS / self._order.seconds)
        while len(self._ended_at) < min(over, QUARTERS):
            self._ended_at.append(self._ended)

    def report(self, metering: Metering) -> SoakReport:
        """Judge what the soak left."""
        verdict = judge(self._ledger, self._witness, metering)
        return SoakReport(
            seconds=self._order.seconds,
            drained_s=self._drained_s,
            processes=sum(self._fleet.started.values()),
            faults=dict(self._faults.counts),
            witness=self._witness,
            verdict=verdict,
            store=self._ledger.read.store_facts(),
            quarters=tuple(self._quarter(number) for number in range(QUARTERS)),
        )

    def _quarter(self, number: int) -> Quarter:
        ended = [0, *self._ended_at]
        ended += [self._ended] * (QUARTERS + 1 - len(ended))
        length_ns = int(self._order.seconds * _NS_IN_S / QUARTERS)
        begin_ns = self._began_ns + number * length_ns
        answered = self._witness.claims_ns
        first = bisect_left(answered, begin_ns)
        behind = bisect_left(answered, begin_ns + length_ns)
        times = self._witness.claims_ms[first:behind]
        return Quarter(
            ended_per_s=(ended[number + 1] - ended[number]) * _NS_IN_S / length_ns,
            claims=len(times),
            claim_p50_ms=percentile(times, 50) if times else None,
            claim_p95_ms=percentile(times, 95) if times else None,
        )
