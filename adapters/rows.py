"""The rows that reads return, with the columns of the tables as attributes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final, Self
from uuid import UUID

from leasehold.adapters.store import Row
from leasehold.domain.errors import StoreError
from leasehold.domain.frames import FrameId, FrameMode
from leasehold.domain.states import (
    AttemptState,
    EligibilityState,
    FailureClass,
    LeaseCause,
    LeaseEventType,
    LifecyclePhase,
    Outcome,
    OwnershipState,
    PublicState,
    TenureEnd,
    TenureOrigin,
)


def _bytes(value: Any) -> bytes:  # noqa: ANN401 - whatever stands in the column
    if not isinstance(value, bytes | memoryview):
        message = f"bytes are wanted and this is {type(value).__name__}"
        raise TypeError(message)
    return bytes(value)


def _tokens(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - the same
    return tuple(value.split(",")) if value else ()


_CONVERTERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "execution_id": UUID,
    "lease_id": UUID,
    "lifecycle_phase": LifecyclePhase,
    "ownership_state": OwnershipState,
    "eligibility_state": EligibilityState,
    "public_state": PublicState,
    "attempt_state": AttemptState,
    "outcome": Outcome,
    "failure_class": FailureClass,
    "event_type": LeaseEventType,
    "cause": LeaseCause,
    "acquired_by": TenureOrigin,
    "ended_by": TenureEnd,
    "mode": FrameMode,
    "capabilities": _tokens,
    "payload": _bytes,
    "result": _bytes,
    "tags": json.loads,
    "raw_fields": json.loads,
}
"""What becomes of a value that is not NULL, by the column that it comes from."""


@cache
def _converters(row_type: type) -> tuple[Callable[[Any], Any] | None, ...]:
    return tuple(_CONVERTERS.get(field.name) for field in fields(row_type))


def _converted(row_type: type, row: Row) -> list[Any]:
    try:
        return [
            value if converter is None or value is None else converter(value)
            for converter, value in zip(_converters(row_type), row, strict=True)
        ]
    except (ValueError, TypeError, AttributeError) as error:
        message = (
            f"a row for {row_type.__name__} cannot be read: its table was changed by "
            f"hand ({error}); the row begins with {row[:2]}"
        )
        raise StoreError(message, code="corrupt_event") from error


@dataclass(frozen=True, slots=True)
class ExecutionRow:
    """A row of `exec_core`: where an execution stands."""

    execution_id: UUID
    namespace: str
    lane_id: str
    attempt_index: int
    lifecycle_phase: LifecyclePhase
    ownership_state: OwnershipState
    eligibility_state: EligibilityState
    public_state: PublicState
    attempt_state: AttemptState
    priority: int
    created_at_ms: int
    started_at_ms: int | None
    eligible_at_ms: int
    deadline_at_ms: int | None
    terminal_at_ms: int | None
    lease_reclaim_count: int
    payload: bytes
    result: bytes | None
    tags: Mapping[str, str]
    raw_fields: Mapping[str, Any]

    @classmethod
    def of(cls, row: Row) -> Self:
        """Read a row of the query `execution`."""
        return cls(*_converted(cls, row))


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """A row of `attempt`: one try, with its last lease."""

    execution_id: UUID
    attempt_index: int
    worker_id: str
    worker_instance_id: str | None
    lease_id: UUID
    lease_epoch: int
    lease_expires_at_ms: int | None
    started_at_ms: int
    terminal_at_ms: int | None
    outcome: Outcome | None
    failure_class: FailureClass | None
    failure_message: str | None
    failure_detail: str | None

    @classmethod
    def of(cls, row: Row) -> Self:
        """Read a row of the query `attempt`."""
        return cls(*_converted(cls, row))


@dataclass(frozen=True, slots=True)
class LeaseEventRow:
    """A row of `lease_event`: one thing that happened to a lease."""

    event_id: int
    execution_id: UUID
    attempt_index: int
    lease_id: UUID
    lease_epoch: int
    event_type: LeaseEventType
    cause: LeaseCause
    worker_id: str | None
    worker_instance_id: str | None
    actor: str | None
    expires_at_ms: int | None
    occurred_at_ms: int
    operation: str | None
    late_ms: int | None
    refused_count: int | None

    @classmethod
    def of(cls, row: Row) -> Self:
        """Read a row of the query `lease_events`."""
        return cls(*_converted(cls, row))


@dataclass(frozen=True, slots=True)
class TenureRow:
    """A row of `tenure`: one epoch of one execution, from its acquisition to its end.

    Attributes:
        renewals: How often the lease was renewed.
        last_renewed_at_ms: None without a renewal, as are the two below.
        max_renewal_gap_ms: The longest time from the acquisition or a renewal to the
            next renewal.
        min_headroom_ms: The least time that was left when the lease was renewed.
        expires_at_ms: The expiry that was promised last.
        ended_at_ms: The end that was recorded or the expiry, whichever is earlier;
            None while the lease is live.
        ended_by: `expired`, or the cause of the end that came before the expiry; None
            while live.
        orphaned_ms: From the expiry or the revocation by an operator to the take-over;
            None where there was no take-over.
        refusals: How many recorded refusals presented this lease.
        event_id: The position of the acquisition.
        lane_id: The lane of the attempt.
    """

    execution_id: UUID
    attempt_index: int
    lease_epoch: int
    lease_id: UUID
    worker_id: str
    worker_instance_id: str | None
    acquired_at_ms: int
    acquired_by: TenureOrigin
    renewals: int
    last_renewed_at_ms: int | None
    max_renewal_gap_ms: int | None
    min_headroom_ms: int | None
    expires_at_ms: int
    ended_at_ms: int | None
    ended_by: TenureEnd | None
    orphaned_ms: int | None
    refusals: int
    event_id: int
    lane_id: str

    @classmethod
    def of(cls, row: Row) -> Self:
        """Read a row of the query `tenures`."""
        return cls(*_converted(cls, row))


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """A row of `summary`: the document that summary frames add up to."""

    execution_id: UUID
    attempt_index: int
    document_json: str
    version: int
    patch_kind: str
    first_applied_ms: int
    last_updated_ms: int

    @property
    def document(self) -> dict[str, Any]:
        """The document, parsed."""
        document: dict[str, Any] = json.loads(self.document_json)
        return document

    @classmethod
    def of(cls, row: Row) -> Self:
        """Read a row of the query `summary`."""
        return cls(*_converted(cls, row))


@dataclass(frozen=True, slots=True)
class FrameRow:
    """A row of `stream_frame`: one frame of an attempt."""

    execution_id: UUID
    attempt_index: int
    ts_ms: int
    seq: int
    frame_type: str
    payload: bytes
    correlation_id: str | None
    mode: FrameMode
    summary_version: int | None

    @property
    def stream_id(self) -> str:
        """The frame's place in the attempt, `<ts_ms>-<seq>`."""
        return str(FrameId(self.ts_ms, self.seq))

    @classmethod
    def of(cls, row: Row) -> Self:
        """Read a row of the query `frames`."""
        return cls(*_converted(cls, row))


