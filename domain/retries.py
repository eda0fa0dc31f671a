"""When a failed execution is tried again."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Final

from pydantic import ConfigDict

from leasehold.domain import limits
from leasehold.domain.errors import InvalidInputError

DELAY_MS_MAX: Final = 31_536_000_000
"""A year: no backoff waits longer."""

_MULTIPLIER_MAX: Final = 1_000.0


def _real(field_name: str, value: float, *, least: float, most: float) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not least <= value <= most
    ):
        raise limits.refuse(field_name, value, f"a number from {least} to {most}")
    return float(value)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Wait the same time before each retry.

    Attributes:
        delay_ms: 0 … 31,536,000,000 (a year). 0 retries at once.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    delay_ms: int

    def __post_init__(self) -> None:
        """Refuse a delay out of bounds."""
        limits.integer("delay_ms", self.delay_ms, least=0, most=DELAY_MS_MAX)

    def wait_ms(self, retries_made: int, jitter_draw: float) -> int:
        """Return the delay in ms; neither argument has a say."""
        del retries_made, jitter_draw
        return self.delay_ms


@dataclass(frozen=True, slots=True)
class Exponential:
    """Wait longer before each retry, up to a cap.

    The n-th retry (from 0) waits min(max_ms, initial_ms · multiplierⁿ) milliseconds,
    multiplied by 1 + jitter·u for a u drawn evenly from [−1, 1]: "equal" spreading
    around the nominal delay, so that executions that failed together do not all come
    back together.

    Attributes:
        initial_ms: 0 … a year.
        multiplier: 1 … 1000.
        max_ms: 0 … a year; the cap before jitter.
        jitter: 0 … 1.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    initial_ms: int = 1_000
    multiplier: float = 2.0
    max_ms: int = 60_000
    jitter: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers out of bounds; whole multipliers become floats."""
        limits.integer("initial_ms", self.initial_ms, least=0, most=DELAY_MS_MAX)
        limits.integer("max_ms", self.max_ms, least=0, most=DELAY_MS_MAX)
        multiplier = _real("multiplier", self.multiplier, least=1, most=_MULTIPLIER_MAX)
        jitter = _real("jitter", self.jitter, least=0, most=1)
        object.__setattr__(self, "multiplier", multiplier)
        object.__setattr__(self, "jitter", jitter)

    def wait_ms(self, retries_made: int, jitter_draw: float) -> int:
        """Return the delay in ms before the next retry.

        Args:
            retries_made: From 0.
            jitter_draw: The u of the formula, in [−1, 1].
        """
        nominal = float(min(self.initial_ms, self.max_ms))
        if nominal > 0 and self.multiplier > 1:
            steps_to_cap = math.log(self.max_ms / nominal, self.multiplier)
            if retries_made >= steps_to_cap:
                nominal = float(self.max_ms)
            else:
                nominal = min(self.max_ms, nominal * self.multiplier**retries_made)
        return max(0, round(nominal * (1 + self.jitter * jitter_draw)))


Backoff = Exponential | Fixed


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Say how often and after what delay a transient failure is retried.

    Attributes:
        max_retries: 0 … 10,000; counts retries, so 3 means four tries. Take-overs
            of a lost lease do not count.
        backoff: `Exponential` or `Fixed`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    max_retries: int = 3
    backoff: Backoff = field(default_factory=Exponential)

    def __post_init__(self) -> None:
        """Refuse a count out of bounds or a backoff of another type."""
        limits.integer("max_retries", self.max_retries, least=0, most=limits.COUNT_MAX)
        if not isinstance(self.backoff, Exponential | Fixed):
            kind = type(self.backoff).__name__
            message = f"backoff must be Exponential or Fixed; got {kind}"
            raise InvalidInputError(message)
