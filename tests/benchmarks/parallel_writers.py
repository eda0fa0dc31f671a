"""Parallel writers on PostgreSQL: floors against the recorder's own table lock.

`python parallel_writers.py URL`, of a database that may be written to: eight processes
with a connection each claim for some seconds, in turn with each kind of lock and in a
schema of its own, while one reader follows the log from a position and an idle
transaction is opened and closed. Prints claims per second, their ratio, how many events
the reader missed, what the server's processes waited for and how busy the cores were.

A disk that is slow to flush is had with this in the url, by which the server waits 5 ms
before each flush: `&options=-c%20commit_delay%3D5000%20-c%20commit_siblings%3D0`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from eventsourcing.postgres import PostgresApplicationRecorder

import leasehold
from leasehold.adapters.postgres.recorder import Recorder

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

LOCKS = ("table", "floor")
PAGE = 1_000
IDLE_EVERY_S = 0.5
SAMPLED_EVERY_S = 0.02
WAITS = """
SELECT coalesce(wait_event_type || ':' || wait_event, 'on a core'), count(*)
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND state = 'active'
GROUP BY 1
"""


class TableLockRecorder(Recorder):
    """Serialises writers as the package's own recorder does."""

    def _insert_stored_events(
        self, curs: Cursor[DictRow], *arguments: Any, **keywords: Any
    ) -> None:
        PostgresApplicationRecorder._lock_table(self, curs)
        super()._insert_stored_events(curs, *arguments, **keywords)


def open_with(url: str, lock: str) -> leasehold.Ledger:
    """Open a ledger whose writers take one kind of lock or the other."""
    ledger = leasehold.open(url)
    transactions: Any = ledger._store._transactions  # type: ignore[attr-defined]
    if lock == "table":
        transactions.recorder = TableLockRecorder(transactions.datastore)
    return ledger


def claim_for(url: str, lock: str, seconds: float) -> None:
    """Be one worker: connect, wait for a line, claim until the time is over, print."""
    with open_with(url, lock) as ledger:
        ledger.claim("none", worker_id="warm-up")
        print("ready", flush=True)
        sys.stdin.readline()
        latencies_ms, end = [], time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            handle = ledger.claim(worker_id=f"worker-{os.getpid()}")
            if handle is None:
                break
            latencies_ms.append((time.perf_counter() - begin) * 1000)
    print(json.dumps(latencies_ms))


class Profile(threading.Thread):
    """Samples what backends of this database wait for, and how busy the cores are."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.stop = threading.Event()
        self.waits: Counter[str] = Counter()
        self.busy = 0.0

    def run(self) -> None:
        """Sample until stopped."""
        before = processor_times()
        with psycopg.connect(self.url, autocommit=True) as connection:
            while not self.stop.wait(SAMPLED_EVERY_S):
                rows = connection.execute(WAITS).fetchall()
                self.waits.update(dict(rows))
        busy, idle = (b - a for a, b in zip(before, processor_times(), strict=True))
        self.busy = busy / max(busy + idle, 1)

    def shares(self) -> dict[str, float]:
        """Return what part of the time backends that work spend in each wait."""
        total = max(self.waits.total(), 1)
        common = self.waits.most_common(5)
        return {name: round(count / total, 2) for name, count in common}


def processor_times() -> tuple[int, int]:
    """Return the busy and the idle time of all cores, in ticks (Linux)."""
    first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    ticks = [int(part) for part in first.split()[1:9]]
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, idle


class Tail(threading.Thread):
    """Follows the log from position 0, and keeps the positions that it saw."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.seen: list[int] = []
        self.last: int | None = None

    def run(self) -> None:
        """Read until the last position is known and seen."""
        after = 0
        with leasehold.open(self.url, read_only=True) as ledger:
            while self.last is None or after < self.last:
                page = ledger.read.events(after=after, limit=PAGE)
                self.seen += [event.position for event in page]
                after = self.seen[-1] if self.seen else 0
                if not page:
                    time.sleep(0.002)


