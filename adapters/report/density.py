"""How many leases were held at a time, over all tenures, in bounded memory."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

_INTERVALS_MAX: Final = 240
_FIRST_WIDTH_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A piece of time with what it held on average.

    Attributes:
        start_ms: When it begins.
        end_ms: When it ends.
        held: How many leases were held, on average.
        orphaned: How many executions waited for somebody to take over, on average.
    """

    start_ms: int
    end_ms: int
    held: float
    orphaned: float


@dataclass(slots=True)
class Density:
    """Add up tenures over intervals, which grow so that they stay few."""

    _width_ms: int = _FIRST_WIDTH_MS
    _held_ms: Counter[int] = field(default_factory=Counter)
    _orphaned_ms: Counter[int] = field(default_factory=Counter)
    _first: int | None = None
    _last: int = 0

    def add_held(self, start_ms: int, end_ms: int) -> None:
        """Add a time during which a lease was held."""
        self._make_room(start_ms, end_ms)
        self._spread(self._held_ms, start_ms, end_ms)

    def add_orphaned(self, start_ms: int, end_ms: int) -> None:
        """Add a time from the end of a lease to the take-over."""
        self._make_room(start_ms, end_ms)
        self._spread(self._orphaned_ms, start_ms, end_ms)

    def _spread(self, counter: Counter[int], start_ms: int, end_ms: int) -> None:
        width = self._width_ms
        for index in range(start_ms // width, end_ms // width + 1):
            from_ms = max(start_ms, index * width)
            counter[index] += min(end_ms, (index + 1) * width) - from_ms

    def _make_room(self, start_ms: int, end_ms: int) -> None:
        first, last = start_ms // self._width_ms, end_ms // self._width_ms
        if self._first is not None:
            first, last = min(first, self._first), max(last, self._last)
        while last - first >= _INTERVALS_MAX:
            self._width_ms *= 2
            first, last = first // 2, last // 2
            self._held_ms = _halved(self._held_ms)
            self._orphaned_ms = _halved(self._orphaned_ms)
        self._first, self._last = first, last

    def intervals(self) -> list[Interval]:
        """Return all intervals from the first to the last that holds something."""
        if self._first is None:
            return []
        width = self._width_ms
        return [
            Interval(
                index * width,
                (index + 1) * width,
                self._held_ms[index] / width,
                self._orphaned_ms[index] / width,
            )
            for index in range(self._first, self._last + 1)
        ]


def _halved(counter: Counter[int]) -> Counter[int]:
    """Put each two intervals together; they begin at multiples of their width."""
    halved: Counter[int] = Counter()
    for index, value in counter.items():
        halved[index // 2] += value
    return halved
