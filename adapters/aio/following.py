"""Following the log from an event loop."""

from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

import anyio
from anyio.lowlevel import checkpoint

from leasehold.adapters.aio.awaiting import awaited
from leasehold.adapters.following import Subscription
from leasehold.adapters.projecting import RunningProjection
from leasehold.adapters.threads import Threads
from leasehold.domain.records import RecordedEvent


class AsyncSubscription:
    """The events of a log as they are committed: `async for event in subscription`.

    It begins when the first event is asked for, or the block is entered: until then
    `after=None` is not decided. While it waits it has a thread of its own, apart from
    those of the ledger's calls. A cancellation while it waits closes it; whoever goes
    on from `position` gets the events after it. An async context manager that closes
    itself. To be iterated by one task at a time; any may stop it.
    """

    def __init__(self, begin: Callable[[], Subscription], threads: Threads) -> None:
        """Wait to begin; see `AsyncLedger.subscribe`."""
        self._begin = begin
        self._threads = threads
        self._subscription: Subscription | None = None
        self._page: deque[RecordedEvent] = deque()
        self._position: int | None = None
        self._reached: int | None = None
        self._is_stopped = False

    @property
    def position(self) -> int | None:
        """Up to where everything has been given; None before it has begun."""
        return self._position

    def stop(self) -> None:
        """End the iteration, also while another task waits in it: within 0.3 s."""
        self._is_stopped = True
        if self._subscription is not None:
            self._subscription.stop()

    def __aiter__(self) -> Self:
        """Return the subscription itself."""
        return self

    async def __anext__(self) -> RecordedEvent:
        """Return the next event; wait for it.

        Raises:
            StopAsyncIteration: It was stopped or closed.
            InvalidInputError: An argument of `subscribe` breaks its rule.
            StoreError: The store could not be read; the iteration can go on.
        """
        await self._have_page(None)
        if self._is_stopped:
            raise StopAsyncIteration
        event = self._page.popleft()
        self._position = event.position
        return event

    async def next_events(self, timeout_s: float | None = None) -> list[RecordedEvent]:
        """Return the next events, at most 500; wait for the first of them.

        Args:
            timeout_s: How long to wait; None for as long as it takes.

        Returns:
            None in time, or after it was stopped: an empty list.

        Raises:
            InvalidInputError: An argument, or one of `subscribe`, breaks its rule.
            StoreError: The store could not be read; the position stands.
        """
        await self._have_page(timeout_s)
        if self._is_stopped:
            return []
        events = list(self._page)
        self._page.clear()
        self._position = self._reached
        return events

    async def _have_page(self, timeout_s: float | None) -> None:
        if self._page or self._is_stopped:
            await checkpoint()
            return
        subscription = await self._begun()
        self._position = self._reached
        try:
            events = await self._threads.run_apart(
                partial(subscription.next_events, timeout_s), self.stop
            )
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise
        self._page.extend(events)
        self._reached = subscription.position

    async def _begun(self) -> Subscription:
        if self._subscription is None:
            self._subscription = await self._threads.run(
                self._begin, undo=Subscription.close
            )
            self._position = self._reached = self._subscription.position
            if self._is_stopped:
                self._subscription.stop()
        return self._subscription

    async def aclose(self) -> None:
        """Stop, and let go of what it waits by; within 0.3 s."""
        self.stop()
        if self._subscription is not None:
            await self._threads.finish(self._subscription.close)

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._begun()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        with anyio.CancelScope(shield=True):
            await self.aclose()


class AsyncRunningProjection:
    """A projection of a caller's own, awaited; see `RunningProjection`.

    As an async context manager it is kept up to date by a thread of its own.
    """

    def __init__(self, running: RunningProjection, threads: Threads) -> None:
        """Run on threads what was caught up; see `AsyncLedger.run_projection`."""
        self._wrapped = running
        self._threads = threads

    @property
    def name(self) -> str:
        """What its position is stored under."""
        return self._wrapped.name

    @property
    def position(self) -> int:
        """Up to where the log was taken in."""
        return self._wrapped.position

    catch_up = awaited(RunningProjection.catch_up)

    async def wait_until(self, position: int, timeout_s: float) -> bool:
        """Wait until the log is taken in up to a position; say whether it was in time.

        Raises:
            InvalidInputError: The position or the time breaks its rule.
            StoreError: The projection failed; the cause is its error.
        """
        wait = partial(self._wrapped.wait_until, position, timeout_s)
        return await self._threads.run_apart(wait)

    async def __aenter__(self) -> Self:
        """Keep up in a thread from now on."""
        self._wrapped.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the thread, and tell if it failed.

        Raises:
            StoreError: It did; the cause is its error.
        """
        leave = partial(self._wrapped.__exit__, exc_type, exc_value, traceback)
        with anyio.CancelScope(shield=True):
            await self._threads.finish(leave)
