"""What must not grow: with the executions waiting, the history, or the payload."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import leasehold
from leasehold import Frame
from leasehold.adapters.benching.measuring import Comparison, microseconds_each

if TYPE_CHECKING:
    from pathlib import Path

WORKER = {"worker_id": "worker-1", "lease_ttl_ms": 3_600_000}
BATCH = 2_000
CAPABILITY_SETS = 10


class Flatness:
    """Builds two stores, or two lanes, that differ in one respect, and times both."""

    def __init__(self, folder: Path, rounds: int, count: int, many: int) -> None:
        """Keep the sizes: `many` of what must not matter, `count` calls a round."""
        self.folder = folder
        self.rounds = rounds
        self.count = count
        self.many = many

    def open(self, name: str) -> leasehold.Ledger:
        """Open a store of its own; durability is not what is measured here."""
        url = f"sqlite:///{self.folder / name}.db"
        return leasehold.open(url, durability="normal")

    def fill(self, ledger: leasehold.Ledger, number: int, **creation: Any) -> None:
        """Create executions in batches, of ten capability sets when told `sets`."""
        sets = creation.pop("sets", 0)
        for first in range(0, number, BATCH):
            specs = []
            for place in range(first, min(first + BATCH, number)):
                wants = {"capabilities": (f"set-{place % sets}",)} if sets else {}
                specs.append({**creation, **wants})
            ledger.create_executions(specs)

    def compare_claims(
        self,
        name: str,
        bound: float,
        base: tuple[leasehold.Ledger, str],
        tried: tuple[leasehold.Ledger, str],
    ) -> Comparison:
        """Time claims in one lane against claims in another."""
        comparison = Comparison(name, "the other lane", bound)
        for _ in range(self.rounds):
            comparison.add_round(
                lambda: microseconds_each(self.claim(*base), range(self.count)),
                lambda: microseconds_each(self.claim(*tried), range(self.count)),
            )
        return comparison

    def claim(self, ledger: leasehold.Ledger, lane_id: str) -> Any:
        """Return a call that claims the next execution of the lane."""

        def call(_: object) -> None:
            assert ledger.claim(lane_id, **WORKER) is not None

        return call

    def unserved_ahead(self) -> Comparison:
        """Claim with none and with many executions ahead that nobody here serves."""
        served = self.rounds * self.count
        with self.open("none-ahead") as none, self.open("many-ahead") as many:
            self.fill(many, self.many, sets=CAPABILITY_SETS, priority=10)
            for ledger in (none, many):
                self.fill(ledger, served)
            name = f"claim, 0 and {self.many:,} unserved ahead"
            return self.compare_claims(name, 1.5, (none, "default"), (many, "default"))

    def backlog(self) -> Comparison:
        """Claim from a short and from a long backlog."""
        short = max(self.many // 100, self.rounds * self.count)
        with self.open("short") as few, self.open("long") as many:
            self.fill(few, short)
            self.fill(many, self.many)
            name = f"claim, backlog of {short:,} and {self.many:,}"
            return self.compare_claims(name, 1.3, (few, "default"), (many, "default"))

    def payload(self) -> Comparison:
        """Claim without a payload and with 1 MiB."""
        served = self.rounds * self.count
        with self.open("payload") as ledger:
            self.fill(ledger, served, lane_id="empty")
            for _ in range(served):
                ledger.create_execution(lane_id="heavy", payload=b"x" * (1 << 20))
            name = "claim, payload empty and 1 MiB"
            return self.compare_claims(name, 1.3, (ledger, "empty"), (ledger, "heavy"))

    def handles(self, ledger: leasehold.Ledger, number: int) -> list[leasehold.Handle]:
        """Create and claim."""
        self.fill(ledger, number)
        claimed = [ledger.claim("default", **WORKER) for _ in range(number)]
        return [handle for handle in claimed if handle is not None]

    def renewals(self, before: int) -> Comparison:
        """Renew leases for the first time, and one that was renewed often."""
        name = f"renew, the first and after {before:,}"
        comparison = Comparison(name, "first renewals", 1.3)
        with self.open("renewals") as ledger:
            old, *fresh = self.handles(ledger, 1 + self.rounds * self.count)
            for _ in range(before):
                ledger.renew(old)
            for number in range(self.rounds):
                first = fresh[number * self.count : (number + 1) * self.count]
                comparison.add_round(
                    partial(microseconds_each, ledger.renew, first),
                    partial(microseconds_each, ledger.renew, [old] * self.count),
                )
        return comparison

    def frames(self) -> Comparison:
        """Append first frames, and frames after very many."""
        name = f"append_frame, the first and after {self.many:,}"
        comparison = Comparison(name, "first frames", 1.3)
        frame = Frame(b"a line of output, as workers write them")
        with self.open("frames") as ledger:
            old, *fresh = self.handles(ledger, 1 + self.rounds * self.count)

            def append(handle: leasehold.Handle) -> None:
                ledger.append_frame(handle, frame)

            for _ in range(self.many):
                append(old)
            for number in range(self.rounds):
                first = fresh[number * self.count : (number + 1) * self.count]
                comparison.add_round(
                    partial(microseconds_each, append, first),
                    partial(microseconds_each, append, [old] * self.count),
                )
        return comparison
