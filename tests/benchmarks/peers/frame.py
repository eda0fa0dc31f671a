"""What the scripts beside it have in common: they answer orders, a line of JSON each.

A script holds one class that does with its package what leasehold does with
`create_execution`, `claim` and `complete`, and ends in `serve` of that class. Nothing
but the standard library is imported here: it runs in the environment of every peer.

There are two shapes. In the shape `calls` each of n threads submits one piece of work,
claims one and completes it, again and again. In the shape `worker` n callers submit
while a worker of the peer's own, n of whose handlers may run at a time, does the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import json
import os
import statistics
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

PAYLOAD = b"some work"
RESULT = b"done"
_WARM_UP = 5
_PAUSE_S = 0.001
_ENOUGH_S = 60.0
_SYNCHRONOUS = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}


@dataclass(frozen=True)
class Order:
    """What a script is to do.

    Attributes:
        do: `lives` to be timed; `hold` to claim one and keep it until killed; `take`
            to claim what somebody else was killed with.
        folder: An empty folder on the disk that is measured.
        url: The url of an empty PostgreSQL database, for peers that need one.
        durability: `full` or `normal`, where a peer lets one choose.
        shape: `calls` or `worker`, where a peer has both.
        lives: How many there are to be, after some to warm up.
        concurrency: How many callers, and in the shape `worker` handlers.
        lease_s: How long a claim is good for without a sign of life, where a peer has
            such a time.
        wait_s: For how long to try to take.
    """

    do: str
    folder: str
    url: str = ""
    durability: str = "full"
    shape: str = "calls"
    lives: int = 0
    concurrency: int = 1
    lease_s: float = 2.0
    wait_s: float = 0.0


@dataclass
class Handler:
    """The work itself, in the shape `worker`: counts what it is given.

    Attributes:
        holds: Called by the first, which never ends, if set.
        count: How many there were.
    """

    holds: Callable[[], None] | None = None
    count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> None:
        """Do what a handler does."""
        with self._lock:
            self.count += 1
        if self.holds is not None:
            self.holds()
            threading.Event().wait()

    async def wait_for(self, count: int, wait_s: float = _ENOUGH_S) -> bool:
        """Say whether so many came, at the latest after some seconds."""
        end = time.monotonic() + wait_s
        # It may be counted in any thread.
        while self.count < count and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE_S)
        return self.count >= count


def timed(call: Callable[..., Any], into: list[float]) -> Callable[..., Any]:
    """Return the call, with the seconds of each that found something noted."""
    if inspect.iscoroutinefunction(call):

        async def awaited(*arguments: Any, **keywords: Any) -> Any:
            begin = time.perf_counter()
            if found := await call(*arguments, **keywords):
                into.append(time.perf_counter() - begin)
            return found

        return awaited

    def called(*arguments: Any, **keywords: Any) -> Any:
        begin = time.perf_counter()
        if found := call(*arguments, **keywords):
            into.append(time.perf_counter() - begin)
        return found

    return called


def pragmas(connection: sqlite3.Connection) -> str:
    """Return what holds on a connection of the peer's own, as SQLite tells it."""
    (journal_mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    return f"journal_mode {journal_mode}, synchronous {_SYNCHRONOUS[synchronous]}"


SETTINGS = """
SELECT 'fsync ' || current_setting('fsync')
    || ', synchronous_commit ' || current_setting('synchronous_commit') AS settings
"""
"""Asks PostgreSQL the same; on a connection of the peer's own, too."""


def serve(make: Callable[[Order], Any], run: Callable[..., Any] = asyncio.run) -> None:
    """Answer orders until there are no more; whatever else is printed goes to stderr.

    `run` runs a coroutine, in an event loop of the peer's choice.

    `make(order)` gives the peer on the store of the order, made if it is not there.
    Its attributes:

    * `durability()`: what is in force, read back.
    * `close()`.
    * shape `calls`: `caller()`, called once for each thread, returns an object with
      `submit()`, `claim()`, which returns None if there is nothing, and `complete` of
      what was claimed. `recover()` does what the peer has for work whose worker died.
    * shape `worker`: `start(handler, concurrency)`, `submit()` and `settle()`, which
      returns when the end of all that was handled is on record. `claims_s`: how long
      claims took, where that can be known. These and the others may be coroutines.
    """
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            order = Order(**json.loads(line))
            try:
                answer = run(_answer(make, order, answers))
            except Exception as error:  # noqa: BLE001 - it is the answer
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers)


