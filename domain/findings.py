"""What an audit finds: the checks, how grave each is, and one finding."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID


class Severity(StrEnum):
    """Say how grave a finding is."""

    ERROR = "error"
    """The history breaks a promise of the ledger."""
    WARNING = "warning"
    """The history is good, and someone should look at it."""


class AuditCheck(StrEnum):
    """Name what an audit looks for; docs/audit.md has the rule of each."""

    OVERLAPPING_TENURES = "overlapping_tenures"
    """A lease was given out as a new one while another one stood."""
    EPOCH_OUT_OF_SEQUENCE = "epoch_out_of_sequence"
    """An acquisition's epoch is not one more than the last one's."""
    FOREIGN_WRITE = "foreign_write"
    """A write was accepted that does not come from the holder of the open tenure."""
    LATE_WRITE = "late_write"
    """The holder's write was accepted at or after the expiry of its lease."""
    BAD_RENEWAL = "bad_renewal"
    """A renewal shortens the lease, or changes its holder or epoch."""
    EARLY_TAKEOVER = "early_takeover"
    """A lease was taken over, or its expiry recorded, before it had ended."""
    AFTER_THE_END = "after_the_end"
    """Something other than a replay or a refusal follows a terminal event."""
    VERSION_MISSING = "version_missing"
    """A version of a stream is missing, or there twice."""
    BROKEN_CHAIN = "broken_chain"
    """A hash does not follow from the event and the hash before it."""
    UNREADABLE_EVENT = "unreadable_event"
    """An event cannot be decoded, or stands where it does not belong."""
    ROW_DIFFERS = "row_differs"
    """A projected row differs from its replay."""
    CLOCK_REGRESSION = "clock_regression"
    """The clock stepped back, and the event's time was clamped."""
    SHARED_INSTANCE = "shared_instance"
    """A worker instance took over from itself while its lease was neither ended
    nor recorded as expired."""
    REFUSED_WRITE = "refused_write"
    """A write was refused for its lease."""
    LITTLE_HEADROOM = "little_headroom"
    """A renewal came with less than a tenth of the lease's ttl left."""
    NO_PROGRESS = "no_progress"
    """A lease was renewed many times in a row without progress or a frame."""
    ORPHAN = "orphan"
    """A lease ran out or was revoked, and nobody has taken the execution."""

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return Severity.WARNING if self in _WARNINGS else Severity.ERROR


_WARNINGS: Final = frozenset(
    {
        AuditCheck.CLOCK_REGRESSION,
        AuditCheck.SHARED_INSTANCE,
        AuditCheck.REFUSED_WRITE,
        AuditCheck.LITTLE_HEADROOM,
        AuditCheck.NO_PROGRESS,
        AuditCheck.ORPHAN,
    }
)


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One thing that an audit found.

    Attributes:
        check: What it is.
        severity: How grave it is.
        execution_id: The execution; None where what stands in its place is no id.
        position: The position in the log of the event that it shows at; None for a row
            that no event made.
        text: The same for a person, in a sentence.
    """

    check: AuditCheck
    severity: Severity
    execution_id: UUID | None
    position: int | None
    text: str
