"""What the audit of one execution knows so far, and how it tells of a finding."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from leasehold.domain import audit_wording
from leasehold.domain.attempts import AttemptEvent
from leasehold.domain.events import DomainEvent
from leasehold.domain.executions import (
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionRetryScheduled,
)
from leasehold.domain.findings import AuditCheck, AuditFinding
from leasehold.domain.frames import FrameAppended
from leasehold.domain.tenures import Tenure

Leased = (
    AttemptEvent
    | FrameAppended
    | ExecutionRetryScheduled
    | ExecutionCompleted
    | ExecutionFailed
)
"""The events that name the lease that they were written under."""


@dataclass(slots=True, kw_only=True)
class AuditState:
    """What is known of an execution behind the events that were taken so far.

    Attributes:
        found: Told of each finding.
        since_ms: What was recorded before is folded and not told of.
        tenures: Those of the execution, in order.
        attempts: How many attempts were started.
        refusals: How many refused writes are recorded at or after `since_ms`.
        orphaned: Whether it has a lease that ran out or was revoked and that nobody has
            taken; known after `finish`.
        position: Of the event that is taken now.
        at_ms: Its time.
        last_ms: The latest time that was recorded so far.
        now_ms: The time of the audit; known after `finish`.
        continues: Whether it belongs to the operation of the event before it.
        last_epoch: Of the last acquisition; 0 before the first.
        ended_with: The topic that ended the execution; None while it goes on.
        is_redacted: Whether frames and texts were left out of the history.
        is_unsure: Whether an event is missing or damaged since the last acquisition.
        instances: The last tenure of each worker instance.
        told: What was told of the operation that the event belongs to.
    """

    execution_id: UUID
    found: Callable[[AuditFinding], None]
    since_ms: int | None = None
    tenures: list[Tenure] = field(default_factory=list)
    attempts: int = 0
    refusals: int = 0
    orphaned: bool = False
    position: int = 0
    at_ms: int = 0
    last_ms: int = 0
    now_ms: int = 0
    continues: bool = False
    last_epoch: int = 0
    ended_with: str | None = None
    lane_id: str = ""
    is_redacted: bool = False
    is_unsure: bool = False
    instances: dict[str, Tenure] = field(default_factory=dict)
    told: set[AuditCheck] = field(default_factory=set)

    @property
    def tenure(self) -> Tenure | None:
        """The last tenure; None before the first."""
        return self.tenures[-1] if self.tenures else None

    def is_in_scope(self) -> bool:
        """Say whether the event is recent enough to be told of."""
        return self.since_ms is None or self.at_ms >= self.since_ms

    def tell(self, check: AuditCheck, text: str) -> None:
        """Tell of a finding at this event, once for each operation and check.

        Behind an event that is missing or damaged nothing can be judged; a refusal
        tells all by itself.
        """
        if (
            check not in self.told
            and self.is_in_scope()
            and (check is AuditCheck.REFUSED_WRITE or not self.is_unsure)
        ):
            self.told.add(check)
            self.tell_at(self.position, check, text)

    def tell_at(self, position: int, check: AuditCheck, text: str) -> None:
        """Tell of a finding at some position."""
        self.found(
            AuditFinding(check, check.severity, self.execution_id, position, text)
        )

    def tell_foreign(self, event: Leased) -> None:
        """Tell that an event does not come from the holder of the open tenure."""
        text = audit_wording.foreign(event, event.lease_epoch, self.tenure)
        self.tell(AuditCheck.FOREIGN_WRITE, text)

    def tell_late(self, event: DomainEvent, tenure: Tenure) -> None:
        """Tell that the holder wrote after its lease had run out."""
        self.tell(AuditCheck.LATE_WRITE, audit_wording.late(event, tenure))

    def tell_early(self, event: DomainEvent, tenure: Tenure, what: str) -> None:
        """Tell that a lease was ended before its time."""
        text = audit_wording.early(event, tenure, what)
        self.tell(AuditCheck.EARLY_TAKEOVER, text)
