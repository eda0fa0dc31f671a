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
from threading import Lock
from typing import Any, Final

from leasehold.adapters.metering import Call
from leasehold.adapters.sqlite.session import SQLiteSession

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
        if error is not None:
            raise error
        return self.answer


class Waiter:
    """Someone who asks for the turn.

    Attributes:
        call: The operation that it is for, if it is for one.
        work: What may be done by another thread in its stead; None to begin a
            transaction of its own.
        has_turn: Whether it is this one's turn.
        is_settled: Whether another thread did the work, and it is known how it ended.
    """

    __slots__ = ("call", "has_turn", "is_settled", "woken", "work")

    def __init__(self, call: Call | None = None, work: Work | None = None) -> None:
        """Begin without the turn."""
        self.call = call
        self.work = work
        self.has_turn = False
        self.is_settled = False
        self.woken: Lock | None = None

    def wake(self) -> None:
        """Let it go on."""
        if self.woken is not None:
            self.woken.release()


class Group:
    """The calls that one thread does besides its own, in its transaction."""

    __slots__ = ("_began_s", "_joined")

    def __init__(self) -> None:
        """Begin with none."""
        self._began_s = time.monotonic()
        self._joined: list[tuple[Waiter, Work]] = []

    def takes_more(self) -> bool:
        """Say whether another call may join; the thread's own is one."""
        return (
            len(self._joined) + 1 < CALLS_MAX
            and time.monotonic() - self._began_s < OPEN_S_MAX
        )

    def join(self, waiter: Waiter, work: Work) -> None:
        """Count a call in."""
        self._joined.append((waiter, work))

    def settle(self, error: Exception | None, commit_ns: int) -> None:
        """Tell all how it ended; what is told first counts.

        Args:
            error: Why nothing was committed; what a call itself ended with was found
                beside what is gone, and does not count then.
            commit_ns: How long the commit took.
        """
        joined, self._joined = self._joined, []
        for waiter, work in joined:
            work.call.commit_ns = commit_ns
            if error is not None:
                work.error = error
            waiter.is_settled = True
            waiter.wake()


class Turns:
    """Who may write: one thread at a time, in the order in which they asked."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._mutex = Lock()
        self._is_taken = False
        self._waiters: deque[Waiter] = deque()

    def take(self, waiter: Waiter, timeout_s: float) -> float:
        """Wait for the turn, at most so long, or until another thread did the work.

        `waiter.has_turn` and `waiter.is_settled` tell of it.

        Returns:
            How long that took, in seconds; 0 where it was free.
        """
        with self._mutex:
            if not self._is_taken:
                self._is_taken = waiter.has_turn = True
                return 0.0
            woken = waiter.woken = Lock()
            woken.acquire()
            self._waiters.append(waiter)
        began_s = time.monotonic()
        try:
            if not woken.acquire(timeout=timeout_s) and not self._withdraw(waiter):
                # Its turn has come meanwhile, or its work is being done.
                woken.acquire()
        except BaseException:
            self._withdraw(waiter)
            raise
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
            group.join(waiter, waiter.work)
            self._waiters.popleft()
            return waiter.work

    def give_up(self) -> None:
        """Give the turn to the next one, or to nobody."""
        with self._mutex:
            if self._waiters:
                waiter = self._waiters.popleft()
                waiter.has_turn = True
                waiter.wake()
            else:
                self._is_taken = False
