"""Running handlers that are plain functions in processes of their own.

A process is used again when its handler has returned or raised: to start one takes a
fraction of a second, and it imports what the handler needs. One that crashed, or had to
be ended, is replaced.
"""

import pickle
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Final, Self

from leasehold.adapters.worker.child import Packed
from leasehold.adapters.worker.children import Child, GoneError
from leasehold.adapters.worker.contexts import WorkContext
from leasehold.adapters.worker.jobs import HandlerError, Job
from leasehold.adapters.worker_calls import FailureReason
from leasehold.domain.errors import InvalidInputError
from leasehold.domain.states import FailureClass

_CLOSING_S: Final = 2.0


class HandlerProcesses:
    """The processes of a worker: as many as handlers ran at a time.

    In a `with` block, after which none is left.
    """

    def __init__(self, packed: Packed) -> None:
        """Start none yet."""
        self._packed = packed
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._busy: dict[Job, Child] = {}
        self._is_closed = False

    def __enter__(self) -> Self:
        """Start the first, before there is work, and see that it loads the handler.

        Raises:
            InvalidInputError: It does not.
            OSError: The system gives no process.
        """
        child = Child(self._packed)
        try:
            child.load()
        except GoneError:
            message = (
                f"the handler cannot run in a process: the first one {child.end()} "
                "before it was ready; a program that is run, and not imported, begins "
                'its work under `if __name__ == "__main__":`'
            )
            raise InvalidInputError(message) from None
        except HandlerError as error:
            child.end()
            message = f"the handler does not load in another process: {error}"
            raise InvalidInputError(message) from None
        except BaseException:
            child.end()
            raise
        self._idle.append(child)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all of them."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            for child in self._busy.values():
                child.kill()
        for child in idle:
            child.dismiss()
        until_s = time.monotonic() + _CLOSING_S
        for child in idle:
            child.await_end(max(0.0, until_s - time.monotonic()))
            child.end()

    def call(self, job: Job, context: WorkContext) -> object:
        """Run the handler in a process, make its calls, and return what it returned.

        Raises:
            HandlerError: What it was left by, or that its process has ended.
            LeaseholdError: The work is to be stopped before it began.
        """
        # Whoever gives it up before sees nothing to kill: `_take` looks afterwards.
        job.kill = partial(self._kill, job)
        child = self._take(job)
        try:
            return child.work(job, context)
        except GoneError:
            message = f"the process of the handler {child.end()}"
            reason = FailureReason(message)
            raise HandlerError(reason, FailureClass.INFRA_CRASH) from None
        finally:
            self._give_back(job, child)

    def _take(self, job: Job) -> Child:
        """Find a process that is there, or start one."""
        with self._lock:
            job.check()
            while self._idle:
                child = self._idle.pop()
                if not child.has_ended:
                    break
                child.end()
            else:
                child = self._start()
            self._busy[job] = child
            return child

    def _start(self) -> Child:
        try:
            return Child(self._packed)
        except OSError as error:
            reason = FailureReason(f"no process could be started: {error}")
            raise HandlerError(reason, FailureClass.INFRA_CRASH) from error

    def _give_back(self, job: Job, child: Child) -> None:
        with self._lock:
            is_kept = child.is_fit and not self._is_closed
            if is_kept:
                del self._busy[job]
                self._idle.append(child)
        if not is_kept:
            child.end()
            with self._lock:
                del self._busy[job]

    def _kill(self, job: Job) -> None:
        with self._lock:
            child = self._busy.get(job)
            if child is not None:
                child.kill()


def pack(
    handler: Callable[[WorkContext], object],
    failure_classes: Mapping[type[BaseException], FailureClass],
) -> Packed:
    """Pickle what each process needs.

    Raises:
        InvalidInputError: That cannot be done.
    """
    return (
        _pickled("handler", handler),
        _pickled("failure_classes", dict(failure_classes)),
    )


def _pickled(field: str, value: object) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception as error:
        message = (
            f"{field} cannot be sent to another process ({error}): with "
            'run_in="process" functions and classes stand at the top level of a '
            "module, and what an object holds can be pickled"
        )
        raise InvalidInputError(message) from error
