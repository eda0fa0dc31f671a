"""The operations of a worker, call by call, against raw writes of the same rows."""

from __future__ import annotations

import shutil
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any

from measuring import Comparison, microseconds_each
from raw_writes import RawStore, Recorder, Transaction

import leasehold
from leasehold import Frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BOUNDS = {"claim": 2.0, "renew": 2.0, "complete": 2.0}
OPERATIONS = ("create", "claim", "renew", "progress", "append_frame", "complete")
PRAGMAS = (
    "synchronous",
    "wal_autocheckpoint",
    "journal_size_limit",
    "foreign_keys",
    "recursive_triggers",
    "temp_store",
    "cache_size",
    "mmap_size",
)


class Worker:
    """Makes the same calls round after round; each round in a lane of its own."""

    def __init__(self, ledger: leasehold.Ledger) -> None:
        """Begin with nothing in hand."""
        self.ledger = ledger
        self.lane_id = ""
        self.handles: list[leasehold.Handle] = []

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
        calls = {
            "renew": self.ledger.renew,
            "progress": lambda handle: self.ledger.progress(handle, 50, "halfway"),
            "append_frame": lambda handle: self.ledger.append_frame(
                handle, Frame(b"a line of output, as workers write them")
            ),
            "complete": lambda handle: self.ledger.complete(handle, b"done"),
        }
        return calls[operation], self.handles

    def claim(self, _: object) -> None:
        """Take the next execution of the lane."""
        handle = self.ledger.claim(
            self.lane_id, worker_id="worker-1", lease_ttl_ms=3_600_000
        )
        assert handle is not None
        self.handles.append(handle)


def recorded(
    path: Path, durability: str, rounds: int, count: int
) -> list[dict[str, list[Transaction]]]:
    """Make every call on a store of its own; return the rows of each, by round."""
    recorder = Recorder(path)
    plan: list[dict[str, list[Transaction]]] = []
    with leasehold.open(f"sqlite:///{path}", durability=durability) as ledger:
        worker = Worker(ledger)
        for number in range(rounds):
            worker.begin_round(number)
            plan.append({})
            for operation in OPERATIONS:
                call, items = worker.calls(operation, count)
                for item in items:
                    call(item)
                    recorder.end_call()
                plan[-1][operation] = recorder.take_calls()
    recorder.close()
    return plan


def pragmas(ledger: leasehold.Ledger) -> dict[str, Any]:
    """Return what the library sets on its writing connection."""
    found = {}
    for name in PRAGMAS:
        for row in ledger._store.query_plain(f"PRAGMA {name}", ()):
            found[name] = next(iter(row.values()))
    return found


def empty_store(path: Path) -> None:
    """Create a ledger file and fold its log into it, so that it can be copied."""
    leasehold.open(f"sqlite:///{path}").close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def worker_rounds(
    folder: Path, durability: str, rounds: int, count: int
) -> list[Comparison]:
    """Time the library and the raw writes in turn, operation by operation."""
    base = folder / f"{durability}-base.db"
    empty_store(base)
    paths = [folder / f"{durability}-{name}.db" for name in ("noted", "live", "raw")]
    for path in paths:
        shutil.copyfile(base, path)
    noted, live, raw = paths
    plan = recorded(noted, durability, rounds, count)
    comparisons = {
        operation: Comparison(
            f"{operation}, durability {durability}",
            "raw sqlite3",
            BOUNDS.get(operation),
        )
        for operation in OPERATIONS
    }
    with leasehold.open(f"sqlite:///{live}", durability=durability) as ledger:
        worker, store = Worker(ledger), RawStore(raw, pragmas(ledger))
        for number in range(rounds):
            worker.begin_round(number)
            for operation in OPERATIONS:
                transactions = plan[number][operation]
                call, items = worker.calls(operation, count)
                comparisons[operation].add_round(
                    partial(microseconds_each, store.write, transactions),
                    partial(microseconds_each, call, items),
                )
        store.close()
    return list(comparisons.values())
