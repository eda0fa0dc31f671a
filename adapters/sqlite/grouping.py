"""Whose turn it is to write, and which calls share one transaction.

The threads of a ledger write one after another on one connection. Where calls wait when
the one whose turn it is has done its work, its thread does theirs as well, in the same
transaction, and commits for all of them. So the disk is asked to sync once for many
calls, each thread is woken once, and a lone caller does what it always did. Databases
call the first group commit (DeWitt et al., "Implementation Techniques for Main Memory
Database Systems", SIGMOD 1984); one thread that does the work of those who wait is
known as flat combining (Hendler et al., "Flat Combining and the
Synchronization-Parallelism Tradeoff", SPAA 2010).
"""

import time
from collections import deque
from collections.abc import Callable
from threading import Lock, RLock
from typing import Any, Final

from leasehold.adapters.metering import Call
from leasehold.adapters.sqlite.session import SQLiteSession
from leasehold.domain.errors import LeaseholdError, StoreError

CALLS_MAX: Final = 256
"""How many calls share a transaction at most."""

OPEN_S_MAX: Final = 0.05
"""For how long a transaction takes more calls in: other processes wait meanwhile."""


class Work:
    """What a call does in a transaction, in whosever thread, and how it ended.

    Attributes:
        act: What it does.
        call: The operation that it is for.
        answer: What the act returned.
        error: Why there is no answer.
    """

    __slots__ = ("act", "answer", "call", "error")

    def __init__(self, call: Call, act: Callable[[SQLiteSession], Any]) -> None:
        """Begin without an answer."""
        self.call = call
        self.act = act
        self.answer: Any = None
        self.error: Exception | None = None

    def result(self) -> Any:  # noqa: ANN401 - whatever the act returns
        """Return the answer, or raise the error, which is then forgotten.

        It would keep the stack that it was raised from, which keeps this.
        """
        error, self.error = self.error, None
        try:
            if error is not None:
                raise error
        finally:
            # It refers to this frame.
            del error
        return self.answer


def for_another_thread(error: Exception, handled: BaseException | None) -> Exception:
    """Take off what an error got from the thread that it was raised in.

    That is what the thread was handling, which became its context. And the stack of a
    refusal, which says nothing: it would keep the callers' frames.

    Args:
        error: The error, which another thread is to raise.
        handled: What was being handled before.
    """
    link: BaseException | None = error
    while link is not None:
        if link.__context__ is handled:
            link.__context__ = None
        link = link.__context__
    if isinstance(error, LeaseholdError) and not isinstance(error, StoreError):
        return error.with_traceback(None)
    return error


class Waiter:
    """Someone who asks for the turn.

    Attributes:
        call: The operation that it is for, if it is for one.
        work: What may be done by another thread in its stead; None to begin a
            transaction of its own.
        is_settled: Whether another thread did the work, and it is known how it ended.
    """

    __slots__ = ("call", "is_settled", "woken", "work")

    def __init__(self, call: Call | None = None, work: Work | None = None) -> None:
        """Begin without the turn."""
        self.call = call
        self.work = work
        self.is_settled = False
        self.woken: Lock | None = None

    def wake(self) -> None:
        """Let it go on; a second call does nothing."""
        if self.woken is not None and self.woken.locked():
            self.woken.release()


class Group:
    """The calls that one thread does besides its own, in its transaction.

    Attributes:
        is_complete: Whether all that is to be committed is done, and the commit asked
            for.
        error: What the driver answered instead.
        commit_ns: How long the commit took.
    """

    __slots__ = ("_began_s", "_joined", "commit_ns", "error", "is_complete")

    def __init__(self) -> None:
        """Begin with none."""
        self.is_complete = False
        self.error: Exception | None = None
        self.commit_ns = 0
        self._began_s = time.monotonic()
        self._joined: list[Waiter] = []

    def takes_more(self) -> bool:
        """Say whether another call may join; the thread's own is one."""
        return (
            len(self._joined) + 1 < CALLS_MAX
            and time.monotonic() - self._began_s < OPEN_S_MAX
        )

    def join(self, waiter: Waiter) -> None:
        """Count a call in."""
        self._joined.append(waiter)

    def settle(self, undone: Callable[[], StoreError] | None) -> None:
        """Tell all how it ended, those that were not told yet.

        Args:
            undone: Says why nothing was committed, to each anew: an error is raised in
                one thread. What a call itself ended with was found beside what is
                gone, and does not count then.
        """
        for waiter in self._joined:
            work = waiter.work
            if work is None or waiter.is_settled:
                waiter.wake()
                continue
            if undone is not None:
                work.error = undone()
            elif work.error is None:
                work.call.commit_ns = self.commit_ns
            waiter.is_settled = True
            waiter.wake()


class Turns:
    """Who may write: one thread at a time, in the order in which they asked.

    An interrupt (Ctrl-C, or whatever a signal handler raises) may come between any two
    calls. So each step that others rely on can be taken again, and what must not come
    apart is one assignment and the one call after it.
    """

    def __init__(self) -> None:
        """Begin with nobody."""
        # Reentrant: a signal handler may call the ledger in between.
        self._mutex = RLock()
        self._holder: Waiter | None = None
        self._waiters: deque[Waiter] = deque()

    def is_of(self, waiter: Waiter) -> bool:
        """Say whether it is this one's turn."""
        return self._holder is waiter

    def take(self, waiter: Waiter, timeout_s: float) -> float:
        """Wait for the turn, at most so long, or until another thread did the work.

        `is_of` and `Waiter.is_settled` tell of it. Whoever has asked must `give_up`,
        whatever comes of it.

        Returns:
            How long that took, in seconds; 0 where it was free.
        """
        with self._mutex:
            if self._holder is None:
                self._holder = waiter
                return 0.0
            woken = waiter.woken = Lock()
            woken.acquire()
            self._waiters.append(waiter)
        began_s = time.monotonic()
        if not woken.acquire(timeout=timeout_s) and not self._withdraw(waiter):
            # Its turn has come meanwhile, or its work is being done.
            woken.acquire()
        return time.monotonic() - began_s

    def _withdraw(self, waiter: Waiter) -> bool:
        """Stop asking; say whether it was asking still."""
        with self._mutex:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                return True
            return False

    def join_next(self, group: Group) -> Work | None:
        """Take the work of the next one into a group, if it may be done in it."""
        if not self._waiters:
            return None
        with self._mutex:
            if not self._waiters or not group.takes_more():
                return None
            waiter = self._waiters[0]
            if waiter.work is None:
                return None
            # Interrupted here, it stands in both: the group answers, and it withdraws.
            group.join(waiter)
            self._waiters.popleft()
            return waiter.work

    def give_up(self, waiter: Waiter) -> None:
        """Ask for nothing more, and give the turn to the next one, or to nobody.

        Does nothing for one who has no turn and is not asking.
        """
        with self._mutex:
            if self._holder is not waiter:
                self._withdraw(waiter)
            elif self._waiters:
                self._holder = self._waiters[0]
                self._waiters.popleft()
            else:
                self._holder = None
            if self._holder is not None:
                # Also where it has the turn from a call that was interrupted here.
                self._holder.wake()
