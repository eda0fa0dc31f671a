"""When to look for work next: pauses that grow, and moments known beforehand."""

import heapq
import random
from collections.abc import Callable
from typing import Final

_MOMENTS_MAX: Final = 1_000


class Pauses:
    """Pauses that double from the shortest to the longest, each drawn anew."""

    def __init__(
        self,
        least_s: float,
        most_s: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Begin with the shortest.

        Args:
            least_s: The first one.
            most_s: Beyond this they do not grow.
            draw: Evenly from [0, 1): up to half shorter, so that processes which
                began together do not come together for ever.
        """
        self._least_s = least_s
        self._most_s = most_s
        self._draw = draw
        self._whole_s = least_s

    def reset(self) -> None:
        """Begin with the shortest again."""
        self._whole_s = self._least_s

    def next_s(self) -> float:
        """Return the next pause."""
        pause_s = self._whole_s * (1 - self._draw() / 2)
        self._whole_s = min(self._whole_s * 2, self._most_s)
        return pause_s


class Agenda:
    """When to ask the store for work; times are those of `time.monotonic`.

    It is asked at once in the beginning, when something was told that may be work, and
    while there was more than could be taken. In between after a pause that grows. After
    an error of the store, no earlier than after a pause of its own.
    """

    def __init__(self, idle: Pauses, trouble: Pauses) -> None:
        """Ask at once."""
        self._idle = idle
        self._trouble = trouble
        self._next_s = 0.0
        self._earliest_s = 0.0
        self._moments: list[float] = []

    @property
    def next_s(self) -> float:
        """When to ask next."""
        next_s = min(self._next_s, self._moments[0]) if self._moments else self._next_s
        return max(next_s, self._earliest_s)

    def expect(self, at_s: float) -> None:
        """Note when something may become work; of very many, those already noted."""
        if len(self._moments) < _MOMENTS_MAX:
            heapq.heappush(self._moments, at_s)

    def tell(self, now_s: float) -> None:
        """Note that there may be work now."""
        self._idle.reset()
        self._next_s = min(self._next_s, now_s)

    def begin(self, now_s: float) -> None:
        """Note that the store is asked: what was expected until now is seen by that."""
        while self._moments and self._moments[0] <= now_s:
            heapq.heappop(self._moments)
        self._next_s = now_s

    def found_more(self) -> None:
        """Note that there may be more than was taken."""
        self._idle.reset()
        self._trouble.reset()

    def found_all(self, now_s: float, taken: int) -> None:
        """Note that there is no more for now."""
        self._trouble.reset()
        if taken:
            self._idle.reset()
        self._next_s = now_s + self._idle.next_s()

    def failed(self, now_s: float) -> float:
        """Note that the store could not be asked; return the pause."""
        pause_s = self._trouble.next_s()
        self._earliest_s = now_s + pause_s
        return pause_s
