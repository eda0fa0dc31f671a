"""A worker in a process of its own, until a signal: `serving_process.py URL KIND N`.

It runs N handlers at a time. Each says "began". Those whose payload is an even number
end when the worker is being stopped; the others go on for ever. At the end it prints
how long `run` took as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import anyio

import leasehold

GRACE_S = 1.5
LONG_GRACE_S = 300.0
FOREVER_S = 3_600


def say(text: str) -> None:
    """Write a line at once, whole."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def in_a_thread(context: leasehold.WorkContext) -> bytes:
    """Work as a plain function."""
    say("began")
    while not context.is_stopping:
        time.sleep(0.01)
    if int(context.payload) % 2:
        threading.Event().wait(FOREVER_S)
    return b"in time"


def for_long(context: leasehold.WorkContext) -> None:
    """Say when the worker is being stopped, and go on."""
    say("began")
    while not context.is_stopping:
        time.sleep(0.01)
    say("stopping")
    threading.Event().wait(FOREVER_S)


async def in_a_task(context: leasehold.AsyncWorkContext) -> bytes:
    """Work as an async function."""
    say("began")
    while not context.is_stopping:  # noqa: ASYNC110 - a thread tells it
        await anyio.sleep(0.01)
    if int(context.payload) % 2:
        await anyio.sleep_forever()
    return b"in time"


def main(url: str, kind: str, concurrency: int) -> None:
    """Work until a signal comes; print how long."""
    handler = {"threads": in_a_thread, "tasks": in_a_task, "long": for_long}[kind]
    began_s = time.monotonic()
    with leasehold.open(url, durability="normal") as ledger:
        worker = leasehold.Worker(
            ledger,
            handler,
            worker_id="served",
            concurrency=concurrency,
            grace_s=LONG_GRACE_S if kind == "long" else GRACE_S,
        )
        if kind == "tasks":
            anyio.run(lambda: worker.run_async(handle_signals=True))
        else:
            worker.run(handle_signals=True)
        say(json.dumps({"took_s": time.monotonic() - began_s}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
