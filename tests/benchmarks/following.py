"""Followers: how soon they wake, and how fast they read what is there.

`python following.py [--postgres URL]`: another process commits now and then, and tells
when its commit had returned; this one follows and notes when it had the event. With the
url of a database that may be written to, PostgreSQL is measured as well, in a schema of
its own. Prints the median and the 95th percentile in milliseconds, and events per
second of a follower that has everything before it. Fails beyond the bounds.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

import leasehold
from leasehold.adapters.benching.measuring import circumstances

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUNDS_MS = {"SQLite": 250.0, "PostgreSQL": 50.0}
CATCH_UP_S_MAX = 30
BATCH = 1_000


def commit_now_and_then(url: str, commits: int, pause_ms: int) -> None:
    """Commit so often, at random times; print when each commit had returned."""
    chance, pause = random.Random(1), threading.Event()
    committed = []
    with leasehold.open(url) as ledger:
        ledger.read.settled_position()
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(commits):
            pause.wait(chance.uniform(0.5, 1.5) * pause_ms / 1000)
            ledger.create_execution()
            committed.append(time.time())
    print(json.dumps(committed))


def wake_ups_ms(url: str, chosen: argparse.Namespace) -> list[float]:
    """Follow while another process commits; return how late each event came."""
    command = [sys.executable, __file__, "--commit-to", url]
    command += ["--commits", str(chosen.commits), "--pause-ms", str(chosen.pause_ms)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    came = []
    with (
        leasehold.open(url) as ledger,
        subprocess.Popen(command, text=True, **pipes) as writer,
        ledger.subscribe() as subscription,
    ):
        writer.stdout.readline()
        writer.stdin.write("go\n")
        writer.stdin.flush()
        for _ in range(chosen.commits):
            next(subscription)
            came.append(time.time())
        committed = json.loads(writer.communicate()[0])
    return [(c - b) * 1000 for b, c in zip(committed, came, strict=True)]


def events_per_second(url: str, events: int) -> float:
    """Follow a log that is all there."""
    with leasehold.open(url, durability="normal") as ledger:
        for _ in range(0, events, BATCH):
            ledger.create_executions([{}] * BATCH)
        last = ledger.read.settled_position()
        with ledger.subscribe(after=0) as subscription:
            begin_s, count = time.perf_counter(), 0
            while subscription.position < last:
                count += len(subscription.next_events(CATCH_UP_S_MAX))
            return count / (time.perf_counter() - begin_s)


@contextmanager
def stores(postgres_url: str | None) -> Iterator[dict[str, str]]:
    """Give an empty store of each kind."""
    schema = f"following_{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory() as folder:
        urls = {"SQLite": f"sqlite:///{folder}/ledger.db"}
        if postgres_url is not None:
            mark = "&" if "?" in postgres_url else "?"
            urls["PostgreSQL"] = f"{postgres_url}{mark}schema={schema}"
        for url in urls.values():
            leasehold.open(url).close()
        try:
            yield urls
        finally:
            if postgres_url is not None:
                with psycopg.connect(postgres_url, autocommit=True) as connection:
                    connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def main() -> int:
    """Measure, print, and fail where a median is beyond its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", metavar="URL")
    parser.add_argument("--commits", type=int, default=200)
    parser.add_argument("--pause-ms", type=int, default=100)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--commit-to", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.commit_to:
        commit_now_and_then(chosen.commit_to, chosen.commits, chosen.pause_ms)
        return 0
    print(json.dumps(circumstances()))
    print(f"{chosen.commits} commits of another process, {chosen.pause_ms} ms apart")
    ok = True
    with stores(chosen.postgres) as urls:
        for name, url in urls.items():
            waits = sorted(wake_ups_ms(url, chosen))
            median, p95 = waits[len(waits) // 2], waits[len(waits) * 95 // 100]
            rate = events_per_second(url, chosen.events)
            beyond = "" if median <= BOUNDS_MS[name] else "  beyond its bound"
            ok = ok and not beyond
            print(
                f"{name:<11} wakes after {median:.1f} ms (p95 {p95:.1f} ms, "
                f"bound {BOUNDS_MS[name]:.0f} ms), reads {rate:,.0f} events/s{beyond}",
                flush=True,
            )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
