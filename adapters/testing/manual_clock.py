"""A clock that stands still until a test moves it."""

from threading import Lock
from typing import Final

START_MS: Final = 1_704_067_200_000
"""The first moment of 2024, UTC: where a clock begins that is told nothing else."""


class ManualClock:
    """A clock that only the test moves, and only forwards; threads may share it.

    It is what `leasehold.open(url, clock=…)` takes.
    """

    def __init__(self, now_ms: int = START_MS) -> None:
        """Begin at a time, in ms since the Unix epoch."""
        self._now_ms = now_ms
        self._moving = Lock()

    def __call__(self) -> int:
        """Return now, in ms since the Unix epoch."""
        return self._now_ms

    def now_ms(self) -> int:
        """Return now, in ms since the Unix epoch."""
        return self._now_ms

    def advance(self, ms: int) -> int:
        """Move on by so many ms and return now.

        Raises:
            ValueError: That would be backwards.
        """
        if ms < 0:
            message = f"the clock only moves forwards; got {ms} ms"
            raise ValueError(message)
        with self._moving:
            self._now_ms += ms
            return self._now_ms

    def advance_to(self, now_ms: int) -> int:
        """Move on to a time, in ms since the Unix epoch, and return it.

        Raises:
            ValueError: That would be backwards.
        """
        with self._moving:
            if now_ms < self._now_ms:
                message = (
                    "the clock only moves forwards; "
                    f"it stands at {self._now_ms} and {now_ms} is before that"
                )
                raise ValueError(message)
            self._now_ms = now_ms
            return now_ms
