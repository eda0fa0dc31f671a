"""Whole lives of executions, from one thread and from many: `python group_commit.py`.

Each life is created, claimed and completed on one ledger, at durability full unless
told otherwise. In one run, round by round: one thread (as it is, and with a transaction
that can be shared with nobody), `--threads` of them, `--tasks`
of one event loop, one and many threads where each commit takes 5 ms longer, and, if it
is installed, huey's SqliteHuey with `fsync=True`, which enqueues, takes and answers
tasks, in as many threads as there are threads and as there are tasks. Prints medians,
spreads and ratios; exit status 1 where a bound is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import statistics
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

import leasehold
import leasehold.aio
from leasehold.adapters.benching.measuring import circumstances

if TYPE_CHECKING:
    from collections.abc import Callable

    from leasehold.adapters.sqlite.grouping import Work

SYNC_S = 0.005
RATIOS = {
    ("one", "one, without"): 0.95,
    ("threads", "one"): 1.6,
    ("tasks", "one"): 1.6,
    ("threads, slow disk", "one, slow disk"): 6.0,
    ("threads", "huey, as many as threads"): 1.0,
    ("tasks", "huey, as many as tasks"): 1.0,
}
"""What is held against what, and how many times as fast it is wanted to be."""


def rate_of(live: Callable[[], None], lives: int, threads: int) -> float:
    """Return how many lives a second some threads manage together."""

    def work() -> None:
        for _ in range(lives // threads):
            live()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return lives // threads * threads / (time.perf_counter() - start)


def ledger_rate(
    folder: str,
    lives: int,
    threads: int,
    durability: str,
    *,
    slow: bool = False,
    shared: bool = True,
) -> float:
    """Return the rate of a ledger."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as place,
        leasehold.open(
            f"sqlite:///{place}/ledger.db",
            durability=durability,  # type: ignore[arg-type]
        ) as ledger,
    ):

        def live() -> None:
            ledger.create_execution(payload=b"some work")
            handle = ledger.claim(worker_id="worker")
            if handle is not None:
                ledger.complete(handle, b"done")

        transactions = ledger._store._transactions
        if not shared:

            def run(work: Work) -> Any:
                with transactions.write() as session:
                    return work.act(session)

            transactions.run = run
        for _ in range(5):
            live()
        if slow:
            driver = transactions._writer.driver
            driver.set_trace_callback(_slow_commit)
        return rate_of(live, lives, threads)


def _slow_commit(statement: str) -> None:
    """Hold a commit up, with the write lock held, as a slow disk would."""
    if statement == "COMMIT":
        time.sleep(SYNC_S)


def tasks_rate(folder: str, lives: int, tasks: int, durability: str) -> float:
    """Return the rate of an asynchronous ledger."""

    async def work(ledger: leasehold.aio.AsyncLedger, lives: int) -> None:
        for _ in range(lives):
            await ledger.create_execution(payload=b"some work")
            handle = await ledger.claim(worker_id="worker")
            if handle is not None:
                await ledger.complete(handle, b"done")

    async def measure(place: str) -> float:
        async with leasehold.aio.open(
            f"sqlite:///{place}/ledger.db",
            durability=durability,  # type: ignore[arg-type]
        ) as ledger:
            await work(ledger, 5)
            start = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for _ in range(tasks):
                    group.create_task(work(ledger, lives // tasks))
            return lives // tasks * tasks / (time.perf_counter() - start)

    with tempfile.TemporaryDirectory(dir=folder) as place:
        return asyncio.run(measure(place))


def huey_rate(folder: str, lives: int, threads: int) -> float:
    """Return the rate of huey, which keeps no history."""
    import huey

    with tempfile.TemporaryDirectory(dir=folder) as place:
        queue = huey.SqliteHuey(filename=f"{place}/huey.db", fsync=True, timeout=30)

        @queue.task()
        def task(payload: bytes) -> bytes:
            return payload

        def live() -> None:
            task(b"some work")
            taken = queue.dequeue()
            if taken is not None:
                queue.execute(taken)

        for _ in range(5):
            live()
        return rate_of(live, lives, threads)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--lives", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default=".", help="where to put the stores")
    parser.add_argument("--durability", default="full", choices=("full", "normal"))
    chosen = parser.parse_args()
    many, lives, folder = chosen.threads, chosen.lives, chosen.folder
    durability = chosen.durability
    print(", ".join(f"{name} {value}" for name, value in circumstances().items()))
    cases: dict[str, Callable[[], float]] = {
        "one": lambda: ledger_rate(folder, lives, 1, durability),
        "one, without": lambda: ledger_rate(folder, lives, 1, durability, shared=False),
        "threads": lambda: ledger_rate(folder, lives, many, durability),
        "tasks": lambda: tasks_rate(folder, lives, chosen.tasks, durability),
        "one, slow disk": lambda: ledger_rate(
            folder, lives // 8, 1, durability, slow=True
        ),
        "threads, slow disk": lambda: ledger_rate(
            folder, lives, many, durability, slow=True
        ),
    }
    if importlib.util.find_spec("huey"):
        cases["huey, as many as threads"] = lambda: huey_rate(folder, lives, many)
        cases["huey, as many as tasks"] = lambda: huey_rate(folder, lives, chosen.tasks)
    else:
        print("huey is not installed and is left out: pip install huey")
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(chosen.rounds):
        for name, case in cases.items():
            rates[name].append(case())
    for name, of in rates.items():
        print(
            f"{name}: {statistics.median(of):.0f} lives/s "
            f"({min(of):.0f} to {max(of):.0f})"
        )
    missed = False
    for (above, below), wanted in RATIOS.items():
        if above in rates and below in rates:
            ratio = statistics.median(
                a / b for a, b in zip(rates[above], rates[below], strict=True)
            )
            missed |= ratio < wanted
            print(f"{above} by {below}: {ratio:.2f} (wanted: {wanted})")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
