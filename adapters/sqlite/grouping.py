"""Whose turn it is to write, and how several calls share one transaction.

The threads of a ledger write one after another on one connection. Where others wait
when a call is done, it does not commit: it leaves its transaction open, hands the turn
to the next one, and waits. Whoever finds nobody waiting commits for all of them. So
the disk is asked to sync once for many calls, and a lone caller does what it always
did. Databases call it group commit (DeWitt et al., "Implementation Techniques for Main
Memory Database Systems", SIGMOD 1984).
"""

import time
from collections import deque
from threading import Lock
from typing import Final, NamedTuple

CALLS_MAX: Final = 256
"""How many calls share a transaction at most."""

OPEN_S_MAX: Final = 0.05
"""For how long a transaction takes more calls in: other processes wait meanwhile."""


class Group:
    """The calls that share a transaction, and what became of it.

    Attributes:
        error: Why it was not committed, if that is known.
        is_committed: None while that is open.
    """

    __slots__ = ("_began_s", "_calls", "_waiting", "error", "is_committed")

    def __init__(self) -> None:
        """Begin with one call."""
        self._began_s = time.monotonic()
        self._calls = 1
        self._waiting: list[Lock] = []
        self.error: Exception | None = None
        self.is_committed: bool | None = None

    def takes_more(self) -> bool:
        """Say whether another call may join."""
        return self._calls < CALLS_MAX and time.monotonic() - self._began_s < OPEN_S_MAX

    def join(self) -> None:
        """Count a call in."""
        self._calls += 1

    def leave_open(self) -> Lock:
        """Return what to wait for: it can be taken once the end is known."""
        settled = Lock()
        settled.acquire()
        self._waiting.append(settled)
        return settled

    def settle(self, error: Exception | None, *, is_committed: bool) -> None:
        """Tell all what became of it; what is told first counts."""
        if self.is_committed is None:
            self.error = error
            self.is_committed = is_committed
            for settled in self._waiting:
                settled.release()


class Handed(NamedTuple):
    """A transaction that was handed on with a call in it, and what to wait for."""

    group: Group
    settled: "Lock | None"

    def wait(self) -> bool:
        """Wait for its end; say whether it was committed."""
        if self.settled is not None:
            self.settled.acquire()
        return bool(self.group.is_committed)


class Waiter:
    """Someone who asks for the turn.

    Attributes:
        group: The calls to go on with, whose transaction is open; None to begin one.
        has_turn: Whether it is this one's turn.
        joins: Whether it may be had with an open transaction of others.
    """

    __slots__ = ("group", "has_turn", "joins", "woken")

    def __init__(self, *, joins: bool) -> None:
        """Begin without the turn."""
        self.group: Group | None = None
        self.has_turn = False
        self.joins = joins
        self.woken: Lock | None = None

    def settle(self, error: Exception | None, *, is_committed: bool) -> None:
        """Tell the other calls in the transaction what became of it."""
        if self.has_turn and self.group is not None:
            self.group.settle(error, is_committed=is_committed)
            self.group = None


class Turns:
    """Who may write: one thread at a time, in the order in which they asked."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._mutex = Lock()
        self._is_taken = False
        self._waiters: deque[Waiter] = deque()

    def take(self, waiter: Waiter, timeout_s: float) -> float:
        """Wait for the turn, at most so long; `waiter.has_turn` tells of it.

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
            woken.acquire(timeout=timeout_s)
        finally:
            # An interrupt comes here too; the turn may have been handed over meanwhile.
            with self._mutex:
                if not waiter.has_turn:
                    self._waiters.remove(waiter)
        return time.monotonic() - began_s

    def hand_on(self, holder: Waiter, *, waits: bool) -> Handed | None:
        """Give the turn and the open transaction to the next one, if that can be.

        Args:
            holder: Whose turn it is.
            waits: Whether its call is one of those that wait for the commit.

        Returns:
            What was handed on; None where nobody is there to go on with it.
        """
        if not self._waiters:
            return None
        with self._mutex:
            if not self._waiters or not self._waiters[0].joins:
                return None
            group = holder.group or Group()
            if not group.takes_more():
                return None
            settled = group.leave_open() if waits else None
            group.join()
            holder.has_turn = False
            self._wake(self._waiters.popleft(), group)
            return Handed(group, settled)

    def give_up(self) -> None:
        """Give the turn to the next one, or to nobody."""
        with self._mutex:
            if self._waiters:
                self._wake(self._waiters.popleft(), None)
            else:
                self._is_taken = False

    @staticmethod
    def _wake(waiter: Waiter, group: Group | None) -> None:
        waiter.group = group
        waiter.has_turn = True
        if waiter.woken is not None:
            waiter.woken.release()