async def _answer(make: Any, order: Order, answers: Any) -> dict[str, Any]:
    async with contextlib.AsyncExitStack() as stack:
        peer = await _do(make, order)
        stack.push_async_callback(_do, peer.close)
        if order.do == "lives":
            run = _by_worker if hasattr(peer, "start") else _by_calls
            seconds, claims_s = await run(peer, order.lives, order.concurrency)
            return {
                "seconds": seconds,
                "claim_ms": _percentiles(claims_s),
                "durability": await _do(peer.durability),
            }

        def tell() -> None:
            print(json.dumps({"holds": True}), file=answers)

        if order.do == "hold":
            return await _hold(peer, tell)
        return {"taken_after_s": await _take(peer, order.wait_s)}


async def _do(call: Callable[..., Any], *arguments: Any) -> Any:
    """Await it, or have a thread do it: a peer may look whether a loop is running."""
    if inspect.iscoroutinefunction(call):
        return await call(*arguments)
    return await asyncio.to_thread(call, *arguments)


def _percentiles(seconds: list[float]) -> list[float] | None:
    """Return p50 and p95 in ms."""
    if len(seconds) < 2:
        return None
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    return [round(cuts[9] * 1000, 3), round(cuts[18] * 1000, 3)]


async def _by_calls(peer: Any, lives: int, concurrency: int) -> Any:
    callers = [peer.caller() for _ in range(concurrency)]

    def live(caller: Any) -> float:
        caller.submit()
        begin = time.perf_counter()
        while (claimed := caller.claim()) is None:
            pass
        seconds = time.perf_counter() - begin
        caller.complete(claimed)
        return seconds

    def work(caller: Any) -> list[float]:
        return [live(caller) for _ in range(lives // concurrency)]

    for _ in range(_WARM_UP):
        live(callers[0])
    with ThreadPoolExecutor(concurrency) as pool:
        begin = time.perf_counter()
        claims_s = list(itertools.chain.from_iterable(pool.map(work, callers)))
        return time.perf_counter() - begin, claims_s


async def _by_worker(peer: Any, lives: int, concurrency: int) -> Any:
    handler = Handler()
    await _do(peer.start, handler, concurrency)
    for _ in range(_WARM_UP):
        await _do(peer.submit)
    await _expect(handler, _WARM_UP)
    peer.claims_s.clear()
    each = lives // concurrency

    async def submit() -> None:
        for _ in range(each):
            await peer.submit()

    def submit_all() -> None:
        for _ in range(each):
            peer.submit()

    begin = time.perf_counter()
    if inspect.iscoroutinefunction(peer.submit):
        await asyncio.gather(*(submit() for _ in range(concurrency)))
    else:
        threads = [threading.Thread(target=submit_all) for _ in range(concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
    await _expect(handler, _WARM_UP + each * concurrency)
    await _do(peer.settle)
    return time.perf_counter() - begin, peer.claims_s


async def _expect(handler: Handler, count: int) -> None:
    if not await handler.wait_for(count):
        message = f"{handler.count} of {count} were handled after {_ENOUGH_S:.0f} s"
        raise TimeoutError(message)


async def _hold(peer: Any, tell: Callable[[], None]) -> dict[str, Any]:
    if hasattr(peer, "start"):
        await _do(peer.start, Handler(holds=tell), 1)
        await _do(peer.submit)
        await asyncio.sleep(_ENOUGH_S)
    else:
        caller = peer.caller()
        caller.submit()
        caller.claim()
        tell()
        threading.Event().wait(_ENOUGH_S)
    return {"error": "nobody killed it"}


async def _take(peer: Any, wait_s: float) -> float | None:
    begin = time.monotonic()
    if hasattr(peer, "start"):
        handler = Handler()
        await _do(peer.start, handler, 1)
        found = await handler.wait_for(1, wait_s)
        return time.monotonic() - begin if found else None
    caller = peer.caller()
    while time.monotonic() < begin + wait_s:
        caller.recover()
        if caller.claim() is not None:
            return time.monotonic() - begin
        await asyncio.sleep(_PAUSE_S * 10)
    return None
