"""The calls of a worker, one by one, against raw writes of the same rows."""

import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from leasehold.adapters.benching.measuring import (
    Comparison,
    Figure,
    microseconds_each,
)
from leasehold.adapters.benching.places import Folder, Place
from leasehold.adapters.benching.raw_writes import RawStore, Recorder, Transaction
from leasehold.adapters.benching.rows import BenchOrder, PartReport, Row, Show
from leasehold.adapters.ledger import Ledger
from leasehold.adapters.opening import open_ledger
from leasehold.domain.errors import StoreError
from leasehold.domain.frames import Frame
from leasehold.domain.handles import Handle

OPERATIONS: Final = ("create", "claim", "renew", "progress", "append_frame", "complete")

_CALLS_PART: Final = 4
"""A round has one call of each kind for so many executions of the order."""

_CALLS_LEAST: Final = 5
_LEASE_TTL_MS: Final = 3_600_000


class Caller:
    """Makes the same calls round after round; each round in a lane of its own."""

    def __init__(self, ledger: Ledger) -> None:
        """Begin with nothing in hand."""
        self.ledger = ledger
        self.lane_id = ""
        self.handles: list[Handle] = []

    def begin_round(self, number: int) -> None:
        """Go to the next lane, with empty hands."""
        self.lane_id = f"lane-{number}"
        self.handles = []

    def calls(
        self, operation: str, count: int
    ) -> tuple[Callable[[Any], object], list[Any]]:
        """Return a call and what to make it with, `count` times."""
        if operation == "create":
            return lambda _: self.ledger.create_execution(
                lane_id=self.lane_id, payload=b"x" * 100
            ), [None] * count
        if operation == "claim":
            return self.claim, [None] * count
        calls: dict[str, Callable[[Any], object]] = {
            "renew": self.ledger.renew,
            "progress": lambda handle: self.ledger.progress(handle, 50, "halfway"),
            "append_frame": lambda handle: self.ledger.append_frame(
                handle, Frame(b"a line of output, as workers write them")
            ),
            "complete": lambda handle: self.ledger.complete(handle, b"done"),
        }
        return calls[operation], self.handles

    def claim(self, _: object) -> None:
        """Take the next execution of the lane.

        Raises:
            StoreError: There is none, though one was created.
        """
        handle = self.ledger.claim(
            self.lane_id, worker_id="worker-1", lease_ttl_ms=_LEASE_TTL_MS
        )
        if handle is None:
            message = f"nothing to claim in {self.lane_id}, where something waits"
            raise StoreError(message)
        self.handles.append(handle)


def measure(place: Place, order: BenchOrder, show: Show) -> PartReport:
    """Time each call; on SQLite in turn with raw writes of the same rows."""
    count = max(order.executions // _CALLS_PART, _CALLS_LEAST)
    if isinstance(place, Folder):
        found = against_raw(place.path, order.durability, order.rounds, count, show)
        return PartReport(tuple(_row(comparison) for comparison in found))
    times: dict[str, list[float]] = {operation: [] for operation in OPERATIONS}
    with open_ledger(place.url_of("hot_path"), durability=order.durability) as ledger:
        caller = Caller(ledger)
        for number in range(order.rounds):
            show(f"hot-path: round {number + 1} of {order.rounds}")
            caller.begin_round(number)
            for operation in OPERATIONS:
                call, items = caller.calls(operation, count)
                times[operation].append(microseconds_each(call, items))
    return PartReport(
        tuple(Row(name, {"leasehold_us": Figure.of(us)}) for name, us in times.items())
    )


def _row(comparison: Comparison) -> Row:
    return Row(
        comparison.name,
        {
            "raw_us": Figure.of(comparison.base_us),
            "leasehold_us": Figure.of(comparison.tried_us),
            "ratio": Figure.of(comparison.ratios),
        },
    )


def against_raw(
    folder: Path,
    durability: Literal["full", "normal"],
    rounds: int,
    count: int,
    show: Show = lambda _: None,
) -> list[Comparison]:
    """Time the library and the raw writes in turn, operation by operation.

    Args:
        folder: Where the stores are made.
        durability: As of `leasehold.open`; of both sides.
        rounds: How many values there are.
        count: How many calls of each kind a round has.
        show: Told how far it is.
    """
    base = folder / f"{durability}-base.db"
    _empty_store(base)
    paths = [folder / f"{durability}-{name}.db" for name in ("noted", "live", "raw")]
    for path in paths:
        shutil.copyfile(base, path)
    noted, live, raw = paths
    show("hot-path: noting which rows the calls write")
    plan = _recorded(noted, durability, rounds, count)
    comparisons = {
        operation: Comparison(operation, "raw sqlite3") for operation in OPERATIONS
    }
    with open_ledger(f"sqlite:///{live}", durability=durability) as ledger:
        caller, store = Caller(ledger), RawStore(raw, durability)
        for number in range(rounds):
            show(f"hot-path: round {number + 1} of {rounds}")
            caller.begin_round(number)
            for operation in OPERATIONS:
                transactions = plan[number][operation]
                call, items = caller.calls(operation, count)
                comparisons[operation].add_round(
                    partial(microseconds_each, store.write, transactions),
                    partial(microseconds_each, call, items),
                )
        store.close()
    return list(comparisons.values())


def _recorded(
    path: Path, durability: str, rounds: int, count: int
) -> list[dict[str, list[Transaction]]]:
    """Make every call on a store of its own; return the rows of each, by round."""
    recorder = Recorder(path)
    plan: list[dict[str, list[Transaction]]] = []
    with open_ledger(f"sqlite:///{path}", durability=durability) as ledger:
        caller = Caller(ledger)
        for number in range(rounds):
            caller.begin_round(number)
            plan.append({})
            for operation in OPERATIONS:
                call, items = caller.calls(operation, count)
                for item in items:
                    call(item)
                    recorder.end_call()
                plan[-1][operation] = recorder.take_calls()
    recorder.close()
    return plan


def _empty_store(path: Path) -> None:
    """Create a ledger file and fold its log into it, so that it can be copied."""
    open_ledger(f"sqlite:///{path}").close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
