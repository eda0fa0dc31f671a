"""Tenures, refusals and reports made by hand, for what is drawn from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from uuid import UUID

from leasehold import AuditReport, LeaseEventRow, Spread, TenureRow
from leasehold.adapters.report.gathering import Gathered
from leasehold.adapters.report.model import Story, Totals
from leasehold.domain.figures import AuditFigures, LaneFigures, WorkerFigures
from leasehold.domain.findings import AuditCheck, AuditFinding
from leasehold.domain.states import (
    LeaseCause,
    LeaseEventType,
    TenureEnd,
    TenureOrigin,
)

START_MS = 1_767_603_600_000
AT_MS = START_MS + 600_000
NO_SPREAD = Spread(0, None, None, None)


def execution(number: int) -> UUID:
    return UUID(int=0x019B8D62_0000_7000_8000_000000000000 + number)


def tenure(number: int = 1, epoch: int = 1, **given) -> TenureRow:
    """A tenure of a minute that was completed."""
    acquired_at_ms = given.pop("acquired_at_ms", START_MS + (epoch - 1) * 90_000)
    row = TenureRow(
        execution_id=execution(number),
        attempt_index=epoch - 1,
        lease_epoch=epoch,
        lease_id=UUID(int=number * 1_000_000 + epoch),
        worker_id="amber",
        worker_instance_id=None,
        acquired_at_ms=acquired_at_ms,
        acquired_by=TenureOrigin.CLAIM,
        renewals=0,
        last_renewed_at_ms=None,
        max_renewal_gap_ms=None,
        min_headroom_ms=None,
        expires_at_ms=acquired_at_ms + 60_000,
        ended_at_ms=acquired_at_ms + 60_000,
        ended_by=TenureEnd.COMPLETED,
        orphaned_ms=None,
        refusals=0,
        event_id=number * 1_000 + epoch,
        lane_id="render",
    )
    return replace(row, **given)


def refusal(row: TenureRow, at_ms: int, **given) -> LeaseEventRow:
    """A refused write under the lease of a tenure."""
    refused = LeaseEventRow(
        event_id=row.event_id + 500,
        execution_id=row.execution_id,
        attempt_index=row.attempt_index,
        lease_id=row.lease_id,
        lease_epoch=row.lease_epoch,
        event_type=LeaseEventType.REFUSED,
        cause=LeaseCause.LEASE_CONFLICT,
        worker_id=row.worker_id,
        worker_instance_id=row.worker_instance_id,
        actor=None,
        expires_at_ms=None,
        occurred_at_ms=at_ms,
        operation="complete",
        late_ms=at_ms - row.expires_at_ms,
        refused_count=1,
    )
    return replace(refused, **given)


def story(*rows: TenureRow, **given) -> Story:
    told = {
        "execution_id": rows[0].execution_id,
        "lane_id": rows[0].lane_id,
        "tenures": rows,
        "tenure_count": len(rows),
    }
    return Story(**(told | given))


def report(
    *findings: AuditFinding, tenures: tuple[TenureRow, ...] = (), **given
) -> AuditReport:
    """A report with these findings and some figures."""
    counts: Counter[AuditCheck] = Counter(finding.check for finding in findings)
    lanes = {row.lane_id: LaneFigures(tenures=1, held_ms=60_000) for row in tenures}
    one = WorkerFigures(tenures=1, held_ms=60_000)
    workers = {row.worker_id: one for row in tenures}
    figures = AuditFigures(
        events=len(tenures) * 3,
        executions=len({row.execution_id for row in tenures}),
        tenures=len(tenures),
        renewals=sum(row.renewals for row in tenures),
        refusals=sum(row.refusals for row in tenures),
        reclaims=0,
        false_reclaims=0,
        time_to_reclaim_ms=NO_SPREAD,
        orphaned_ms=0,
        orphans_now=0,
        attempts_per_execution=NO_SPREAD,
        longest_tenure_ms=None,
        by_lane=lanes,
        by_worker=workers,
    )
    made = AuditReport(
        findings=findings,
        counts=counts,
        figures=figures,
        since_ms=None,
        at_ms=AT_MS,
        rows=True,
    )
    return replace(made, **given)


def finding(check: AuditCheck, row: TenureRow, text: str) -> AuditFinding:
    return AuditFinding(check, check.severity, row.execution_id, row.event_id, text)


def gathered(*stories: Story) -> Gathered:
    tenures = sum(one.tenure_count for one in stories)
    return Gathered(stories, Totals(len(stories), tenures))
