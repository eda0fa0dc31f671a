"""The worker that programs use."""

import inspect
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final, Union, cast

from leasehold.adapters.holding.keeping import RenewOn
from leasehold.adapters.ledger import Ledger
from leasehold.adapters.worker.child import Packed
from leasehold.adapters.worker.handling import Call, Handler, HandlerThreads
from leasehold.adapters.worker.processes import HandlerProcesses, pack
from leasehold.adapters.worker.serving import Service
from leasehold.adapters.worker.terms import RunIn, WorkerTerms, check_terms, seconds
from leasehold.domain import limits
from leasehold.domain.errors import InvalidInputError, StoreError
from leasehold.domain.states import FailureClass

if TYPE_CHECKING:
    from leasehold.adapters.worker.looping import AsyncHandler

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Worker:
    """Claims work, holds its leases, runs a handler for each, and ends the attempts.

    What the handler returns completes the execution; an exception fails the attempt
    with a class that a mapping decides. A worker runs once.
    """

    def __init__(  # noqa: PLR0913 - nearly all have defaults
        self,
        ledger: Ledger,
        handler: Union[Handler, "AsyncHandler"],
        *,
        lanes: Iterable[str] = ("default",),
        capabilities: Iterable[str] = (),
        worker_id: str,
        worker_instance_id: str | None = None,
        run_in: RunIn | str = RunIn.THREAD,
        concurrency: int = 1,
        lease_ttl_ms: int = 30_000,
        renew_on: RenewOn | str = RenewOn.ALWAYS,
        grace_s: float = 20.0,
        poll_s: tuple[float, float] = (0.1, 2.0),
        failure_classes: Mapping[type[BaseException], FailureClass] | None = None,
        sweep: bool = True,
    ) -> None:
        """Prepare; nothing is claimed before it runs.

        Args:
            ledger: Where the work is. It stays open, and is closed after the worker.
            handler: Called with a `WorkContext` in a thread or a process, or an async
                function that is awaited with an `AsyncWorkContext`. Returns the
                result, bytes or None.
            lanes: The lanes to take from, each in its turn.
            capabilities: What the worker offers.
            worker_id: Who claims, 1 to 128 bytes.
            worker_instance_id: Which process of that worker; None is the host's name
                and the process id.
            run_in: `thread`, or `process`: then the handler and what the keys of
                `failure_classes` are must be importable by other processes.
            concurrency: 1 … 10,000; how many handlers run at a time.
            lease_ttl_ms: How long a lease runs without renewal; over 10.
            renew_on: `always`, or `progress`: see `Ledger.hold`.
            grace_s: How long the handlers that run may go on when it is stopped.
            poll_s: The shortest and the longest pause between two looks for work,
                while nothing tells that there may be some.
            failure_classes: What an exception fails the attempt with: see
                `Ledger.hold`.
            sweep: Whether to sweep all lanes now and then.

        Raises:
            InvalidInputError: An argument breaks its rule.
        """
        if not isinstance(ledger, Ledger):
            raise limits.refuse("ledger", ledger, "a Ledger")
        if not callable(handler):
            raise limits.refuse("handler", handler, "a function of the context")
        self._ledger = ledger
        self._handler = handler
        self._terms = check_terms(
            lanes=lanes,
            capabilities=capabilities,
            worker_id=worker_id,
            worker_instance_id=worker_instance_id,
            run_in=run_in,
            concurrency=concurrency,
            lease_ttl_ms=lease_ttl_ms,
            renew_on=renew_on,
            grace_s=grace_s,
            poll_s=poll_s,
            failure_classes=failure_classes,
            sweep=sweep,
        )
        self._packed = _packed(handler, self._terms)
        self._service = Service(ledger, self._terms)
        self._lock = threading.Lock()
        self._has_run = False

    def stop(self, *, grace_s: float | None = None) -> None:
        """Take no more work, and let `run` end within the grace.

        May be called by any thread, a handler or a signal handler, before `run` and
        again: then with another grace, counted from the first call.

        Args:
            grace_s: The grace in the place of the worker's; None keeps it.

        Raises:
            InvalidInputError: That is no number of seconds.
        """
        if grace_s is not None:
            seconds("grace_s", grace_s)
        self._service.stop(grace_s)

    def run(self, *, handle_signals: bool = False) -> None:
        """Work until it is stopped; for handlers that are plain functions.

        Returns when all handlers have ended, or the grace is over and the rest has
        been failed as INFRA_CRASH. The threads of those go on as daemons; processes
        are killed.

        Args:
            handle_signals: Stop on SIGTERM and SIGINT, and without a grace on the
                second one; only in the main thread. What handled them before does so
                again afterwards.

        Raises:
            InvalidInputError: It has run before; the handler is async, or does not
                load in another process; signals are to be handled in another thread
                than the main one.
            OSError: The system gives no process.
        """
        if _is_async(self._handler):
            raise InvalidInputError("the handler is async: await run_async()")
        service = self._service
        with self._once(handle_signals=handle_signals), self._calling() as call:
            start = HandlerThreads(
                self._ledger, self._terms, call, lambda: service.is_stopping
            )
            service.run(start)

    async def run_async(self, *, handle_signals: bool = False) -> None:
        """Work until it is stopped; for async handlers, under asyncio or trio.

        Needs anyio (extra `aio`). Returns when all handlers have ended: when the grace
        is over, the rest is failed as INFRA_CRASH and cancelled. When this call is
        cancelled, all of them are so at once.

        Args:
            handle_signals: See `run`.

        Raises:
            InvalidInputError: See `run`; the handler is no async function.
            StoreError: The extra is not installed.
        """
        if not _is_async(self._handler):
            raise InvalidInputError("the handler is no async function: call run()")
        try:
            from leasehold.adapters.worker.looping import run_in_loop  # noqa: PLC0415
        except ImportError as error:
            message = (
                f"`run_async` needs the extra `aio` ({error}): "
                "pip install 'leasehold[aio]'"
            )
            raise StoreError(message) from error
        handler = cast("AsyncHandler", self._handler)
        with self._once(handle_signals=handle_signals):
            await run_in_loop(self._service, self._ledger, self._terms, handler)

    @contextmanager
    def _calling(self) -> Iterator[Call]:
        """Give what runs the handler where it is to run."""
        if self._packed is None:
            handler = cast("Handler", self._handler)
            yield lambda _, context: handler(context)
            return
        with HandlerProcesses(self._packed) as processes:
            yield processes.call

    @contextmanager
    def _once(self, *, handle_signals: bool) -> Iterator[None]:
        if handle_signals and threading.current_thread() is not threading.main_thread():
            raise InvalidInputError("signals are handled by the main thread alone")
        with self._lock:
            if self._has_run:
                raise InvalidInputError("a worker runs once: make another one")
            self._has_run = True
        before = {}
        try:
            if handle_signals:
                for number in _SIGNALS:
                    before[number] = signal.signal(number, self._on_signal)
            yield
        finally:
            for number, handler in before.items():
                # None stands for one that is not Python's, and cannot be put back.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._service.stop(0 if self._service.is_stopping else None)


def _packed(
    handler: Union[Handler, "AsyncHandler"], terms: WorkerTerms
) -> Packed | None:
    """Pickle the handler for its processes, if it is to run in some."""
    if terms.run_in is not RunIn.PROCESS:
        return None
    if _is_async(handler):
        raise InvalidInputError(
            'an async handler runs in the event loop: run_in="process" is for plain '
            "functions"
        )
    return pack(cast("Handler", handler), terms.failure_classes)


def _is_async(handler: object) -> bool:
    call = getattr(type(handler), "__call__", None)  # noqa: B004 - of its class
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
