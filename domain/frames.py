"""Frames: what a running attempt streams out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final, Self
from uuid import UUID

from leasehold.domain import limits
from leasehold.domain.errors import InvalidInputError
from leasehold.domain.events import DomainEvent


class FrameKind(StrEnum):
    """Say what a frame carries."""

    STDOUT = "stdout"
    STDERR = "stderr"
    EVENT = "event"
    BLOB = "blob"


class FrameMode(StrEnum):
    """Say how a frame is kept."""

    DURABLE = "durable"
    SUMMARY = "summary"
    BEST_EFFORT = "best_effort"


class FrameAppended(DomainEvent):
    """The holder appended a durable or a summary frame."""

    TOPIC: ClassVar[str] = "frame.appended"

    attempt_index: int
    lease_id: UUID
    lease_epoch: int
    ts_ms: int
    seq: int
    frame_type: str
    payload: bytes
    correlation_id: str | None = None
    mode: FrameMode
    summary_version: int | None = None


@dataclass(frozen=True, slots=True)
class Durable:
    """Keep the frame as history."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Keep the frame as history and merge its JSON object into the summary."""


@dataclass(frozen=True, slots=True)
class BestEffort:
    """Keep the frame as live telemetry, trimmed to what its rate warrants.

    The rate is an exponential moving average in frames per second:
    rate' = α·(1000/Δt) + (1−α)·rate. Kept are the k newest frames of this mode,
    k = clamp(2·⌈rate'·ttl/1000⌉, floor, ceiling).

    Attributes:
        ttl_ms: The time that the kept frames should span, 1 … 86,400,000.
        maxlen_floor: The least k, 1 … maxlen_ceiling.
        maxlen_ceiling: The greatest k, to 1,000,000.
        ema_alpha: The weight of the newest interval, 0 < α ≤ 1.
    """

    ttl_ms: int = 60_000
    maxlen_floor: int = 64
    maxlen_ceiling: int = 16_384
    ema_alpha: float = 0.2

    def __post_init__(self) -> None:
        """Refuse numbers out of bounds."""
        limits.integer("ttl_ms", self.ttl_ms, least=1, most=limits.LEASE_TTL_MS_MAX)
        ceiling = limits.integer(
            "maxlen_ceiling", self.maxlen_ceiling, least=1, most=limits.LIMIT_MAX
        )
        limits.integer("maxlen_floor", self.maxlen_floor, least=1, most=ceiling)
        alpha = self.ema_alpha
        if (
            isinstance(alpha, bool)
            or not isinstance(alpha, int | float)
            or not 0 < alpha <= 1
        ):
            raise limits.refuse("ema_alpha", alpha, "a number over 0 and at most 1")

    def next_rate(self, rate: float, interval_ms: int | None) -> float:
        """Return the moving average after one more frame, in frames per second.

        Args:
            rate: The average so far.
            interval_ms: Since the attempt's last best-effort frame, None for the
                first; counted as at least 1.
        """
        if interval_ms is None:
            return 0.0
        newest = 1000 / max(1, interval_ms)
        return self.ema_alpha * newest + (1 - self.ema_alpha) * rate

    def kept_frames(self, rate: float) -> int:
        """Return how many of the newest frames are kept at a rate."""
        wanted = 2 * math.ceil(rate * self.ttl_ms / 1000)
        return min(max(wanted, self.maxlen_floor), self.maxlen_ceiling)


Mode = Durable | Summary | BestEffort

MODE_NAMES: Final[Mapping[type[Mode], FrameMode]] = {
    Durable: FrameMode.DURABLE,
    Summary: FrameMode.SUMMARY,
    BestEffort: FrameMode.BEST_EFFORT,
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One piece of an attempt's output.

    Attributes:
        payload: At most 1 MiB; for `Summary` a JSON object.
        kind: STDOUT, STDERR, EVENT or BLOB.
        frame_type: At most 64 bytes; empty stands for the kind in lower case.
        correlation_id: 1 to 256 bytes, or None.
        mode: `Durable()`, `Summary()` or `BestEffort(…)`.

    Raises:
        InvalidInputError: On construction, where one of these does not hold.
    """

    payload: bytes
    kind: FrameKind = FrameKind.STDOUT
    frame_type: str = ""
    correlation_id: str | None = None
    mode: Mode = field(default_factory=Durable)

    def __post_init__(self) -> None:
        """Refuse what does not fit."""
        payload = limits.bytes_of(
            "payload", self.payload, bytes_max=limits.FRAME_BYTES_MAX
        )
        object.__setattr__(self, "payload", payload)
        try:
            object.__setattr__(self, "kind", FrameKind(self.kind))
        except ValueError:
            raise limits.refuse("kind", self.kind, "a FrameKind") from None
        limits.text("frame_type", self.frame_type, bytes_max=limits.NAME_BYTES_MAX)
        if self.correlation_id is not None:
            limits.text(
                "correlation_id",
                self.correlation_id,
                bytes_min=1,
                bytes_max=limits.KEY_BYTES_MAX,
            )
        if type(self.mode) not in MODE_NAMES:
            rule = "Durable(), Summary() or BestEffort(…)"
            raise limits.refuse("mode", self.mode, rule)

    @property
    def stored_type(self) -> str:
        """The frame type as stored."""
        return self.frame_type or str(self.kind)


@dataclass(frozen=True, slots=True, order=True)
class FrameId:
    """Place a frame among those of its attempt; written `<ts_ms>-<seq>`."""

    ts_ms: int
    seq: int

    def __str__(self) -> str:
        """Return the stream id."""
        return f"{self.ts_ms}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a stream id.

        Raises:
            InvalidInputError: Not `<ts_ms>-<seq>`.
        """
        if isinstance(text, str):
            ts_ms, dash, seq = text.partition("-")
            if dash and _is_count(ts_ms) and _is_count(seq):
                return cls(int(ts_ms), int(seq))
        message = f"a stream id has the form <ts_ms>-<seq>; got {text!r}"
        raise InvalidInputError(message)


_DIGITS_MAX: Final = 18


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX


def next_frame_id(last: FrameId | None, *, now_ms: int) -> FrameId:
    """Return an id after the last one, even where the clock stood still."""
    if last is None or now_ms > last.ts_ms:
        return FrameId(now_ms, 0)
    return FrameId(last.ts_ms, last.seq + 1)
