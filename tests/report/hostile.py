"""Names that would be code, were they not escaped."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_samples import START_MS, finding, refusal, report, story, tenure

import leasehold
from leasehold.adapters.report.gathering import Gathered
from leasehold.adapters.report.model import Totals
from leasehold.adapters.report.page import render, write_report
from leasehold.domain.findings import AuditCheck
from leasehold.domain.states import TenureEnd

SCRIPT = "<script>window.stolen=alert(1)</script>"
IMAGE = '"><img src=x onerror=window.stolen=1>'
QUOTES = "' onfocus=window.stolen=1 x='"
ENTITY = "&lt;b&gt; &amp; {{ 7*7 }} {% x %}"
CLOSING = "</title></svg></style></script><!--"
NAMES = (SCRIPT, IMAGE, QUOTES, ENTITY, CLOSING, "http://evil.example/x.js")
TURNED = "\u202egnp.exe\x1b[31m\n\x00"


def hostile_page() -> str:
    """Draw a page on which every value is an attack."""
    stories, rows, findings = [], [], []
    for number, name in enumerate(NAMES, start=1):
        row = tenure(
            number,
            worker_id=name,
            worker_instance_id=name,
            lane_id=name,
            ended_by=TenureEnd.OPERATOR,
            refusals=1,
        )
        refused = refusal(row, START_MS + 70_000, operation=name)
        actors = {row.lease_id: name + TURNED}
        stories.append(story(row, refusals=(refused,), actors=actors))
        rows.append(row)
        findings.append(finding(AuditCheck.REFUSED_WRITE, row, name + TURNED))
    made = report(*findings, tenures=tuple(rows), redacted_from=(SCRIPT,))
    gathered = Gathered(tuple(stories), Totals(len(rows), len(rows)))
    return render(made, gathered, title=IMAGE + TURNED)


def write_hostile_page(folder: Path) -> Path:
    """Make a store whose lanes, workers and operators have these names; its page."""
    now_ms = START_MS

    def clock() -> int:
        return now_ms

    page = folder / "hostile.html"
    with leasehold.open("sqlite://", clock=clock) as ledger:
        for name in NAMES:
            execution_id = ledger.create_execution(lane_id=name)
            handle = ledger.claim(name, worker_id=name, worker_instance_id=name)
            now_ms += 9_000
            ledger.renew(handle)
            ledger.revoke_lease(execution_id, actor=name + "\u202e", reason=name)
            with pytest.raises(leasehold.LeaseRevokedError):
                ledger.complete(handle)
        write_report(ledger.read, ledger.audit(), page, title=SCRIPT)
    return page
