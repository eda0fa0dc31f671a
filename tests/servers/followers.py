"""What tests of following share: a thread with a result, and a process that writes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PAUSE_S = 0.002
LOOKS_S = 20

WRITER = """
import sys, time, leasehold

with leasehold.open(sys.argv[1], durability="normal") as ledger:
    print("ready", flush=True)
    for _ in sys.stdin:
        ledger.create_execution()
        print(time.time(), flush=True)
"""


class InThread:
    """A call in a thread, with its result."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            self._error = error

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that the thread brings about."""
        until_s = time.monotonic() + LOOKS_S
        while not holds():
            assert time.monotonic() < until_s, "it never came to be"
            assert self.thread.is_alive(), self._error
            time.sleep(PAUSE_S)

    def result(self, timeout_s: float) -> Any:
        """Wait for the end of the thread; return or raise what the call did."""
        self.thread.join(timeout_s)
        assert not self.thread.is_alive(), "it does not end"
        if self._error is not None:
            raise self._error
        return self._result


@contextmanager
def in_thread(call: Callable[[], Any]) -> Iterator[InThread]:
    """Run a call in a thread, and see to its end."""
    running = InThread(call)
    yield running
    running.thread.join(LOOKS_S)
    assert not running.thread.is_alive()


@contextmanager
def writer_process(url: str) -> Iterator[Callable[[], float]]:
    """Give a call that makes another process commit; it returns when that was."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    orders, answers = process.stdin, process.stdout
    assert orders is not None
    assert answers is not None

    def write() -> float:
        orders.write("\n")
        orders.flush()
        return float(answers.readline())

    with process:
        assert answers.readline() == "ready\n"
        yield write
        orders.close()


def positions(events: Iterable[Any]) -> list[int]:
    """Return the positions of events."""
    return [recorded.position for recorded in events]
