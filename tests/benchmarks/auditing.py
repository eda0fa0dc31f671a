"""How fast a store is audited: `python auditing.py`.

Makes a store of `--events` events (SQLite), or takes one made before (`--store`). Each
run is a process of its own: the log read raw, in the order in which an audit reads it;
the audit without the rows; the audit with them. Prints events per second, seconds for
the whole, the ratio to the raw read, processor time and peak memory. Exit status 1
where a bound is missed: 20 s without the rows and 60 s with them for 1,000,000 events,
in proportion for others, and 200 MiB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sqlite3
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rebuilding import make_store, peak_mib

import leasehold
from leasehold.adapters.benching.measuring import circumstances

RAW = (
    "SELECT notification_id, originator_id, originator_version, topic, state"
    " FROM stored_events ORDER BY originator_id, originator_version"
)
COUNTS = {
    "events": "SELECT count(*) FROM stored_events",
    "lease events": "SELECT count(*) FROM lease_event",
}
EVENTS_BOUND = 1_000_000
SECONDS_BOUND = {"raw read": None, "audit, rows=False": 20, "audit, rows=True": 60}
MEMORY_BOUND_MIB = 200


@dataclass(frozen=True)
class Run:
    """What one run took.

    Attributes:
        seconds: By the clock on the wall.
        processor_seconds: Of this process.
        memory_mib: The highest resident memory of the process.
        ok: Whether the audit found no error.
    """

    seconds: float
    processor_seconds: float
    memory_mib: float
    ok: bool


def run(path: str, what: str, told: Any) -> None:
    """Do one of the three and tell what it took."""
    if what == "raw read":
        connection = sqlite3.connect(path)
        begin, cpu = time.perf_counter(), time.process_time()
        for _ in connection.execute(RAW):
            pass
        ok = True
    else:
        with leasehold.open(f"sqlite:///{path}", read_only=True) as ledger:
            begin, cpu = time.perf_counter(), time.process_time()
            ok = ledger.audit(rows=what.endswith("True")).ok
    taken = time.perf_counter() - begin, time.process_time() - cpu
    told.put(Run(*taken, peak_mib(), ok))


def in_a_process(path: Path, what: str) -> Run:
    """Run in a process of its own."""
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    process = context.Process(target=run, args=(str(path), what, told))
    process.start()
    taken: Run = told.get()
    process.join()
    return taken


def main() -> int:
    """Measure and print; exit status 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS_BOUND)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to put the store")
    parser.add_argument("--store", help="a store made by an earlier run")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        path = Path(chosen.store or f"{folder}/ledger.db")
        if not path.exists():
            make_store(f"sqlite:///{path}", chosen.events)
        connection = sqlite3.connect(path)
        counts = {
            name: connection.execute(query).fetchone()[0]
            for name, query in COUNTS.items()
        }
        connection.close()
        print(", ".join(f"{name} {value}" for name, value in circumstances().items()))
        print(", ".join(f"{count} {name}" for name, count in counts.items()))
        runs: dict[str, list[Run]] = {what: [] for what in SECONDS_BOUND}
        for _ in range(chosen.rounds):
            for what, taken in runs.items():
                taken.append(in_a_process(path, what))
    within = [shown(what, runs, counts["events"]) for what in runs]
    return 0 if all(within) else 1


def shown(what: str, runs: dict[str, list[Run]], events: int) -> bool:
    """Print the median of some runs; return whether it is within its bounds."""
    taken = runs[what]
    seconds = statistics.median(it.seconds for it in taken)
    processor = statistics.median(it.processor_seconds for it in taken)
    raw = statistics.median(it.seconds for it in runs["raw read"])
    memory = max(it.memory_mib for it in taken)
    most = SECONDS_BOUND[what]
    bound = None if most is None else most * events / EVENTS_BOUND
    is_within = bound is None or seconds <= bound
    print(
        f"{what:<18} {events / seconds:>9,.0f} events/s  {seconds:7.2f} s  "
        f"processor {processor:7.2f} s  raw x {seconds / raw:5.1f}  {memory:5.0f} MiB"
        + ("" if bound is None else f"  bound {bound:.1f} s")
        + ("" if is_within else "  beyond its bound")
    )
    return is_within and memory <= MEMORY_BOUND_MIB and all(it.ok for it in taken)


if __name__ == "__main__":
    sys.exit(main())
