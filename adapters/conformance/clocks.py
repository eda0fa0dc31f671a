"""Clocks that the kit moves, and by which it gets a word in within a call."""

import time
from collections.abc import Callable
from multiprocessing import get_context
from threading import get_ident
from typing import Final

from leasehold.adapters.conformance.lease_store import Clock
from leasehold.adapters.testing.manual_clock import START_MS

MS_PER_S: Final = 1000
_NS_PER_MS: Final = 1_000_000


def host_now_ms() -> int:
    """Return the host's time, in ms since the Unix epoch."""
    return time.time_ns() // _NS_PER_MS


class SleepingClock:
    """A clock that goes by itself: to let time pass is to wait.

    For stores whose clock cannot be given. It must show the store's time.
    """

    def __init__(
        self,
        now_ms: Callable[[], int] = host_now_ms,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Read now in ms from a function, and wait by another that takes seconds."""
        self._now_ms = now_ms
        self._sleep = sleep

    def __call__(self) -> int:
        """Return now in ms."""
        return self._now_ms()

    def advance(self, ms: int) -> int:
        """Wait until so many ms have passed, and return now."""
        until_ms = self._now_ms() + ms
        while (left_ms := until_ms - self._now_ms()) > 0:
            self._sleep(left_ms / MS_PER_S)
        return self._now_ms()


class SharedClock:
    """A clock that several processes move and read; it goes to a child by pickling."""

    def __init__(self, now_ms: int = START_MS) -> None:
        """Begin at a time, in ms since the Unix epoch."""
        self._now_ms = get_context("spawn").Value("q", now_ms)

    def __call__(self) -> int:
        """Return now in ms."""
        return int(self._now_ms.value)

    def advance(self, ms: int) -> int:
        """Move on by so many ms and return now."""
        with self._now_ms.get_lock():
            self._now_ms.value += ms
            return int(self._now_ms.value)


class ProbedClock:
    """A clock at whose reading something can be done: in the middle of a call.

    A store has to read its clock between looking at a lease and acting on it. So
    whatever can happen to a call that is held up there can be made to happen.

    Attributes:
        gives_way: Whether each reading lets other threads go first.
    """

    def __init__(self, clock: Clock) -> None:
        """Show the time of another clock."""
        self.gives_way = False
        self._clock = clock
        self._thread: int | None = None
        self._readings_left = 0
        self._act: Callable[[], object] | None = None

    def __call__(self) -> int:
        """Return now in ms; what is to be done at this reading is done after it."""
        now_ms = self._clock()
        if self._act is not None and self._thread == get_ident():
            self._readings_left -= 1
            if self._readings_left == 0:
                act, self._act = self._act, None
                act()
        elif self.gives_way:
            time.sleep(0)
        return now_ms

    def advance(self, ms: int) -> int:
        """Let so many ms pass and return now."""
        return self._clock.advance(ms)

    def now_ms(self) -> int:
        """Return now in ms, without being a reading of the store's."""
        return self._clock()

    def arm(self, reading: int, act: Callable[[], object]) -> None:
        """Do something at a reading to come, counted from 1, of this very thread."""
        self._thread, self._readings_left, self._act = get_ident(), reading, act

    def disarm(self) -> bool:
        """Do nothing any more; return whether it was done."""
        was_done, self._act = self._act is None, None
        return was_done
