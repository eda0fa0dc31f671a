"""What every event has."""

from typing import ClassVar, TypedDict
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class DomainEvent(BaseModel):
    """Something that happened to an execution, as it is kept for ever.

    Attributes:
        TOPIC: The stored name; it does not change when code moves.
        SCHEMA_VERSION: Counts from 1 the shapes that this event has had. Older ones
            are brought up to date when they are read.
        execution_id: The execution.
        occurred_at_ms: When; never before an earlier event of the same execution.
        clock_at_ms: What the clock said, where that lay before the last recorded
            time of the execution and was clamped to it; None otherwise.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        ser_json_bytes="base64",
        val_json_bytes="base64",
        # JSON has neither, and no column that holds JSON could be written.
        allow_inf_nan=False,
    )

    TOPIC: ClassVar[str]
    SCHEMA_VERSION: ClassVar[int] = 1

    execution_id: UUID
    occurred_at_ms: int
    clock_at_ms: int | None = None


class LeaseFacts(TypedDict):
    """Hold what the events of an attempt say about its lease."""

    execution_id: UUID
    attempt_index: int
    lease_id: UUID
    lease_epoch: int
    worker_id: str
    worker_instance_id: str | None
