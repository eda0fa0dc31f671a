"""Running handlers that are async functions: each a task of one event loop.

Needs anyio (extra `aio`) and works under asyncio and trio. What calls the store runs on
the threads of held leases, so that handlers which use threads themselves do not keep an
attempt from being ended.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import anyio

from leasehold.adapters.ledger import Ledger
from leasehold.adapters.threads import Threads, soon_in_this_loop
from leasehold.adapters.worker.contexts import AsyncWorkContext
from leasehold.adapters.worker.jobs import Job, tell
from leasehold.adapters.worker.reading import read_document, read_work
from leasehold.adapters.worker.serving import GIVING_UP_S, Service, give_up
from leasehold.adapters.worker.terms import WorkerTerms

AsyncHandler: TypeAlias = Callable[[AsyncWorkContext], Awaitable[bytes | None]]


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
        self._soon = soon_in_this_loop()
        self._threads = Threads.of_this_loop()
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

    async def _run(self, job: Job, done: Callable[[], None]) -> None:
        try:
            with anyio.CancelScope() as scope:
                job.cancel = partial(self._soon, scope.cancel)
                await self._hold(job)
        except Exception as error:  # noqa: BLE001 - a handler ends no worker
            tell(job, error)
        except BaseException:
            # Perhaps it was cancelled before the lease was in its hands.
            with anyio.CancelScope(shield=True):
                await self._threads.run(
                    partial(give_up, job, time.monotonic() + GIVING_UP_S)
                )
            raise
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
                work = await self._threads.run(partial(read_work, self._ledger, job))
                context = AsyncWorkContext(
                    job,
                    work,
                    partial(read_document, self._ledger, job.execution_id),
                    self._is_stopping,
                    lease,
                    self._threads.run,
                )
                result = await self._handler(context)
                await self._threads.run(partial(job.succeed, result))
            except BaseException as error:
                if lease.is_lost:
                    raise
                with anyio.CancelScope(shield=True):
                    await self._threads.run(partial(job.fail, error))
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
            # Not cut by a cancellation: it is told to stop then, and ends soon.
            await Threads.of_this_loop().run_apart(
                partial(service.run, start), stop=partial(service.stop, 0)
            )
            beside.cancel_scope.cancel()


async def _feed(start: HandlerTasks, service: Service) -> None:
    try:
        await start.feed()
    finally:
        # Cancelled from outside, or all has ended.
        service.stop(grace_s=0)
