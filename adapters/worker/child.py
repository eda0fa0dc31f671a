"""The process in which handlers run, one after another; nothing here opens a store.

The handler has the main thread, so that it may use signals. An exception that a signal
raises in it finds no message half written or read: threads of their own do that.
"""

import inspect
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from types import FrameType
from typing import Any, TypeAlias

from leasehold.adapters.holding.failing import (
    FAILURE_CLASSES,
    failure_class_of,
    reason_of,
)
from leasehold.adapters.holding.renewing import LOOK_AGAIN_S
from leasehold.adapters.worker.assigned import Assigned
from leasehold.adapters.worker.contexts import WorkContext
from leasehold.adapters.worker.jobs import is_result, wrong_result
from leasehold.adapters.worker.messages import (
    STOPPING,
    TERMINATED_S,
    Answer,
    Assignment,
    Dismissed,
    Left,
    Lost,
    Question,
    Ready,
    Refusal,
    Renewed,
    Returned,
    unpack,
)
from leasehold.adapters.worker_calls import FailureReason
from leasehold.domain.errors import InvalidInputError, StoreError
from leasehold.domain.states import FailureClass

FailureClasses: TypeAlias = Mapping[type[BaseException], FailureClass]
Packed: TypeAlias = tuple[bytes, bytes]
"""The handler and its failure classes, each pickled."""


def run_handlers(calls: Connection, news: Connection) -> None:
    """Be the process: work as the worker tells, until it is gone.

    Begins with the signals of `STOPPING` blocked: what of these came until now was
    meant for the worker.
    """
    # A terminal's Ctrl-C is for the worker; and what the handler starts goes with it.
    os.setpgid(0, 0)
    # Ignoring it throws away one that waits.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    line = Line(calls, news)
    signal.signal(signal.SIGTERM, line.on_sigterm)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    # Nobody else may keep the worker from seeing that this process has ended.
    for connection in (calls, news):
        os.set_inheritable(connection.fileno(), False)  # noqa: FBT003 - a name it has not
        os.register_at_fork(after_in_child=connection.close)
    try:
        line.work(calls.recv())
    finally:
        line.leave_nothing()


