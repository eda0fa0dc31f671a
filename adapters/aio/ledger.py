"""The async ledger: every operation of the ledger, awaited, over the same store."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self
from uuid import UUID

import anyio
from anyio import CapacityLimiter

from leasehold.adapters.aio.awaiting import awaited, passed, stoppable
from leasehold.adapters.aio.entering import Opening
from leasehold.adapters.aio.following import AsyncRunningProjection, AsyncSubscription
from leasehold.adapters.aio.giving_back import give_all_back, give_back
from leasehold.adapters.aio.reader import AsyncReader
from leasehold.adapters.ledger import Ledger
from leasehold.adapters.projecting import Projection
from leasehold.adapters.reader import Reader
from leasehold.adapters.threads import Threads
from leasehold.adapters.walking import Progress


class AsyncLedger:
    """The ledger for an event loop (asyncio or trio); see `Ledger`.

    The same operations, awaited. Each runs on a worker thread, a bounded number at a
    time. A call that has begun goes on to its end also when its task is cancelled, and
    the task waits for that; docs/aio.md says what it may have done.

    An async context manager that closes itself. To be used in one event loop.

    Attributes:
        ledger: The ledger that its calls run on: what a `Worker` takes.
        read: What can be asked of the ledger.
    """

    def __init__(
        self, ledger: Ledger, *, limiter: CapacityLimiter | None = None
    ) -> None:
        """Use a ledger that is open.

        Args:
            ledger: The ledger; closing this one closes it.
            limiter: Bounds how many calls run at a time; one of 32 where none is
                given.
        """
        self.ledger = self._wrapped = ledger
        self._threads = Threads(limiter)
        self.read = AsyncReader(ledger.read, self._threads)

    create_execution = awaited(Ledger.create_execution)
    create_executions = awaited(Ledger.create_executions)
    claim = awaited(Ledger.claim, undo=give_back)
    claim_from_resume_grant = awaited(Ledger.claim_from_resume_grant, undo=give_back)
    claim_many = awaited(Ledger.claim_many, undo=give_all_back)
    sweep = awaited(Ledger.sweep)
    renew = awaited(Ledger.renew)
    renew_many = awaited(Ledger.renew_many)
    progress = awaited(Ledger.progress)
    append_frame = awaited(Ledger.append_frame)
    complete = awaited(Ledger.complete)
    complete_many = awaited(Ledger.complete_many)
    fail = awaited(Ledger.fail)
    hold = passed(Ledger.hold)
    issue_resume_grant = awaited(Ledger.issue_resume_grant)
    revoke_lease = awaited(Ledger.revoke_lease)
    cancel_execution = awaited(Ledger.cancel_execution)
    change_priority = awaited(Ledger.change_priority)
    replay_execution = awaited(Ledger.replay_execution)
    audit = awaited(Ledger.audit)
    diff = awaited(Ledger.diff)
    why = awaited(Ledger.why)
    verify = awaited(Ledger.verify)
    checkpoint = awaited(Ledger.checkpoint)
    rebuild = awaited(Ledger.rebuild)
    export = awaited(Ledger.export)
    import_bundle = awaited(Ledger.import_bundle)
    metrics = awaited(Ledger.metrics)
    instrument = awaited(Ledger.instrument)

    @asynccontextmanager
    async def as_of(
        self,
        position: int | None = None,
        at_ms: int | None = None,
        *,
        progress: Progress | None = None,
    ) -> AsyncIterator[AsyncReader]:
        """Read the ledger as it was at a position of the log or at a time.

        See `Ledger.as_of`.
        """
        then = self._wrapped.as_of(position, at_ms, progress=stoppable(progress))
        leave = partial(then.__exit__, None, None, None)

        def leave_again(_: Reader) -> None:
            leave()

        reader = await self._threads.run(then.__enter__, undo=leave_again)
        try:
            yield AsyncReader(reader, self._threads)
        finally:
            with anyio.CancelScope(shield=True):
                await self._threads.finish(leave)

    def subscribe(
        self,
        after: int | None = None,
        topics: Collection[str] = (),
        execution_id: UUID | None = None,
    ) -> AsyncSubscription:
        """Follow the log: an async iterator that goes on as events are committed.

        See `Ledger.subscribe`. Nothing is read before it is iterated or entered.
        """
        begin = partial(self._wrapped.subscribe, after, topics, execution_id)
        return AsyncSubscription(begin, self._threads)

    def run_projection(
        self, projection: Projection, name: str
    ) -> Opening[AsyncRunningProjection]:
        """Bring a projection of your own up to date, and keep it so.

        See `Ledger.run_projection`. Awaited, it is caught up; entered with
        `async with`, a thread keeps it up. Its methods are called on worker threads.
        """

        async def begin() -> AsyncRunningProjection:
            running = await self._threads.run(
                partial(self._wrapped.run_projection, projection, name)
            )
            return AsyncRunningProjection(running, self._threads)

        return Opening(begin)

    async def close(self) -> None:
        """Give the store's connections back; a second call does nothing.

        New calls are refused from now on; those under way come to their ends. That is
        so also where this call is cancelled.
        """
        await self._threads.finish(self._wrapped.close)

    async def __aenter__(self) -> Self:
        """Return the ledger itself."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the ledger."""
        with anyio.CancelScope(shield=True):
            await self.close()
