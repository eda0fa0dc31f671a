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
)


def _bytes(value: Any) -> bytes:  # noqa: ANN401 - whatever stands in the column
    if not isinstance(value, bytes | memoryview):
        message = f"bytes are wanted and this is {type(value).__name__}"
        raise TypeError(message)
    return bytes(value)


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
    "mode": FrameMode,
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
