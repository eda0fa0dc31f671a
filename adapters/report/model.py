"""What the picture of a report is drawn from: executions with what happened to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from leasehold.adapters.rows import LeaseEventRow, TenureRow
from leasehold.domain.findings import Severity
from leasehold.domain.states import LeaseEventType


@dataclass(frozen=True, slots=True)
class Story:
    """What is drawn of one execution.

    Attributes:
        execution_id: The execution.
        lane_id: Its lane.
        tenures: Those that are drawn, oldest first; at least one.
        tenure_count: How many it has.
        renewed_at_ms: The times of renewals, by the lease.
        refusals: The refused writes, oldest first.
        actors: Who revoked or cancelled, by the lease.
        orphaned: Whether nobody has taken over after the last tenure, at the time of
            the audit.
        severity: The gravest of what was found about it.
        cut: Whether there were more lease events than are read for one execution.
    """

    execution_id: UUID
    lane_id: str
    tenures: tuple[TenureRow, ...]
    tenure_count: int
    renewed_at_ms: Mapping[UUID, tuple[int, ...]] = field(default_factory=dict)
    refusals: tuple[LeaseEventRow, ...] = ()
    actors: Mapping[UUID, str] = field(default_factory=dict)
    orphaned: bool = False
    severity: Severity | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Totals:
    """How much there is, and how much of it is drawn.

    Attributes:
        executions: That were ever claimed.
        tenures: Of those executions.
    """

    executions: int = 0
    tenures: int = 0


@dataclass(slots=True)
class LeaseEvents:
    """Sort the lease events of one execution by what is drawn of them."""

    renewed_at_ms: dict[UUID, list[int]] = field(default_factory=dict)
    refusals: list[LeaseEventRow] = field(default_factory=list)
    actors: dict[UUID, str] = field(default_factory=dict)

    def add(self, row: LeaseEventRow) -> None:
        """Take in the next one."""
        if row.event_type is LeaseEventType.RENEWED:
            self.renewed_at_ms.setdefault(row.lease_id, []).append(row.occurred_at_ms)
        elif row.event_type is LeaseEventType.REFUSED:
            self.refusals.append(row)
        elif row.actor is not None:
            self.actors[row.lease_id] = row.actor
