"""What the model keeps of an execution: plain records, changed in place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

RETRIED = ("TRANSIENT", "INFRA_CRASH")
TERMINAL = ("completed", "failed", "cancelled", "expired")
DEFAULTS: dict[str, Any] = {
    "lane_id": "default",
    "payload": b"",
    "capabilities": (),
    "priority": 0,
    "execution_id": None,
    "idempotency_key": None,
    "delay_until_ms": None,
    "deadline_at_ms": None,
    "retry_policy": None,
    "max_reclaim_count": 100,
    "namespace": "default",
    "tags": None,
    "actor": None,
}
# Situation of an execution -> its four columns in the state table.
COLUMNS = {
    "due": ("runnable", "unowned", "eligible_now", "pending"),
    "delayed": ("runnable", "unowned", "not_eligible_until_time", "delayed"),
    "leased": ("active", "leased", "not_applicable", "running"),
    "lapsed": ("active", "lease_expired_reclaimable", "not_applicable", "running"),
    "revoked": ("active", "lease_revoked", "not_applicable", "running"),
} | {name: ("terminal", "unowned", "not_applicable", name) for name in TERMINAL}


class Refused(Exception):  # noqa: N818 - the word that the contract uses
    """The ledger must refuse the call with an error of this code."""

    def __init__(self, code: str) -> None:
        """Keep the code."""
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Retries:
    """A retry policy: `initial_ms`, growing by `multiplier` up to `ceiling_ms`."""

    max_retries: int
    initial_ms: int
    multiplier: float = 1.0
    ceiling_ms: int = 1 << 60

    def delay_ms(self, retries_made: int) -> int:
        """Return the wait before the next retry."""
        grown = self.initial_ms * self.multiplier**retries_made
        return round(min(self.ceiling_ms, grown))


@dataclass(frozen=True)
class Presented:
    """What a handle claims to be: the execution, attempt, lease and epoch."""

    execution_id: UUID
    attempt_index: int
    lease_id: UUID
    lease_epoch: int


@dataclass
class Lease:
    """One worker's right to an execution; its id is told by the ledger later on."""

    attempt_index: int
    epoch: int
    worker_id: str
    instance_id: str | None
    ttl_ms: int
    expires_at_ms: int
    lease_id: UUID | None = None


@dataclass
class Frames:
    """The frames of one attempt: modes in order, the summary, the telemetry rate."""

    stored: list[tuple[str, bytes]] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    first_applied_ms: int | None = None
    last_updated_ms: int | None = None
    rate: float = 0.0
    last_best_effort_ms: int | None = None


@dataclass
class Attempt:
    """One try at an execution."""

    lease: Lease
    started_at_ms: int
    terminal_at_ms: int | None = None
    outcome: str | None = None
    failure: tuple[str, str, str | None] | None = None
    ended_by: tuple[Lease, tuple[Any, ...], Any] | None = None
    frames: Frames = field(default_factory=Frames)


@dataclass
class Execution:
    """One unit of work and everything that happened to it."""

    execution_id: UUID
    spec: dict[str, Any]
    created_at_ms: int
    last_ms: int
    situation: str
    eligible_at_ms: int
    deadline_at_ms: int | None
    priority: int
    waiting_as: str = "initial"
    started_at_ms: int | None = None
    terminal_at_ms: int | None = None
    terminal_cause: str | None = None
    index_when_ended: int = 0
    reclaims: int = 0
    retries: int = 0
    epoch: int = 0
    result: bytes | None = None
    raw_fields: dict[str, Any] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    lease_rows: list[tuple[int, int, str, str]] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)

    @property
    def active(self) -> bool:
        """Say whether an attempt is under way."""
        return self.situation in ("leased", "lapsed", "revoked")

    @property
    def runnable(self) -> bool:
        """Say whether it waits for a claim, now or later."""
        return self.situation in ("due", "delayed")

    @property
    def attempt_state(self) -> str:
        """Return the column of that name."""
        if self.runnable:
            return self.waiting_as
        if self.active:
            leased = self.situation == "leased"
            return "running_attempt" if leased else "attempt_interrupted"
        return "attempt_terminal"

    @property
    def attempt_index(self) -> int:
        """Return the current attempt, or the one that the next claim will start."""
        if self.runnable:
            return len(self.attempts)
        return self.index_when_ended if not self.active else len(self.attempts) - 1

    def row(self) -> dict[str, Any]:
        """Return the row of `exec_core` that the ledger must show."""
        phase, ownership, eligibility, public = COLUMNS[self.situation]
        row = {
            "execution_id": self.execution_id,
            "namespace": self.spec["namespace"],
            "lane_id": self.spec["lane_id"],
            "attempt_index": self.attempt_index,
            "lifecycle_phase": phase,
            "ownership_state": ownership,
            "eligibility_state": eligibility,
            "public_state": public,
            "attempt_state": self.attempt_state,
            "priority": self.priority,
            "created_at_ms": self.created_at_ms,
            "started_at_ms": self.started_at_ms,
            "deadline_at_ms": self.deadline_at_ms,
            "terminal_at_ms": self.terminal_at_ms,
            "lease_reclaim_count": self.reclaims,
            "payload": self.spec["payload"],
            "result": self.result,
            "tags": self.spec["tags"] or {},
            "raw_fields": self.raw_fields,
        }
        if self.runnable:
            row["eligible_at_ms"] = self.eligible_at_ms
        return row


@dataclass
class Grant:
    """A right to resume an execution, for one worker, until a time, once."""

    execution_id: UUID
    worker_id: str
    expires_at_ms: int
    used: bool = False


def power_of_two(number: int) -> bool:
    """Say whether the number is 1, 2, 4, 8 …"""
    return number & (number - 1) == 0


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a patch as the pseudo code of RFC 7396 does, then the null sentinel."""
    if not isinstance(patch, dict):
        return nulled(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def nulled(value: Any) -> Any:
    """Return the value with `__ff_null__` stored as null."""
    if isinstance(value, list):
        return [nulled(item) for item in value]
    if isinstance(value, dict):
        return {key: nulled(item) for key, item in value.items()}
    return None if value == "__ff_null__" else value


def best_effort_kept(
    frames: Frames, now_ms: int, mode: tuple[int, int, int, float]
) -> int:
    """Return how many best-effort frames stay, and move the rate on."""
    ttl_ms, floor, ceiling, alpha = mode
    if frames.last_best_effort_ms is None:
        frames.rate = 0.0
    else:
        gap_ms = max(1, now_ms - frames.last_best_effort_ms)
        frames.rate = alpha * (1000 / gap_ms) + (1 - alpha) * frames.rate
    frames.last_best_effort_ms = now_ms
    return max(floor, min(ceiling, 2 * math.ceil(frames.rate * ttl_ms / 1000)))
