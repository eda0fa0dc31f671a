"""A store on a virtual clock, whose requests and answers take their time.

It keeps the one rule that counts here: a renewal extends the lease by its ttl, counted
from when it is applied, by the store's own clock in whole milliseconds. What happens
while a request or an answer is under way is for the test to say.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import leasehold
from leasehold.adapters.holding.keeping import Kept, RenewOn
from leasehold.adapters.holding.remaining import NS_IN_MS, Trust
from leasehold.adapters.holding.renewing import HoldTimes, Keeper
from leasehold.domain.handles import Lease

STARTED_NS = 7_000_000_000
STORE_STARTED_NS = 1_700_000_000_000_999_999
"""Near the end of a millisecond: the store rounds down."""
MILLION = 1_000_000


def new_handle() -> leasehold.Handle:
    """Make a handle of no ledger."""
    lease = Lease(
        execution_id=uuid.uuid4(),
        attempt_index=0,
        lease_epoch=1,
        lease_id=uuid.uuid4(),
        expires_at_ms=0,
    )
    return leasehold.Handle.of(
        leasehold.BackendTag.SQLITE, leasehold.HandleKind.FRESH, lease
    )


class Fate(Enum):
    """What becomes of a renewal."""

    APPLIED = auto()
    REQUEST_LOST = auto()
    ANSWER_LOST = auto()


@dataclass
class SlowStore:
    """Leases of one ttl, and the clocks of the store and of the host.

    Attributes:
        faster_ppm: By how much the store's clock is faster than the host's.
        request: Called before a renewal is applied, says what becomes of it.
        answer: Called after that, before the answer is there.
        batches: How many leases each call renewed.
    """

    ttl_ms: int = 1_000
    margin_ms: int = 100
    faster_ppm: int = 0
    passed_ns: int = 0
    request: Callable[[], Fate] = lambda: Fate.APPLIED
    answer: Callable[[], object] = lambda: None
    batches: list[int] = field(default_factory=list)
    expires_at_ms: dict[leasehold.Handle, int] = field(default_factory=dict)
    draw: float = 0.0

    def __post_init__(self) -> None:
        self.keeper = Keeper(HoldTimes(now_ns=self.now_ns, draw=lambda: self.draw))
        # The threads would live by the clock of the host.
        self.keeper._start = lambda name, run: None  # type: ignore[method-assign]

    def now_ns(self) -> int:
        """Read the host's monotonic clock."""
        return STARTED_NS + self.passed_ns

    def now_ms(self, *, later_ns: int = 0) -> int:
        """Read the store's clock, as it is or as it will be."""
        passed_ns = self.passed_ns + later_ns
        faster_ns = passed_ns * self.faster_ppm // MILLION
        return (STORE_STARTED_NS + passed_ns + faster_ns) // NS_IN_MS

    def pass_ms(self, ms: float) -> None:
        """Let time pass for both."""
        self.passed_ns += round(ms * NS_IN_MS)

    def claim(self, renew_on: RenewOn = RenewOn.ALWAYS) -> Kept:
        """Make a lease of now, and keep it."""
        handle = new_handle()
        self.expires_at_ms[handle] = self.now_ms() + self.ttl_ms
        trust = Trust(
            ttl_ns=self.ttl_ms * NS_IN_MS,
            margin_ns=self.margin_ms * NS_IN_MS,
            sent_at_ns=self.now_ns(),
        )
        times, lock = self.keeper.times, self.keeper.lock
        kept = Kept(handle, trust, times, self.renew_many, lock=lock, renew_on=renew_on)
        self.keeper.keep(kept)
        return kept

    def is_held(self, handle: leasehold.Handle, *, later_ns: int = 0) -> bool:
        """Say whether the store still keeps the lease."""
        return self.now_ms(later_ns=later_ns) < self.expires_at_ms[handle]

    def renew_many(
        self, handles: Sequence[leasehold.Handle]
    ) -> list[leasehold.LeaseRenewal | leasehold.LeaseholdError]:
        """Renew leases together."""
        self.batches.append(len(handles))
        fate = self.request()
        answers = []
        if fate is not Fate.REQUEST_LOST:
            answers = [self._renew(handle) for handle in handles]
        self.answer()
        if fate is not Fate.APPLIED:
            raise leasehold.StoreError("the connection broke", retryable=True)
        return answers

    def _renew(
        self, handle: leasehold.Handle
    ) -> leasehold.LeaseRenewal | leasehold.LeaseholdError:
        if not self.is_held(handle):
            return leasehold.LeaseExpiredError("it ran out")
        before_ms = self.expires_at_ms[handle]
        after_ms = max(self.now_ms() + self.ttl_ms, before_ms + 1)
        self.expires_at_ms[handle] = after_ms
        return leasehold.LeaseRenewal(after_ms, 1)
