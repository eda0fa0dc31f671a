"""Calls on worker threads, a bounded number at a time, none left behind.

A call that has begun goes on to its end, whatever becomes of the task that waits for
it: a transaction is never cut. The task waits for that end also when it was cancelled,
and only then lets the cancellation through. Shielding alone would not do: asyncio's own
cancellations (`Task.cancel`, `asyncio.timeout`, `asyncio.TaskGroup`) pass through the
shields of anyio.
"""

import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, Generic, Self, TypeVar, cast

import anyio
from anyio import CapacityLimiter, from_thread, to_thread
from anyio.lowlevel import RunVar, checkpoint_if_cancelled, current_token

THREADS_DEFAULT: Final = 32
"""How many calls run at the same time, where nothing else is said."""

_log: Final = logging.getLogger("leasehold")
_here: Final = threading.local()

Answer = TypeVar("Answer")


class _UnwantedError(Exception):
    """Nobody waits any more for the answer of this call."""


class _Run(Generic[Answer]):
    """A call on its way through a thread.

    Attributes:
        ended: Done when the call has ended, well or not.
        is_begun: Whether a thread has begun it, or it was called off.
        is_unwanted: Whether the task that waits for it was cancelled.
        error: What it raised.
    """

    def __init__(self, call: Callable[[], Answer]) -> None:
        self.ended: Future[None] = Future()
        self.is_begun = False
        self.is_unwanted = False
        self.error: BaseException | None = None
        self._call = call
        self._answers: list[Answer] = []
        self._beginning = threading.Lock()

    def __call__(self) -> None:
        """Run it in this thread, unless it was begun or called off before."""
        if not self.call_off():
            return
        _here.run = self
        try:
            self._answers.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            self.error = error
        finally:
            del _here.run
            self.ended.set_result(None)

    def call_off(self) -> bool:
        """See that it does not begin any more; say whether it had not."""
        with self._beginning:
            is_ours, self.is_begun = not self.is_begun, True
            return is_ours

    def answer(self) -> Answer:
        """Return what it returned, or raise what it raised; once."""
        error = self.forget_error()
        try:
            if error is not None:
                raise error
        finally:
            # It refers to this frame.
            del error
        return self._answers[0]

    def forget_error(self) -> BaseException | None:
        """Return what it raised, and keep it no longer.

        Its traceback refers to this object, and to whatever the call had open.
        """
        error, self.error = self.error, None
        return error


class Threads:
    """Where the calls of an async ledger, or of all held leases of a loop, run."""

    def __init__(self, limiter: CapacityLimiter | None = None) -> None:
        """Let as many calls run at a time as a limiter has tokens, 32 without one."""
        self._limiter = limiter or CapacityLimiter(THREADS_DEFAULT)
        # A call that outlives its cancelled task must keep its token until it ends:
        # it is taken here, and not by `run_sync`.
        self._unlimited = CapacityLimiter(math.inf)

    @classmethod
    def of_this_loop(cls) -> Self:
        """Return those for held leases: not those that bodies use for themselves.

        Otherwise bodies that use up all threads would keep a lease from being entered,
        and it would run out.
        """
        try:
            return cast("Self", _of_loop.get())
        except LookupError:
            threads = cls()
            _of_loop.set(threads)
            return threads

    async def run(
        self,
        call: Callable[[], Answer],
        undo: Callable[[Answer], object] | None = None,
    ) -> Answer:
        """Run a call to its end and return its answer.

        Cancelled before it has begun, it never will. Cancelled later, the
        cancellation comes when it has ended.

        Args:
            call: The call.
            undo: Takes back what a call did whose answer reaches nobody.
        """
        borrower = object()
        await self._limiter.acquire_on_behalf_of(borrower)
        try:
            return await self._run(_Run(call), undo)
        finally:
            self._limiter.release_on_behalf_of(borrower)

    async def _run(
        self, run: _Run[Answer], undo: Callable[[Answer], object] | None
    ) -> Answer:
        try:
            await to_thread.run_sync(run, limiter=self._unlimited)
            await checkpoint_if_cancelled()
        except anyio.get_cancelled_exc_class():
            if not run.call_off():
                run.is_unwanted = True
                await self._wait_out(run)
                if run.forget_error() is None and undo is not None:
                    await self._undo(partial(undo, run.answer()))
            raise
        return run.answer()

    async def _undo(self, call: Callable[[], object]) -> None:
        undoing = _Run(call)
        await self._wait_out(undoing)
        error = undoing.forget_error()
        if error is not None:
            _log.warning("what a cancelled call did was not taken back", exc_info=error)

    async def run_apart(
        self, call: Callable[[], Answer], stop: Callable[[], object] | None = None
    ) -> Answer:
        """Run a call that waits for something and does nothing else, without a token.

        Args:
            call: The call.
            stop: Ends it soon, where the task is cancelled; without, it is left to
                itself then.
        """
        run = _Run(call)
        try:
            await to_thread.run_sync(
                run, limiter=self._unlimited, abandon_on_cancel=True
            )
        except anyio.get_cancelled_exc_class():
            if not run.call_off() and stop is not None:
                stop()
                await self._wait_out(run)
            raise
        return run.answer()

    async def finish(self, call: Callable[[], object]) -> None:
        """Run a call that must be made, also where the task is cancelled already."""
        run = _Run(call)
        try:
            await to_thread.run_sync(run, limiter=self._unlimited)
        except anyio.get_cancelled_exc_class():
            await self._wait_out(run)
            raise
        run.answer()

    async def finish_within(self, within_s: float, call: Callable[[], object]) -> bool:
        """Run a call that must be made, but wait for it only so long.

        Also where the task is cancelled: a cancellation by asyncio's own ways comes
        when the wait is over.

        Returns:
            Whether it has ended; else it goes on by itself.
        """
        run = _Run(call)
        until_s = anyio.current_time() + within_s
        try:
            with anyio.CancelScope(deadline=until_s, shield=True):
                await to_thread.run_sync(
                    run, limiter=self._unlimited, abandon_on_cancel=True
                )
        except anyio.get_cancelled_exc_class():
            await self._wait_out(run, until_s)
            raise
        if not run.ended.done():
            return False
        run.answer()
        return True

    async def _wait_out(self, run: _Run[Answer], until_s: float = math.inf) -> None:
        """Wait until a call has ended, whatever is cancelled; begin it if need be."""
        with anyio.CancelScope(deadline=until_s, shield=True) as scope:
            while not run.ended.done():
                try:
                    await to_thread.run_sync(
                        run.ended.result if run.is_begun else run,
                        limiter=self._unlimited,
                        abandon_on_cancel=until_s < math.inf,
                    )
                except anyio.get_cancelled_exc_class():
                    # Else it is one of asyncio's own, which come through.
                    if scope.cancel_called:
                        raise


_of_loop: Final[RunVar[Threads]] = RunVar("leasehold_threads")


def soon_in_this_loop() -> Callable[[Callable[[], object]], None]:
    """Return what has this event loop call a function soon; from any thread.

    It does not wait. It raises RuntimeError where the loop is closed.
    """
    token = current_token()
    # From anyio 4.11 the token wraps the one of the event loop.
    loop: Any = getattr(token, "native_token", token)
    call: Callable[[Callable[[], object]], object] = (
        getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    )

    def soon(act: Callable[[], object]) -> None:
        call(act)

    return soon


def stop_if_unwanted() -> None:
    """End a long call on a thread, as soon as nobody waits for its answer.

    Raises:
        BaseException: The task that waits for the call was cancelled.
    """
    if _here.run.is_unwanted:
        raise _UnwantedError
    from_thread.check_cancelled()
