"""What a report says in words and numbers: the verdict, the figures, the findings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from leasehold.adapters.auditing import AuditReport
from leasehold.adapters.report import wording
from leasehold.domain.figures import AuditFigures, HolderFigures, Spread
from leasehold.domain.findings import AuditCheck, AuditFinding, Severity

FINDINGS_SHOWN_MAX: Final = 500
"""How many findings of each severity a page shows."""
HOLDERS_SHOWN_MAX: Final = 50
"""How many lanes and how many workers the tables of figures have."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, in a line.

    Attributes:
        tone: `good`, `warning` or `error`.
        text: The line.
        about: What was audited, in sentences.
    """

    tone: str
    text: str
    about: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its name, and what to know about it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """How often a check found something."""

    name: str
    severity: str
    count: int


@dataclass(frozen=True, slots=True)
class Found:
    """A finding.

    Attributes:
        severity: `error` or `warning`.
        check: Its name in words.
        execution_id: The execution; empty where there is none.
        position: Where in the log; empty where there is none.
        text: The sentence.
    """

    severity: str
    check: str
    execution_id: str
    position: str
    text: str


@dataclass(frozen=True, slots=True)
class Holder:
    """A line of the figures by lane or by worker.

    Attributes:
        name: The lane or the worker.
        cells: The figures, in the order of `HOLDER_COLUMNS`.
        share: Its held time, in percent of the longest of the table.
    """

    name: str
    cells: tuple[str, ...]
    share: float


@dataclass(frozen=True, slots=True)
class HolderTable:
    """The figures by lane or by worker.

    Attributes:
        heading: `Lane` or `Worker`.
        holders: Those with most refusals, expiries and tenures first.
        left_out: How many more there are.
    """

    heading: str
    holders: tuple[Holder, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a page says but the picture."""

    verdict: Verdict
    figures: tuple[Figure, ...]
    tables: tuple[HolderTable, ...]
    checks: tuple[Checked, ...]
    findings: tuple[Found, ...]
    findings_left_out: str


HOLDER_COLUMNS: Final = (
    "Tenures",
    "Renewals",
    "Expiries",
    "Take-overs",
    "False",
    "Refusals",
    "Orphaned",
    "Held",
)


def state(report: AuditReport) -> Facts:
    """Say what an audit found."""
    shown = _shown(report)
    return Facts(
        verdict=_verdict(report),
        figures=_figures(report.figures),
        tables=(
            _table("Lane", report.figures.by_lane),
            _table("Worker", report.figures.by_worker),
        ),
        checks=tuple(
            Checked(in_words(check), check.severity.value, report.counts.get(check, 0))
            for check in AuditCheck
        ),
        findings=shown,
        findings_left_out=_left_out(report, shown),
    )


def in_words(check: AuditCheck) -> str:
    """Write the name of a check for people."""
    return check.value.replace("_", " ")


def _count(report: AuditReport, severity: Severity) -> int:
    return sum(
        count for check, count in report.counts.items() if check.severity is severity
    )


def _verdict(report: AuditReport) -> Verdict:
    errors = _count(report, Severity.ERROR)
    warnings = _count(report, Severity.WARNING)
    beside = f", {wording.counted(warnings, 'warning')}" if warnings else ""
    if errors:
        tone, text = "error", f"{wording.counted(errors, 'error')}{beside}"
    elif warnings:
        tone, text = "warning", f"No error{beside}"
    elif report.figures.tenures:
        tone, text = "good", "No error, no warning"
    else:
        tone, text = "good", "Nothing was ever claimed, and nothing is wrong"
    return Verdict(tone, text, tuple(_about(report)))


def _about(report: AuditReport) -> list[str]:
    figures = report.figures
    events = wording.counted(figures.events, "event")
    executions = wording.counted(figures.executions, "execution")
    at = wording.time_text(report.at_ms)
    told = [f"{events} of {executions} were audited as of {at}."]
    if report.since_ms is not None:
        told.append(
            f"Findings and tenures from before {wording.time_text(report.since_ms)} "
            "were left out."
        )
    told.append(
        "Every projected row was held against its replay."
        if report.rows
        else "Projected rows were not held against their replay."
    )
    told += [
        "Part of it was taken in without payloads and texts; the original bundle has "
        f"the digest {wording.printable(digest)}."
        for digest in report.redacted_from
    ]
    return told


