"""Rebuild and verify against the package's own projection loop: `python rebuilding.py`.

Makes a store of `--events` events (SQLite, durability full), then in one run: the loop
of `eventsourcing` that takes one transaction an event, at its default durability;
rebuild and verify; rebuild while a writer goes on, beside the same writer alone. Prints
events per second, the ratio, peak memory, and the writer's commit times.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventsourcing.persistence import Tracking
from eventsourcing.sqlite import (
    SQLiteDatastore,
    SQLiteTrackingRecorder,
)

import leasehold
from leasehold.adapters.benching.measuring import circumstances
from leasehold.adapters.benching.replay import EVENTS_OF_A_LIFE, fill

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

WARM_UP_S = 1.0


def make_store(url: str, events: int) -> None:
    """Fill a store with executions that ran through their lives."""
    with leasehold.open(url, durability="normal") as ledger:
        fill(ledger, events // EVENTS_OF_A_LIFE)


class Tally(SQLiteTrackingRecorder):
    """What the loop projects: how often each topic came, one transaction an event."""

    def take(self, topic: str, tracking: Tracking) -> None:
        """Count one event, with its position."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "INSERT INTO tally VALUES (?, 1) "
                "ON CONFLICT (topic) DO UPDATE SET n = n + 1",
                (topic,),
            )


def package_loop(path: Path, events: int) -> float:
    """Run the package's loop over some events; return events per second.

    The events come from the store in pages; they go into the package's own tracking
    recorder, a transaction each, as its projections do.
    """
    source = sqlite3.connect(path)
    view = Tally(SQLiteDatastore(str(path.with_name("tally.db"))))
    view.create_table()
    with view.datastore.transaction(commit=True) as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS tally (topic PRIMARY KEY, n)")
    start = time.perf_counter()
    page = source.execute(
        "SELECT notification_id, topic, state FROM stored_events "
        "ORDER BY notification_id LIMIT ?",
        (events,),
    )
    for position, topic, state in page:
        json.loads(state)
        view.take(topic, Tracking("leasehold", position))
    seconds = time.perf_counter() - start
    source.close()
    view.datastore.close()
    return events / seconds


def peak_mib() -> float:
    """Return the highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(url: str, what: str, told: Any) -> None:
    """Rebuild or verify in a process of its own; tell events per second and memory."""
    with leasehold.open(url) as ledger:
        count = len(ledger.read.events(limit=1)) and ledger.read.settled_position()
        start = time.perf_counter()
        found = ledger.rebuild() if what == "rebuild" else ledger.verify().faults
        seconds = time.perf_counter() - start
    told.put((count / seconds, peak_mib(), len(found)))


def write(url: str, ready: Event, stop: Event, told: Any) -> None:
    """Create executions until told to stop; tell how long each call took, in ms."""
    took_ms = []
    with leasehold.open(url) as ledger:
        ledger.create_execution(lane_id="writer")
        ready.set()
        while not stop.is_set():
            start = time.perf_counter()
            ledger.create_execution(lane_id="writer")
            took_ms.append((time.perf_counter() - start) * 1000)
            stop.wait(0.005)
    told.put(took_ms)


def beside_a_writer(url: str, seconds: float | None) -> tuple[list[float], float]:
    """Return the writer's times, during a rebuild or for so long alone."""
    context = multiprocessing.get_context("spawn")
    ready, stop, told = context.Event(), context.Event(), context.Queue()
    writer = context.Process(target=write, args=(url, ready, stop, told))
    writer.start()
    ready.wait()
    time.sleep(WARM_UP_S)
    start = time.perf_counter()
    if seconds is None:
        found: Any = context.Queue()
        rebuild = context.Process(target=run, args=(url, "rebuild", found))
        rebuild.start()
        found.get()
        rebuild.join()
    else:
        time.sleep(seconds)
    lasted = time.perf_counter() - start
    stop.set()
    took_ms = told.get()
    writer.join()
    return took_ms, lasted


def shown(took_ms: list[float]) -> str:
    """Return the writer's commit times in a line."""
    ordered = sorted(took_ms)
    p99 = ordered[len(ordered) * 99 // 100]
    return (
        f"{len(ordered)} calls, p50 {statistics.median(ordered):.1f} ms, "
        f"p99 {p99:.1f} ms, max {ordered[-1]:.1f} ms"
    )


def main() -> int:
    """Measure and print; exit status 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--loop-events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to put the store")
    parser.add_argument("--store", help="a store made by an earlier run")
    chosen = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        path = Path(chosen.store or f"{folder}/ledger.db")
        url = f"sqlite:///{path}"
        if not path.exists():
            make_store(url, chosen.events)
        print(", ".join(f"{name} {value}" for name, value in circumstances().items()))
        rates: dict[str, list[float]] = {"loop": [], "rebuild": [], "verify": []}
        peaks = []
        for _ in range(chosen.rounds):
            loop = package_loop(path, chosen.loop_events)
            Path(f"{path.parent}/tally.db").unlink()
            rates["loop"].append(loop)
            for what in ("rebuild", "verify"):
                told: Any = context.Queue()
                process = context.Process(target=run, args=(url, what, told))
                process.start()
                rate, peak, found = told.get()
                process.join()
                rates[what].append(rate)
                peaks.append(peak)
                print(f"{what}: {rate:.0f} events/s, {peak:.0f} MiB, {found} found")
        medians = {what: statistics.median(of) for what, of in rates.items()}
        ratio = statistics.median(
            r / loop for r, loop in zip(rates["rebuild"], rates["loop"], strict=True)
        )
        print(f"the package's loop: {medians['loop']:.0f} events/s")
        print(f"rebuild {medians['rebuild']:.0f}, verify {medians['verify']:.0f}")
        print(f"rebuild by the loop: {ratio:.1f} (wanted: 10)")
        during, lasted = beside_a_writer(url, None)
        alone, _ = beside_a_writer(url, lasted)
        print(f"the writer alone: {shown(alone)}")
        print(f"the writer beside a rebuild: {shown(during)}")
    return 0 if ratio >= 10 and max(peaks) <= 200 else 1


if __name__ == "__main__":
    sys.exit(main())