def idle_transactions(url: str, stop: threading.Event) -> None:
    """Open a transaction that writes nothing, close it, and so on."""
    with psycopg.connect(url.partition("?schema=")[0]) as connection:
        while not stop.wait(IDLE_EVERY_S):
            connection.execute("SELECT pg_current_xact_id()")
            stop.wait(IDLE_EVERY_S)
            connection.rollback()


def measure(chosen: argparse.Namespace, lock: str) -> dict[str, Any]:
    """Run the workers once with one kind of lock."""
    schema = f"writers_{uuid.uuid4().hex[:12]}"
    mark = "&" if "?" in chosen.url else "?"
    url = f"{chosen.url}{mark}schema={schema}"
    with leasehold.open(url) as ledger:
        for _ in range(0, chosen.executions, PAGE):
            ledger.create_executions([{}] * PAGE)
        command = [sys.executable, __file__, url, "--claim", lock]
        command += ["--seconds", str(chosen.seconds)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        workers = [
            subprocess.Popen(command, text=True, **pipes) for _ in range(chosen.workers)
        ]
        for worker in workers:
            worker.stdout.readline()
        stop, tail = threading.Event(), Tail(url)
        idle = threading.Thread(target=idle_transactions, args=(chosen.url, stop))
        if not chosen.alone:
            tail.start()
            idle.start()
        profile = Profile(chosen.url)
        profile.start()
        begin = time.perf_counter()
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        told = [json.loads(worker.communicate()[0]) for worker in workers]
        seconds = time.perf_counter() - begin
        profile.stop.set()
        profile.join()
        claims = sorted(latency for of_worker in told for latency in of_worker)
        tail.last = ledger.read.settled_position()
        stop.set()
        if not chosen.alone:
            tail.join()
            idle.join()
    with psycopg.connect(chosen.url, autocommit=True) as connection:
        stored = connection.execute(
            f"SELECT notification_id FROM {schema}.stored_events ORDER BY 1"
        ).fetchall()
        connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())
    positions = [position for (position,) in stored]
    return {
        "claims_per_s": round(len(claims) / min(seconds, chosen.seconds)),
        "p50_ms": round(claims[len(claims) // 2], 2),
        "p99_ms": round(claims[len(claims) * 99 // 100], 2),
        "cores_busy": round(profile.busy, 2),
        "backends": profile.shares(),
        "events": len(positions),
        "missed": None if chosen.alone else len(set(positions) - set(tail.seen)),
        "doubled": None if chosen.alone else len(tail.seen) - len(set(tail.seen)),
    }


def main() -> int:
    """Measure in turn, print, and fail where the reader missed anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--claim", choices=LOCKS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--executions", type=int, default=20_000)
    parser.add_argument("--alone", action="store_true", help="without the reader")
    chosen = parser.parse_args()
    if chosen.claim:
        claim_for(chosen.url, chosen.claim, chosen.seconds)
        return 0
    found: dict[str, list[dict[str, Any]]] = {lock: [] for lock in LOCKS}
    for number in range(chosen.rounds):
        for lock in LOCKS if number % 2 else reversed(LOCKS):
            found[lock].append(measure(chosen, lock))
            print(lock, json.dumps(found[lock][-1]), flush=True)
    rates = {
        lock: [it["claims_per_s"] for it in rounds] for lock, rounds in found.items()
    }
    ratios = [f / t for f, t in zip(rates["floor"], rates["table"], strict=True)]
    for lock, of_lock in rates.items():
        print(f"{lock}: {statistics.median(of_lock):.0f} claims/s")
    spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
    print(f"floor by table: {statistics.median(ratios):.2f} ({spread})")
    if chosen.alone:
        return 0
    events = sum(it["events"] for it in found["floor"])
    missed = sum(it["missed"] + it["doubled"] for it in found["floor"])
    print(f"the reader missed or doubled {missed} of {events} events")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
