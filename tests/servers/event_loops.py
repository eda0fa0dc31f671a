"""Tasks in an event loop: waiting for what threads do, and being cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
from anyio import from_thread

if TYPE_CHECKING:
    from collections.abc import Callable


async def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so, at most a minute."""
    with anyio.fail_after(60):
        while not is_so():  # noqa: ASYNC110 - threads set no events of the loop
            await anyio.sleep(0.001)


class Cancelled:
    """A task to be cancelled, from its loop or from its threads."""

    def __init__(self, how):
        self.how = how
        self.is_over = False
        self.cancel_in_loop = None

    async def run(self, work):
        """Run something; say whether a cancellation ended it."""
        if self.how == "scope":
            with anyio.CancelScope() as scope:
                self.cancel_in_loop = scope.cancel
                await work()
            self.is_over = True
            return scope.cancelled_caught
        task = asyncio.ensure_future(work())
        self.cancel_in_loop = task.cancel
        await asyncio.wait([task])
        self.is_over = True
        if not task.cancelled():
            task.result()
        return task.cancelled()

    def cancel_from_thread(self):
        """Cancel it from one of its own threads, and wait until that is done."""
        from_thread.run_sync(self.cancel_in_loop)
        if self.how == "task":
            # What the loop is to do then it does in its next rounds.
            for _ in range(5):
                from_thread.run_sync(int)
