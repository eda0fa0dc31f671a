"""The clock that held leases are counted by: monotonic, and going on in a suspend."""

import time
from typing import Final

from leasehold.domain import limits

_NS_IN_S: Final = 1_000_000_000

# Linux stops CLOCK_MONOTONIC while the host is suspended, and the store's clock goes
# on. Elsewhere (macOS) the monotonic clock itself goes on.
_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed_ns() -> int:
    """Return the time since some moment, in ns; it never steps."""
    return time.clock_gettime_ns(_CLOCK)


def _ahead_ns() -> int:
    before_ns = elapsed_ns()
    return before_ns - time.monotonic_ns()


_AHEAD_NS: Final = _ahead_ns()
"""How far `elapsed_ns` was ahead of `time.monotonic_ns` when this was imported.

It grows with each suspend and never shrinks.
"""


def since_ns(monotonic_s: float) -> int:
    """Return what `elapsed_ns` was, at the least, at a reading of `time.monotonic`.

    After a suspend of the host it is too early by as long as that took.

    Raises:
        InvalidInputError: It is no such reading, or one of the future.
    """
    rule = "a reading of time.monotonic(), not later than now"
    if isinstance(monotonic_s, bool) or not isinstance(monotonic_s, int | float):
        raise limits.refuse("sent_at_s", monotonic_s, rule)
    if not 0 <= monotonic_s <= time.monotonic():
        raise limits.refuse("sent_at_s", monotonic_s, rule)
    return int(monotonic_s * _NS_IN_S) + _AHEAD_NS