class Line:
    """The process's end of the line to the worker."""

    def __init__(self, calls: Connection, news: Connection) -> None:
        """Take the two pipes."""
        self._calls = calls
        self._news = news
        self._process = os.getpid()
        parent = parent_process()
        self._worker = os.getppid() if parent is None else parent.pid
        self._is_gone = False
        self._told: SimpleQueue[object] = SimpleQueue()
        self._given: SimpleQueue[Assigned | None] = SimpleQueue()
        self._answers: dict[int, SimpleQueue[Answer | None]] = {}
        self._questions = count(1)
        self._last_job = 0
        self._now: Assigned | None = None
        self._is_handling = False

    def work(self, packed: Packed) -> None:
        """Load the handler, and let it work on what is given, until the end."""
        handler, classes, trouble = _load(packed)
        self._told.put(Ready() if trouble is None else trouble)
        for run in (self._write, self._read):
            name = f"leasehold-line-{run.__name__.strip('_')}"
            threading.Thread(target=run, name=name, daemon=True).start()
        for assigned in iter(self._given.get, None):
            self._is_handling = True
            report = _run(handler, assigned, classes)
            self._is_handling = False
            assigned.end()
            # Nothing of it is kept in memory while there is nothing to do.
            self._now = None
            del assigned
            self._told.put(report)

    def ask(self, job: int, call: str, *arguments: object) -> Any:  # noqa: ANN401
        """Have the worker make a call; return what it returned.

        Raises:
            InvalidInputError: The arguments cannot be pickled.
            StoreError: The worker is gone, or this is a forked child.
            Exception: What the call raised.
        """
        if os.getpid() != self._process:
            message = "this process was forked from the handler's: only that one calls"
            raise StoreError(message)
        try:
            packed = pickle.dumps(arguments)
        except Exception as error:
            message = f"what {call} is given cannot be sent to the worker: {error}"
            raise InvalidInputError(message) from error
        number = next(self._questions)
        answers = self._answers[number] = SimpleQueue[Answer | None]()
        try:
            self._told.put(Question(job, number, call, packed))
            answer = None if self._is_gone else answers.get()
        finally:
            del self._answers[number]
        if answer is None:
            raise _gone()
        value = unpack(answer.value)
        if isinstance(value, Refusal):
            raise value.error
        return value

    def on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        """Leave the handler if its work is of no use any more.

        One that a supervisor sends to every process of a service is for the worker.
        """
        if os.getpid() != self._process:
            raise SystemExit(128 + signal.SIGTERM)
        now = self._now
        if self._is_handling and (self._is_gone or now is None or now.context.is_lost):
            raise SystemExit("the lease is lost")

    def leave_nothing(self) -> None:
        """Kill the group with this process, unless the worker is there to do it."""
        if self._is_gone:
            os.killpg(os.getpid(), signal.SIGKILL)

    def _write(self) -> None:
        with suppress(OSError):
            while True:
                self._calls.send(self._told.get())

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            # Where the worker was forked, another process may keep the pipes open.
            while os.getppid() == self._worker:
                ready = wait([self._calls, self._news], LOOK_AGAIN_S)
                if self._calls in ready:
                    message = self._calls.recv()
                    if isinstance(message, Dismissed):
                        self._given.put(None)
                        return
                    self._hear(message)
                elif self._news in ready:
                    self._learn(self._news.recv())
        self._leave()

    def _hear(self, message: Assignment | Answer) -> None:
        if isinstance(message, Answer):
            answers = self._answers.get(message.number)
            if answers is not None:
                answers.put(message)
        else:
            self._now = Assigned(message, self.ask)
            self._last_job = message.job
            self._given.put(self._now)

    def _learn(self, news: Renewed | Lost) -> None:
        while self._last_job < news.job:
            # It came by the faster pipe.
            self._hear(self._calls.recv())
        now = self._now
        if now is not None and now.number == news.job:
            now.learn(news)

    def _leave(self) -> None:
        """End this process, as the worker is gone; a handler may clean up first."""
        self._is_gone = True
        now = self._now
        if now is not None:
            now.learn(Lost(now.number, _gone()))
        for answers in list(self._answers.values()):
            answers.put(None)
        self._given.put(None)
        main = threading.main_thread().ident
        if main is not None:
            signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(TERMINATED_S)
        os.killpg(os.getpid(), signal.SIGKILL)


def _load(
    packed: Packed,
) -> tuple[Callable[[WorkContext], object], FailureClasses, Left | None]:
    """Return the handler and its failure classes; if they do not load, the reason."""
    try:
        handler, classes = (unpack(part) for part in packed)
    except BaseException as error:  # noqa: BLE001 - the worker is told
        failure_class = failure_class_of(error, FAILURE_CLASSES)
        return _never, {}, Left(0, reason_of(error), failure_class)
    return handler, classes, None


def _never(_context: WorkContext) -> None:
    """Stand for a handler that could not be loaded: the worker gives no work to it."""


def _run(
    handler: Callable[[WorkContext], object],
    assigned: Assigned,
    classes: FailureClasses,
) -> Returned | Left:
    """Call the handler, and say what it was left by."""
    job = assigned.number
    try:
        result = handler(assigned.context)
        if inspect.iscoroutine(result):
            result.close()
        if is_result(result):
            return Returned(job, None if result is None else bytes(result))
        reason = FailureReason(wrong_result(result))
        return Left(job, reason, FailureClass.PERMANENT)
    except BaseException as error:  # noqa: BLE001 - the worker is told
        return Left(job, reason_of(error), failure_class_of(error, classes))


def _gone() -> StoreError:
    return StoreError("the worker that holds the lease is gone; stop the work")
