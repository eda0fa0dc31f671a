"""Child processes that tell what they do, a line of JSON each, and do not outlive us.

A child reads its standard input until it ends: when the parent dies, however it does,
the child ends too. It is in a process group of its own, so that Ctrl-C is for the
parent alone; a child that is stopped when the parent dies is ended by the system.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from leasehold.adapters.ledger import Ledger
from leasehold.adapters.opening import open_ledger

STORE_VARIABLE: Final = "LEASEHOLD_STORE"
"""Where a child finds the url of the store: it may hold a password."""

Told = list[Any]


class Child:
    """A process that runs a module of this package.

    Attributes:
        name: Which one it is.
        complaints: Lines that it printed and that tell nothing: why it broke.
    """

    def __init__(
        self,
        name: str,
        module: str,
        order: object,
        url: str,
        hear: Callable[["Child", Told], object],
    ) -> None:
        """Start it.

        Args:
            name: For people.
            module: What it runs; it gets the order as its argument.
            order: What it is to do, as JSON has it.
            url: Of its store.
            hear: Called by a thread with each thing that is told.
        """
        self.name = name
        self.complaints: list[str] = []
        self._hear = hear
        # -P: nothing in the current directory may stand in for a module.
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our module
            [sys.executable, "-P", "-m", module, json.dumps(order)],
            env={**os.environ, STORE_VARIABLE: url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            process_group=0,
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            try:
                told = json.loads(line)
            except ValueError:
                self.complaints.append(line.rstrip())
            else:
                self._hear(self, told)

    def send(self, order: object) -> None:
        """Write a line to its standard input; does nothing when it has ended."""
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return

    def end_input(self) -> None:
        """End its standard input: it is told nothing more."""
        if self._process.stdin is not None:
            _close_quietly(self._process.stdin)

    def status(self) -> int | None:
        """Return how it ended, None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Let no instruction of it run any more, until it is continued."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def ask_to_end(self) -> None:
        """Tell it to finish what it is at, and to end."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> int | None:
        """Return how it ended, None if it goes on after so long."""
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._close()
        return status

    def kill(self) -> int:
        """Kill it; return when it is gone and all that it told was heard."""
        self._process.kill()
        status = self._process.wait()
        self._close()
        return status

    def _close(self) -> None:
        self._thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _close_quietly(pipe)

    def why(self) -> str:
        """Say how it ended and what it said last, for people."""
        last = f": {self.complaints[-1]}" if self.complaints else ""
        return f"{self.name} ended with status {self.status()}{last}"


def _close_quietly(pipe: Any) -> None:  # noqa: ANN401 - a pipe of either direction
    try:
        pipe.close()
    except BrokenPipeError:
        return


def given_order() -> Any:  # noqa: ANN401 - any JSON value
    """Return, in a child, what it is to do."""
    return json.loads(sys.argv[1])


def open_store(durability: str) -> Ledger:
    """Open, in a child, the store that the parent has made.

    A child whose parent was interrupted while it was starting makes no store anew.

    Raises:
        StoreError: There is none, or it cannot be opened.
    """
    url = os.environ[STORE_VARIABLE]
    open_ledger(url, read_only=True).close()
    return open_ledger(url, durability=durability)


def tell(*told: object) -> None:
    """Write, in a child, a line in one piece; threads do not mix theirs."""
    os.write(sys.stdout.fileno(), (json.dumps(told) + "\n").encode())


def end_with_parent() -> None:
    """End this process, a child, when its parent is gone; whatever it is at."""

    def watch() -> None:
        for _ in lines_of_parent():
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def lines_of_parent() -> Iterator[bytes]:
    """Give, in a child, what the parent sends, until it ends that or is gone."""
    # Unbuffered: a buffer has a lock, and Python would abort over a thread that holds
    # it when the process ends.
    with open(0, "rb", buffering=0, closefd=False) as lines:
        yield from lines