def _figures(figures: AuditFigures) -> tuple[Figure, ...]:
    waiting = figures.time_to_reclaim_ms
    attempts = figures.attempts_per_execution
    return (
        Figure(
            "Tenures",
            wording.number(figures.tenures),
            f"of {wording.counted(figures.executions, 'execution')}",
        ),
        Figure("Renewals", wording.number(figures.renewals), _per(figures)),
        Figure(
            "Take-overs",
            wording.number(figures.reclaims),
            f"{wording.number(figures.false_reclaims)} false: the old holder wrote on",
        ),
        Figure("Refused writes", wording.number(figures.refusals), "recorded refusals"),
        Figure(
            "Time to take over",
            wording.lasting(waiting.mean),
            _spread(waiting),
        ),
        Figure(
            "Orphaned time",
            wording.lasting(figures.orphaned_ms),
            f"{wording.counted(figures.orphans_now, 'execution')} waiting now",
        ),
        Figure(
            "Attempts per execution",
            NONE if attempts.mean is None else f"{attempts.mean:.2f}",
            "" if attempts.max is None else f"95 % {attempts.p95}, most {attempts.max}",
        ),
        Figure("Longest tenure", wording.lasting(figures.longest_tenure_ms)),
    )


NONE: Final = wording.NOTHING


def _per(figures: AuditFigures) -> str:
    if not figures.tenures:
        return ""
    return f"{figures.renewals / figures.tenures:.1f} per tenure"


def _spread(spread: Spread) -> str:
    if not spread.count:
        return "none was taken over"
    longest = wording.lasting(spread.max)
    return f"mean; 95 % within {wording.lasting(spread.p95)}, longest {longest}"


def _table(heading: str, figures: Mapping[str, HolderFigures]) -> HolderTable:
    ranked = sorted(
        figures.items(),
        key=lambda item: (
            -item[1].refusals,
            -item[1].expiries,
            -item[1].tenures,
            item[0],
        ),
    )
    shown = ranked[:HOLDERS_SHOWN_MAX]
    longest = max((one.held_ms for _, one in shown), default=0)
    holders = tuple(
        Holder(
            wording.printable(name),
            (
                wording.number(one.tenures),
                wording.number(one.renewals),
                wording.number(one.expiries),
                wording.number(one.reclaims),
                wording.number(one.false_reclaims),
                wording.number(one.refusals),
                wording.lasting(one.orphaned_ms) if one.orphaned_ms else NONE,
                wording.lasting(one.held_ms),
            ),
            100 * one.held_ms / longest if longest else 0.0,
        )
        for name, one in shown
    )
    return HolderTable(heading, holders, len(ranked) - len(shown))


def _shown(report: AuditReport) -> tuple[Found, ...]:
    """Return the findings to show: errors first, each by position."""
    return tuple(
        _found(finding)
        for severity in (Severity.ERROR, Severity.WARNING)
        for finding in [one for one in report.findings if one.severity is severity][
            :FINDINGS_SHOWN_MAX
        ]
    )


def _found(finding: AuditFinding) -> Found:
    return Found(
        finding.severity.value,
        in_words(finding.check),
        _id_text(finding.execution_id),
        "" if finding.position is None else wording.number(finding.position),
        wording.printable(finding.text),
    )


def _id_text(execution_id: UUID | None) -> str:
    return "" if execution_id is None else str(execution_id)


def _left_out(report: AuditReport, shown: tuple[Found, ...]) -> str:
    """Say how many findings are not shown; nothing where all are."""
    told = []
    for severity in Severity:
        total = _count(report, severity)
        there = sum(1 for found in shown if found.severity == severity.value)
        if there < total:
            told.append(
                f"{wording.number(there)} of {wording.counted(total, severity.value)}"
            )
    return " and ".join(told)
