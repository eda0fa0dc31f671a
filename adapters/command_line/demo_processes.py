"""Start the demonstration's workers as processes, hear them, and kill one."""

import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, Final, Self

from leasehold.adapters.command_line import demo_jobs

_MODULE: Final = "leasehold.adapters.command_line.demo_worker"


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker told: `what` happened, and the rest of its line."""

    what: str
    worker: str
    fields: dict[str, Any]


@dataclass
class Workers:
    """The processes, by the names of their workers.

    Attributes:
        complaints: Lines that were no reports: a worker that broke says why here.
    """

    url: str
    complaints: list[str] = field(default_factory=list)
    _processes: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)
    _told: "queue.SimpleQueue[Told]" = field(default_factory=queue.SimpleQueue)

    def __enter__(self) -> Self:
        """Start them all."""
        for worker, capabilities in demo_jobs.WORKERS.items():
            self._start(worker, capabilities)
        return self

    def _start(self, worker: str, capabilities: tuple[str, ...]) -> None:
        # -P: nothing in the current directory may stand in for a module. The url may
        # hold a password, and anybody can read the arguments of a process.
        process = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
            [sys.executable, "-P", "-m", _MODULE, worker, *capabilities],
            env={**os.environ, demo_jobs.STORE_VARIABLE: self.url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._processes[worker] = process
        if process.stdout is not None:
            thread = threading.Thread(
                target=self._hear, args=(process.stdout,), daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _hear(self, lines: IO[str]) -> None:
        for line in lines:
            try:
                fields = json.loads(line)
                told = Told(fields.pop("what"), fields.pop("worker"), fields)
            except (ValueError, KeyError, AttributeError):
                self.complaints.append(line.rstrip())
            else:
                self._told.put(told)

    def next(self, timeout_s: float) -> Told | None:
        """Return what was told next, None where nobody said anything in time."""
        try:
            return self._told.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def kill(self, worker: str) -> int:
        """Kill a worker with SIGKILL and return the status that it left."""
        process = self._processes[worker]
        process.kill()
        return process.wait()

    def process_id(self, worker: str) -> int:
        """Return the id of a worker's process."""
        return self._processes[worker].pid

    def any_alive(self) -> bool:
        """Say whether a process still runs."""
        return any(process.poll() is None for process in self._processes.values())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave no process behind."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        for thread in self._threads:
            thread.join()
        for process in self._processes.values():
            if process.stdout is not None:
                process.stdout.close()
