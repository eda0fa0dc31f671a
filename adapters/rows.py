"""The rows that reads return, with the columns of the tables as attributes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from leasehold.adapters.store import Row
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
        return cls(
            UUID(row[0]),
            row[1],
            row[2],
            row[3],
            LifecyclePhase(row[4]),
            OwnershipState(row[5]),
            EligibilityState(row[6]),
            PublicState(row[7]),
            AttemptState(row[8]),
            *row[9:16],
            bytes(row[16]),
            None if row[17] is None else bytes(row[17]),
            json.loads(row[18]),
            json.loads(row[19]),
        )


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
        return cls(
            UUID(row[0]),
            *row[1:4],
            UUID(row[4]),
            *row[5:9],
            None if row[9] is None else Outcome(row[9]),
            None if row[10] is None else FailureClass(row[10]),
            *row[11:],
        )


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
        return cls(
            row[0],
            UUID(row[1]),
            row[2],
            UUID(row[3]),
            row[4],
            LeaseEventType(row[5]),
            LeaseCause(row[6]),
            *row[7:],
        )


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
        return cls(UUID(row[0]), *row[1:])


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
        return cls(
            UUID(row[0]),
            *row[1:5],
            bytes(row[5]),
            row[6],
            FrameMode(row[7]),
            row[8],
        )


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
        return cls(UUID(row[0]), row[1], row[2], UUID(row[3]), *row[4:])
