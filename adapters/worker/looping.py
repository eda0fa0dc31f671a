"""Running handlers that are async functions: each a task of one event loop.

Needs anyio (extra `aio`) and works under asyncio and trio. What calls the store runs on
threads of their own limiter, so that handlers which use threads themselves do not keep
an attempt from being ended.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from leasehold.adapters.ledger import Ledger
from leasehold.adapters.worker.contexts import AsyncWorkContext, read_work
from leasehold.adapters.worker.jobs import Job, tell
from leasehold.adapters.worker.serving import Service
from leasehold.adapters.worker.terms import WorkerTerms

AsyncHandler: TypeAlias = Callable[[AsyncWorkContext], Awaitable[bytes | None]]
Answer = TypeVar("Answer")

_THREADS_MAX: Final = 32


class HandlerTasks:
    """Starts a task for each job, from whichever thread."""

    def __init__(
        self,
        ledger: Ledger,
        terms: WorkerTerms,
        handler: AsyncHandler,
        is_stopping: Callable[[], bool],
        tasks: Any,  # noqa: ANN401 - the task group's type is that of a backend
    ) -> None:
        """Belong to the event loop of now."""
        self._ledger = ledger
        self._terms = terms
        self._handler = handler
        self._is_stopping = is_stopping
        self._tasks = tasks
        self._soon = _soon_of_this_loop()
        self._limiter = anyio.CapacityLimiter(_THREADS_MAX)
        self._waiting: deque[tuple[Job, Callable[[], None]]] = deque()
        self._arrived = anyio.Event()

    def __call__(self, job: Job, done: Callable[[], None], /) -> None:
        """Have the event loop start the handler of a job."""
        self._waiting.append((job, done))
        self._soon(self._ring)

    async def feed(self) -> None:
        """Start what has arrived, until cancelled: only a task may start tasks."""
        while True:
            self._arrived = anyio.Event()
            while self._waiting:
                self._tasks.start_soon(self._run, *self._waiting.popleft())
            await self._arrived.wait()

    def _ring(self) -> None:
        self._arrived.set()

    async def on_thread(self, call: Callable[[], Answer], /) -> Answer:
        """Run a call of the store on a thread, to its end."""
        return await anyio.to_thread.run_sync(call, limiter=self._limiter)

    async def _run(self, job: Job, done: Callable[[], None]) -> None:
        try:
            with anyio.CancelScope() as scope:
                job.cancel = partial(self._soon, scope.cancel)
                await self._hold(job)
        except Exception as error:  # noqa: BLE001 - a handler ends no worker
            tell(job, error)
        finally:
            done()

    async def _hold(self, job: Job) -> None:
        async with self._ledger.hold(
            job.handle,
            renew_on=self._terms.renew_on,
            failure_classes=self._terms.failure_classes,
            sent_at_s=job.sent_at_s,
        ) as lease:
            try:
                job.begin(lease.held)
                work = await self.on_thread(partial(read_work, self._ledger, job))
                context = AsyncWorkContext(
                    self._ledger, job, work, self._is_stopping, lease, self.on_thread
                )
                result = await self._handler(context)
                await self.on_thread(partial(job.succeed, result))
            except BaseException as error:
                if lease.is_lost:
                    raise
                with anyio.CancelScope(shield=True):
                    await self.on_thread(partial(job.fail, error))
                if not isinstance(error, Exception):
                    raise


async def run_in_loop(
    service: Service, ledger: Ledger, terms: WorkerTerms, handler: AsyncHandler
) -> None:
    """Work until the worker is told to stop; cancelled, stop without a grace."""
    async with anyio.create_task_group() as tasks:
        start = HandlerTasks(ledger, terms, handler, lambda: service.is_stopping, tasks)
        async with anyio.create_task_group() as beside:
            beside.start_soon(_feed, start, service)
            # Not cut by a cancellation: it ends soon after it is told to stop.
            await anyio.to_thread.run_sync(
                service.run, start, limiter=anyio.CapacityLimiter(1)
            )
            beside.cancel_scope.cancel()


async def _feed(start: HandlerTasks, service: Service) -> None:
    try:
        await start.feed()
    finally:
        # Cancelled from outside, or all has ended.
        service.stop(grace_s=0)


def _soon_of_this_loop() -> Callable[[Callable[[], object]], object]:
    """Return what has this event loop call a function soon, from any thread."""
    token = anyio.lowlevel.current_token()
    # From anyio 4.11 the token wraps the one of the event loop.
    loop: Any = getattr(token, "native_token", token)
    soon: Callable[[Callable[[], object]], object] = (
        getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    )
    return soon
