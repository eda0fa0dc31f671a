"""The lease in the hands of a body in an event loop."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID

from leasehold.adapters.frame_calls import AppendFrameOutcome
from leasehold.adapters.holding.held import HeldLease
from leasehold.adapters.worker_calls import (
    FailureReason,
    LeaseRenewal,
    RetryScheduled,
    TerminalFailed,
)
from leasehold.domain.errors import LeaseholdError
from leasehold.domain.frames import Frame
from leasehold.domain.handles import Handle
from leasehold.domain.states import FailureClass

Answer = TypeVar("Answer")


class OnThread(Protocol):
    """Runs a call on a worker thread, and is awaited for its answer."""

    async def __call__(self, call: Callable[[], Answer], /) -> Answer:
        """Run it; to its end, also when the task is cancelled."""
        ...


class AsyncHeldLease:
    """A lease that is held while the block of `async with Ledger.hold` runs.

    The same as a `HeldLease`; what calls the store is awaited, on a worker thread. A
    call that has begun goes on to its end when the task is cancelled.

    Attributes:
        held: The lease for the threads of the body.
    """

    def __init__(self, held: HeldLease, on_thread: OnThread) -> None:
        """Await the calls of a held lease."""
        self.held = held
        self._on_thread = on_thread

    @property
    def handle(self) -> Handle:
        """The handle, as it was issued."""
        return self.held.handle

    @property
    def execution_id(self) -> UUID:
        """The execution."""
        return self.held.execution_id

    @property
    def attempt_index(self) -> int:
        """The attempt, from 0."""
        return self.held.attempt_index

    @property
    def lease_epoch(self) -> int:
        """The fencing number of the lease."""
        return self.held.lease_epoch

    @property
    def is_lost(self) -> bool:
        """Whether the lease is lost."""
        return self.held.is_lost

    @property
    def lost_because(self) -> LeaseholdError | None:
        """Why the lease is lost; None while it is not."""
        return self.held.lost_because

    def remaining_ms(self) -> int:
        """Return how much longer the lease can be relied on, in ms."""
        return self.held.remaining_ms()

    def check(self) -> None:
        """Raise why the lease is lost, if it is."""
        self.held.check()

    def beat(self) -> None:
        """Tell that the body is alive, with `renew_on="progress"`."""
        self.held.beat()

    async def progress(
        self, percent: float | None = None, message: str | None = None
    ) -> None:
        """Report how far the work is; see `Ledger.progress`."""
        await self._on_thread(partial(self.held.progress, percent, message))

    async def append_frame(self, frame: Frame) -> AppendFrameOutcome:
        """Append a frame to the attempt; see `Ledger.append_frame`."""
        return await self._on_thread(partial(self.held.append_frame, frame))

    async def renew(self) -> LeaseRenewal:
        """Renew the lease at once; see `HeldLease.renew`."""
        return await self._on_thread(self.held.renew)

    async def complete(self, result: bytes | None = None) -> None:
        """Finish the work; see `Ledger.complete`."""
        await self._on_thread(partial(self.held.complete, result))

    async def fail(
        self, reason: str | FailureReason, failure_class: FailureClass
    ) -> RetryScheduled | TerminalFailed:
        """End the attempt as failed; see `Ledger.fail`."""
        return await self._on_thread(partial(self.held.fail, reason, failure_class))
