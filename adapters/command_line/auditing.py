"""Audit a ledger: who held what, when, and what was wrong with it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Annotated, Final

import typer

import leasehold
from leasehold.adapters.command_line import (
    moments,
    options,
    output,
    progressing,
    store_urls,
    tables,
)
from leasehold.domain.figures import HolderFigures

FOUND: Final = 1
"""The exit status where there are errors; warnings alone end with 0."""

_STYLES: Final = {
    leasehold.Severity.ERROR: "red",
    leasehold.Severity.WARNING: "yellow",
}
_PERCENTILE: Final = "95 %"


def audit(  # noqa: PLR0913 - one for each option
    *,
    context: typer.Context,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only what happened then or later (2025-01-01T09:00:40Z, @ and ms).",
        ),
    ] = None,
    no_rows: Annotated[
        bool,
        typer.Option("--no-rows", help="Do not hold the rows against their replay."),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Write it as a page, with a picture."
        ),
    ] = None,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Audit all leases from the events: who held what, and what was wrong with it.

    Ends with 1 where there are errors, and names each finding. Warnings alone are fine.
    """
    since_ms = None if since is None else moments.parse_time(since)
    if html is not None:
        _page().check_target(html)
    with (
        options.reading(context, store) as read,
        progressing.meter("auditing") as meter,
    ):
        report = read.audit(since_ms, not no_rows, progress=meter)
        if html is not None:
            title = f"Lease audit of {store_urls.shown(store)}"
            _page().write_report(read, report, html, title=title)
    if as_json:
        output.print_json({"ok": report.ok, **output.columns_of(report)})
    else:
        print_report(report)
    if not report.ok:
        raise typer.Exit(FOUND)


def _page() -> ModuleType:
    # What it needs takes longer to import than most commands take.
    from leasehold.adapters.report import page  # noqa: PLC0415

    return page


def print_report(report: leasehold.AuditReport) -> None:
    """Print the figures, the findings, and the verdict at the end."""
    scope = "" if report.since_ms is None else f", since {_time(report.since_ms)}"
    tables.print_table(
        ("figure", "value"),
        _figures(report.figures),
        title=f"leases as of {_time(report.at_ms)}{scope}",
    )
    _print_holders("by lane", report.figures.by_lane)
    _print_holders("by worker", report.figures.by_worker)
    for finding in report.findings:
        output.print_line(_line(finding), style=_STYLES[finding.severity])
    _print_counts(report)


def _time(at_ms: int) -> str:
    return output.time_text(at_ms)


def _figures(figures: leasehold.AuditFigures) -> Iterable[tuple[str, object]]:
    yield "events", figures.events
    yield "executions", figures.executions
    yield "tenures", figures.tenures
    yield "renewals", figures.renewals
    yield "refusals", figures.refusals
    yield "reclaims", figures.reclaims
    yield "false reclaims", figures.false_reclaims
    spread = figures.time_to_reclaim_ms
    yield "time to reclaim, mean", _seconds(spread.mean)
    yield f"time to reclaim, {_PERCENTILE}", _seconds(spread.p95)
    yield "time to reclaim, max", _seconds(spread.max)
    yield "orphaned", _seconds(figures.orphaned_ms)
    yield "orphans now", figures.orphans_now
    attempts = figures.attempts_per_execution
    mean = None if attempts.mean is None else f"{attempts.mean:.2f}"
    yield "attempts per execution, mean", mean
    yield f"attempts per execution, {_PERCENTILE}", attempts.p95
    yield "attempts per execution, max", attempts.max
    yield "longest tenure", _seconds(figures.longest_tenure_ms)


def _seconds(duration_ms: float | None) -> str | None:
    return None if duration_ms is None else f"{duration_ms / 1000:.3f} s"


def _print_holders(title: str, holders: Mapping[str, HolderFigures]) -> None:
    if not holders:
        return
    names = list(asdict(HolderFigures()))
    rows = [
        (
            holder,
            *(
                _seconds(value) if name.endswith("_ms") else value
                for name, value in asdict(figures).items()
            ),
        )
        for holder, figures in holders.items()
    ]
    shown = [name.removesuffix("_ms") for name in names]
    tables.print_table(
        (title.removeprefix("by "), *shown),
        rows,
        title=title,
        dispensable=("renewals", "held", "expiries", "false_reclaims"),
    )


def _line(finding: leasehold.AuditFinding) -> str:
    of = "" if finding.execution_id is None else f" execution {finding.execution_id}"
    at = "" if finding.position is None else f" position {finding.position}"
    return f"{finding.severity} {finding.check}:{of}{at}: {finding.text}"


def _print_counts(report: leasehold.AuditReport) -> None:
    totals = dict.fromkeys(leasehold.Severity, 0)
    for check, count in report.counts.items():
        totals[check.severity] += count
    for severity, count in totals.items():
        shown = sum(it.severity is severity for it in report.findings)
        if count > shown:
            more = output.count_text(count - shown, severity)
            output.print_line(f"… and {more} more", style=_STYLES[severity])
    for sha256 in report.redacted_from:
        output.print_line(
            "redacted: taken in without payloads, frames and texts; the original "
            f"bundle has the digest {sha256}"
        )
    verdict = ", ".join(
        output.count_text(count, severity) if count else f"no {severity}"
        for severity, count in totals.items()
    )
    rows = "" if report.rows else ", rows not compared"
    output.print_line(
        f"{verdict}: {output.count_text(report.figures.events, 'event')} of "
        f"{output.count_text(report.figures.executions, 'execution')}, "
        f"{output.count_text(report.figures.tenures, 'tenure')}{rows}",
        style="green" if report.ok else "bold red",
    )
