"""The block of a held lease in an event loop: its body is cancelled on a loss.

Needs anyio (extra `aio`) and works under asyncio and trio. The calls are those of the
ledger, each on a worker thread; nothing of the lease is implemented twice.
"""

from functools import partial
from typing import Final

import anyio

from leasehold.adapters.holding.awaiting import AsyncHeldLease
from leasehold.adapters.holding.entering import Hold
from leasehold.adapters.holding.held import HeldLease
from leasehold.adapters.threads import Threads, soon_in_this_loop

_MS_IN_S: Final = 1_000
_LEAVING_S: Final = 1.0


class AsyncBlock:
    """A block in an event loop, around a cancel scope of its own."""

    def __init__(self, hold: Hold) -> None:
        """Belong to a block that is not entered yet."""
        self._hold = hold
        self._threads = Threads.of_this_loop()
        self._scope = anyio.CancelScope()
        self._held: HeldLease | None = None

    async def enter(self) -> AsyncHeldLease:
        """Make sure of the lease, on a worker thread."""
        cancel = partial(soon_in_this_loop(), self._scope.cancel)
        try:
            self._held = await self._threads.run(partial(self._hold.begin, cancel))
        except BaseException:
            # It may have been cancelled after the thread had begun with the lease.
            self._hold.abandon()
            raise
        self._scope.__enter__()
        return AsyncHeldLease(self._held, self._threads.run)

    async def leave(self, left_by: BaseException | None) -> bool:
        """End the holding; say whether a cancellation has served its purpose.

        Raises:
            LeaseholdError: The lease was lost.
            BaseException: What is left of a group of exceptions without our
                cancellations.
        """
        has_changed, left_by = self._close_scope(left_by)
        try:
            await self._leave(left_by)
        finally:
            self._hold.abandon()
        if has_changed and left_by is not None:
            raise left_by
        return has_changed

    def _close_scope(
        self, left_by: BaseException | None
    ) -> tuple[bool, BaseException | None]:
        """Take out the cancellations that were ours."""
        error_type = None if left_by is None else type(left_by)
        traceback = None if left_by is None else left_by.__traceback__
        try:
            is_ours = self._scope.__exit__(error_type, left_by, traceback)
        except BaseException as rest:  # noqa: BLE001 - it goes on when we have left
            return True, rest
        return (True, None) if is_ours else (False, left_by)

    async def _leave(self, left_by: BaseException | None) -> None:
        """Leave on a worker thread, also when the task is cancelled.

        But no longer than the lease can be relied on: then it is of no use any more.
        """
        deadline_s = self._hold.remaining_ms / _MS_IN_S + _LEAVING_S
        leave = partial(self._hold.leave, left_by)
        has_left = await self._threads.finish_within(deadline_s, leave)
        is_told = isinstance(left_by, Exception | None)
        if not has_left and is_told and self._held is not None:
            self._held.check()
