"""Read what a report shows: all tenures once, then those executions that are drawn."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from leasehold.adapters.auditing import AuditReport
from leasehold.adapters.reader import Reader
from leasehold.adapters.report.choosing import (
    TENURES_PER_EXECUTION_MAX,
    UNTIMELY,
    Census,
    gravest,
)
from leasehold.adapters.report.density import Density, Interval
from leasehold.adapters.report.model import LeaseEvents, Story, Totals
from leasehold.adapters.rows import TenureRow
from leasehold.domain.errors import StoreError
from leasehold.domain.findings import Severity
from leasehold.domain.states import LifecyclePhase

LEASE_EVENTS_MAX: Final = 10_000
"""How many lease events are read for one execution."""

_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was read for a report.

    Attributes:
        stories: The executions that are drawn, in the order of their first tenures.
        totals: How much there is of it all.
        intervals: How many leases were held when, over all tenures.
        trouble: Why the rows of the store could not be read; empty where they could.
    """

    stories: tuple[Story, ...] = ()
    totals: Totals = field(default_factory=Totals)
    intervals: tuple[Interval, ...] = ()
    trouble: str = ""


def gather(reader: Reader, report: AuditReport) -> Gathered:
    """Read what a report shows; what came after its audit is left out.

    Memory grows with the executions, not with their tenures or events. Where rows were
    damaged so that they cannot be read, there is nothing but the reason.
    """
    try:
        return _gather(reader, report)
    except StoreError as error:
        if error.code != "corrupt_event":
            raise
        return Gathered(trouble=str(error))


def _gather(reader: Reader, report: AuditReport) -> Gathered:
    census, density = Census(), Density()
    for row in _tenures(reader, report):
        census.add(row)
        _measure(density, row, report.at_ms)
    grave = gravest(report.findings)
    stories = [
        _story(
            reader,
            report,
            execution_id,
            census.tenures_of(execution_id),
            grave.get(execution_id),
        )
        for execution_id in census.choose(grave)
    ]
    stories.sort(key=lambda one: (one.tenures[0].acquired_at_ms, one.execution_id))
    return Gathered(
        tuple(stories),
        Totals(census.executions, census.tenures),
        tuple(density.intervals()),
    )


def _tenures(
    reader: Reader, report: AuditReport, execution_id: UUID | None = None
) -> Iterator[TenureRow]:
    """Read tenures page by page, as they stood at the time of the audit."""
    after = 0
    while page := reader.tenures(
        execution_id, since_ms=report.since_ms, after=after, limit=_PAGE
    ):
        for row in page:
            if row.acquired_at_ms <= report.at_ms:
                yield _as_of(row, report.at_ms)
        after = page[-1].event_id


def _as_of(row: TenureRow, at_ms: int) -> TenureRow:
    if row.ended_at_ms is None:
        return row
    if row.ended_at_ms > at_ms:
        return replace(row, ended_at_ms=None, ended_by=None, orphaned_ms=None)
    if row.orphaned_ms is not None and row.ended_at_ms + row.orphaned_ms > at_ms:
        return replace(row, orphaned_ms=None)
    return row


def _measure(density: Density, row: TenureRow, at_ms: int) -> None:
    ended_at_ms = at_ms if row.ended_at_ms is None else row.ended_at_ms
    density.add_held(row.acquired_at_ms, max(ended_at_ms, row.acquired_at_ms))
    if row.orphaned_ms is not None:
        density.add_orphaned(ended_at_ms, ended_at_ms + max(row.orphaned_ms, 0))


def _story(
    reader: Reader,
    report: AuditReport,
    execution_id: UUID,
    count: int,
    severity: Severity | None,
) -> Story:
    rows = deque(
        _tenures(reader, report, execution_id), maxlen=TENURES_PER_EXECUTION_MAX
    )
    events, cut = _lease_events(reader, report, execution_id)
    return Story(
        execution_id=execution_id,
        lane_id=rows[-1].lane_id,
        tenures=tuple(rows),
        tenure_count=count,
        renewed_at_ms={
            lease_id: tuple(times) for lease_id, times in events.renewed_at_ms.items()
        },
        refusals=tuple(events.refusals),
        actors=events.actors,
        orphaned=_is_orphaned(reader, rows[-1]),
        severity=severity,
        cut=cut,
    )


def _lease_events(
    reader: Reader, report: AuditReport, execution_id: UUID
) -> tuple[LeaseEvents, bool]:
    """Read the lease events of an execution; say whether there are too many."""
    events, after = LeaseEvents(), 0
    for _ in range(LEASE_EVENTS_MAX // _PAGE):
        page = reader.lease_events(execution_id, after=after, limit=_PAGE)
        for row in page:
            if row.occurred_at_ms <= report.at_ms:
                events.add(row)
        if len(page) < _PAGE:
            return events, False
        after = page[-1].event_id
    return events, True


def _is_orphaned(reader: Reader, last: TenureRow) -> bool:
    """Say whether an execution waits for somebody to take over from its last tenure."""
    if last.ended_by not in UNTIMELY or last.orphaned_ms is not None:
        return False
    row = reader.execution(last.execution_id)
    return row is not None and row.lifecycle_phase is LifecyclePhase.ACTIVE
