"""Refusals: the writes that were turned away for their lease, kept as history."""

from typing import ClassVar, Final
from uuid import UUID

from leasehold.domain.errors import (
    ContentionError,
    ExecutionNotActiveError,
    LeaseConflictError,
    LeaseExpiredError,
    LeaseRevokedError,
)
from leasehold.domain.events import DomainEvent
from leasehold.domain.states import LeaseCause

RECORDED_ERRORS: Final = (
    LeaseConflictError,
    LeaseExpiredError,
    LeaseRevokedError,
    ExecutionNotActiveError,
)


class RefusalRecorded(DomainEvent):
    """A worker's write was refused for its lease.

    Attributes:
        lease_id: As presented, like the attempt and the epoch.
        worker_id: Of the lease presented; None if there never was such a lease.
        late_ms: From the end of the lease presented to the write; None if there
            never was such a lease.
        refused_count: How often this handle was refused in its process so far.
        current_lease_epoch: Of the last lease on the execution; None in what
            version 1 of the schema recorded, which did not tell.
    """

    TOPIC: ClassVar[str] = "refusal.recorded"
    SCHEMA_VERSION: ClassVar[int] = 2

    attempt_index: int
    lease_id: UUID
    lease_epoch: int
    worker_id: str | None = None
    worker_instance_id: str | None = None
    cause: LeaseCause
    operation: str
    late_ms: int | None = None
    refused_count: int
    current_lease_epoch: int | None = None


def cause_of(error: ContentionError) -> LeaseCause:
    """Return the literal that a refusal is recorded under."""
    return LeaseCause(error.code)


def is_recorded(refused_count: int) -> bool:
    """Say whether the n-th refusal of a handle is recorded: the powers of two are.

    So a handle in an endless loop costs the history a logarithm of its tries.
    """
    return refused_count & (refused_count - 1) == 0
