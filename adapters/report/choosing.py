"""Choose the executions to draw, where there are more than a picture can take."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Final
from uuid import UUID

from leasehold.adapters.rows import TenureRow
from leasehold.domain.findings import AuditFinding, Severity
from leasehold.domain.states import TenureEnd, TenureOrigin

EXECUTIONS_MAX: Final = 240
TENURES_MAX: Final = 2_500
TENURES_PER_EXECUTION_MAX: Final = 200

UNTIMELY: Final = frozenset({TenureEnd.EXPIRED, TenureEnd.OPERATOR})
"""Ends after which somebody else must take over."""


@dataclass(slots=True)
class _Seen:
    """What is kept of an execution while all tenures go by."""

    tenures: int = 0
    troubles: int = 0
    position: int = 0


@dataclass(slots=True)
class Census:
    """Count tenures by execution, with what makes one worth looking at."""

    _seen: dict[UUID, _Seen] = field(default_factory=dict)
    tenures: int = 0

    @property
    def executions(self) -> int:
        """How many executions there are."""
        return len(self._seen)

    def add(self, row: TenureRow) -> None:
        """Count a tenure."""
        seen = self._seen.setdefault(row.execution_id, _Seen())
        self.tenures += 1
        seen.tenures += 1
        seen.position = max(seen.position, row.event_id)
        seen.troubles += row.refusals
        seen.troubles += row.acquired_by is not TenureOrigin.CLAIM
        seen.troubles += row.ended_by in UNTIMELY

    def tenures_of(self, execution_id: UUID) -> int:
        """Return how many tenures an execution has."""
        return self._seen[execution_id].tenures

    def choose(self, grave: Mapping[UUID, Severity]) -> list[UUID]:
        """Return the executions to draw, the most telling first.

        Those with an error come first, then those with a warning, then those with
        most refusals, take-overs and untimely ends; among equals the latest.

        Args:
            grave: The gravest of what was found about an execution.
        """

        def rank(item: tuple[UUID, _Seen]) -> tuple[bool, bool, int, int]:
            execution_id, seen = item
            severity = grave.get(execution_id)
            return (
                severity is Severity.ERROR,
                severity is Severity.WARNING,
                seen.troubles,
                seen.position,
            )

        chosen: list[UUID] = []
        room = TENURES_MAX
        for execution_id, seen in nlargest(
            EXECUTIONS_MAX, self._seen.items(), key=rank
        ):
            drawn = min(seen.tenures, TENURES_PER_EXECUTION_MAX)
            if drawn <= room:
                room -= drawn
                chosen.append(execution_id)
        return chosen


def gravest(findings: Iterable[AuditFinding]) -> dict[UUID, Severity]:
    """Return the gravest of what was found, by execution."""
    grave: dict[UUID, Severity] = {}
    for finding in findings:
        if finding.execution_id is None:
            continue
        if finding.severity is Severity.ERROR or finding.execution_id not in grave:
            grave[finding.execution_id] = finding.severity
    return grave
