"""A process for handlers, seen from the worker that started it.

It is spawned, not forked: the worker's process has threads. It leads a process group,
so that what a handler began is killed with it.
"""

import atexit
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Pipe
from typing import Final
from weakref import WeakSet

from leasehold.adapters.worker.child import Packed, run_handlers
from leasehold.adapters.worker.contexts import Work, WorkContext
from leasehold.adapters.worker.jobs import HandlerError, Job
from leasehold.adapters.worker.messages import (
    STOPPING,
    TERMINATED_S,
    Answer,
    Assignment,
    Dismissed,
    Left,
    Lost,
    Question,
    Refusal,
    Renewed,
    Returned,
    unpack,
)
from leasehold.adapters.worker_calls import LeaseRenewal
from leasehold.domain.errors import IllegalTransitionError, StoreError

LOST_GRACE_S: Final = 5.0
"""How long a handler may go on after it was told that its lease is lost."""

_REAPED_S: Final = 1.0

_spawning: Final = get_context("spawn")
_children: "Final[WeakSet[Child]]" = WeakSet()


class GoneError(Exception):
    """Say that the process has ended, or sends what is no message."""


class Child:
    """A process that runs handlers, one at a time.

    Attributes:
        is_fit: Whether it may run another one: it is loaded, and has ended the last
            one without force.
    """

    def __init__(self, packed: Packed) -> None:
        """Start the process, and do not wait for it.

        Raises:
            OSError: The system gives no process or no pipe.
        """
        self.is_fit = False
        self._packed = packed
        self._is_condemned = False
        self._is_deaf = False
        self._has_been_reaped = False
        self._jobs = 0
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._calls, calls = Pipe()
        news, self._news = Pipe(duplex=False)
        os.set_blocking(self._news.fileno(), False)
        self._process = _spawning.Process(
            target=run_handlers, args=(calls, news), name="leasehold-handler"
        )
        try:
            with _signals_held_back():
                self._process.start()
        except BaseException:
            self._close()
            raise
        finally:
            calls.close()
            news.close()
        _children.add(self)

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended by itself."""
        return self._process.exitcode is not None

    def load(self) -> None:
        """Have it load the handler, if it has not done so.

        Raises:
            HandlerError: It could not.
            GoneError: The process has ended.
        """
        if self.is_fit:
            return
        self._send(self._packed)
        answer = self._receive()
        if isinstance(answer, Left):
            raise HandlerError(answer.reason, answer.failure_class)
        self.is_fit = True

    def work(self, job: Job, context: WorkContext) -> bytes | None:
        """Run the handler, make its calls, and return what it returned.

        Raises:
            HandlerError: What it was left by, or why it does not load.
            GoneError: The process has ended.
            LeaseholdError: The lease was lost before it began.
        """
        self._jobs += 1
        number, over = self._jobs, threading.Event()
        trust = context.lease.follow(
            partial(self._tell_renewed, number),
            partial(self._tell_lost, number, job, over),
        )
        try:
            self.load()
            self.is_fit = False
            # That the process was ready says that the work is alive.
            context.lease.beat()
            self._send(
                Assignment(
                    job=number,
                    handle=job.handle,
                    lane_id=job.lane_id,
                    work=Work(context.payload, context.tags, context.last_failure),
                    trust=trust,
                )
            )
            report = self._serve(number, context)
        finally:
            with self._lock:
                over.set()
        self.is_fit = not self._is_condemned
        if isinstance(report, Left):
            raise HandlerError(report.reason, report.failure_class)
        return report.result

    def kill(self) -> None:
        """Kill the process and its group; does not wait, and may be repeated."""
        pid = self._process.pid
        if pid is None or self._has_been_reaped or os.getpid() != self._owner:
            return
        # Its group is not there before the process has begun, and may be there after
        # it has ended.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        self._process.kill()

    def dismiss(self) -> None:
        """Have it end by itself; for one that is fit."""
        with suppress(GoneError):
            self._send(Dismissed())

    def await_end(self, timeout_s: float) -> None:
        """Wait until it has ended by itself, at most so long."""
        self._process.join(timeout_s)

    def end(self) -> str:
        """Kill what is left of it, and return how it ended."""
        self.kill()
        self._process.join()
        until_s = time.monotonic() + _REAPED_S
        # Another thread that starts a process may have reaped it, and is to say so.
        while self._process.exitcode is None and time.monotonic() < until_s:
            self._process.join(_REAPED_S)
        self._has_been_reaped = True
        self._close()
        return _how(self._process.exitcode)

    def _close(self) -> None:
        with self._lock:
            self._news.close()
        self._calls.close()

    def _serve(self, number: int, context: WorkContext) -> Returned | Left:
        while True:
            message = self._receive()
            if isinstance(message, Question):
                self._send(_answer(message, number, context))
            elif isinstance(message, Returned | Left):
                return message

    def _send(self, message: object) -> None:
        try:
            self._calls.send(message)
        except OSError as error:
            raise GoneError from error

    def _receive(self) -> object:
        try:
            return self._calls.recv()
        except Exception as error:
            # A handler may write to the pipe what is no message.
            raise GoneError from error

    def _tell_renewed(
        self, number: int, renewal: LeaseRenewal, sent_at_ns: int
    ) -> None:
        self._tell(Renewed(number, renewal, sent_at_ns))

    def _tell_lost(self, number: int, job: Job, over: threading.Event) -> None:
        reason = job.lease.lost_because
        if reason is not None:
            self._tell(Lost(number, reason))
        end = threading.Thread(
            target=self._end_lost, args=(over,), name="leasehold-ending", daemon=True
        )
        try:
            end.start()
        except RuntimeError:
            self.kill()

    def _tell(self, news: Renewed | Lost) -> None:
        """Write without waiting; one that does not read counts by what it knows."""
        with self._lock:
            if not self._is_deaf:
                try:
                    self._news.send(news)
                except OSError:
                    # Half of it may be written.
                    self._is_deaf = True

    def _end_lost(self, over: threading.Event) -> None:
        if over.wait(LOST_GRACE_S):
            return
        with self._lock:
            if over.is_set():
                return
            self._is_condemned = True
            self._process.terminate()
        if not over.wait(TERMINATED_S):
            self.kill()


_CALLS: Final[Mapping[str, Callable[..., object]]] = {
    "append_frame": WorkContext.append_frame,
    "beat": lambda context: context.lease.beat(),
    "complete": lambda context, *given: context.lease.complete(*given),
    "fail": lambda context, *given: context.lease.fail(*given),
    "is_stopping": lambda context: context.is_stopping,
    "progress": WorkContext.progress,
    "renew": lambda context: context.lease.renew(),
    "summary": WorkContext.summary,
}


def _answer(question: Question, number: int, context: WorkContext) -> Answer:
    """Make a call for the handler, and pack what came of it."""
    try:
        packed = pickle.dumps(_call(question, number, context))
    except Exception as error:  # noqa: BLE001 - it is raised where the call was made
        packed = _pack_refusal(error)
    return Answer(question.number, packed)


def _call(question: Question, number: int, context: WorkContext) -> object:
    if question.job != number:
        raise IllegalTransitionError("the handler of this context has ended")
    return _CALLS[question.call](context, *unpack(question.arguments))


def _pack_refusal(error: Exception) -> bytes:
    try:
        return pickle.dumps(Refusal(error))
    except Exception:  # noqa: BLE001 - whatever an exception may hold
        shown = StoreError(f"the call raised {type(error).__name__}: {error}")
        return pickle.dumps(Refusal(shown))


def _how(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        status = "" if exit_code is None else f" with status {exit_code}"
        return f"ended{status}"
    number = -exit_code
    known = {known.value: known.name for known in signal.Signals}
    name = known.get(number, f"signal {number}")
    hint = ""
    if number == signal.SIGKILL:
        hint = ", as the system does when memory runs out"
    return f"was killed by {name}{hint}"


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let a process begin with the signals of `STOPPING` blocked."""
    # It would unblock them when it is first needed.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@atexit.register
def _kill_all() -> None:
    """Let none keep the program from ending: multiprocessing waits for them all.

    That happens where a worker still runs in a daemon thread.
    """
    for child in list(_children):
        child.kill()