@dataclass(frozen=True, slots=True)
class ExpiredLeaseRow:
    """A lease that ran out and that nobody has taken over.

    Attributes:
        lease_expires_at_ms: When it ran out, recorded or not.
    """

    execution_id: UUID
    attempt_index: int
    lane_id: str
    lease_id: UUID
    lease_epoch: int
    worker_id: str
    worker_instance_id: str | None
    lease_expires_at_ms: int

    @classmethod
    def of(cls, row: Row) -> Self:
        """Read a row of the query `expired_leases`."""
        return cls(*_converted(cls, row))


@dataclass(frozen=True, slots=True)
class OrphanRow:
    """A lease that is over and that nobody has taken over.

    Attributes:
        lapsed_at_ms: When it ran out, recorded or not, or was revoked.
        orphaned_ms: How long that is ago.
    """

    execution_id: UUID
    attempt_index: int
    lane_id: str
    lease_id: UUID
    lease_epoch: int
    worker_id: str
    worker_instance_id: str | None
    lapsed_at_ms: int
    orphaned_ms: int

    @classmethod
    def of(cls, row: Row) -> Self:
        """Read a row of the query `oldest_orphan`."""
        return cls(*_converted(cls, row))


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """What the next claim in a lane would take, of those who can do no more.

    Attributes:
        capabilities: What a worker must be able to do, sorted.
        since_ms: When it was due, or when its last lease ended, ms since the Unix
            epoch.
    """

    execution_id: UUID
    lane_id: str
    capabilities: tuple[str, ...]
    priority: int
    since_ms: int

    @classmethod
    def of(cls, row: Row) -> Self:
        """Read a row of the query `waiting_in_lane`."""
        return cls(*_converted(cls, row))
