"""Tell how a ledger and what it runs on are, and what is wrong with them."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

import typer

import leasehold
from leasehold.adapters.command_line import (
    doctor_findings,
    options,
    output,
    store_facts,
    store_urls,
)
from leasehold.adapters.command_line.doctor_findings import Finding

FOUND: Final = 1
"""The exit status where something is wrong."""

_ORPHANS_MAX: Final = 1_000
_PACKAGES: Final = ("leasehold", "eventsourcing", "pydantic")
_DRIVERS: Final = {leasehold.BackendTag.POSTGRES.value: ("psycopg",)}


def doctor(
    *,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Tell how a ledger is: versions, durability, sizes, and what is stuck.

    Ends with 1 where something is wrong, and says what to do next.
    """
    with options.open_to_read(store) as ledger:
        facts = ledger.read.store_facts()
        counts = ledger.read.counts()
        lanes = ledger.read.lanes()
        orphans = ledger.read.expired_leases(_ORPHANS_MAX)
        waiting = ledger.read.waiting()
    at_ms = int(facts["at_ms"])
    findings = [
        *doctor_findings.of_store(facts),
        *doctor_findings.of_orphans(orphans, at_ms),
        *doctor_findings.of_waiting(waiting, orphans, at_ms),
    ]
    url = store_urls.shown(store)
    packages = (*_PACKAGES, *_DRIVERS.get(str(facts["backend"]), ()))
    versions = {package: version(package) for package in packages}
    versions["python"] = platform.python_version()
    warnings = list(store_facts.warnings_about(facts))
    if as_json:
        output.print_json(
            {
                "versions": versions,
                "store": {"url": url, **facts},
                "lanes": lanes,
                "executions": counts,
                "expired_leases": len(orphans),
                "oldest_orphan": orphans[0] if orphans else None,
                "warnings": warnings,
                "ok": not findings,
                "findings": findings,
            }
        )
    else:
        output.print_fields(versions, title="versions")
        told = {"url": url, **store_facts.in_words(facts)}
        output.print_fields(told, title="store", whole=True)
        output.print_fields(
            {
                "lanes": ", ".join(lanes),
                **{str(state): count for state, count in counts.items()},
                "expired leases": _counted(len(orphans)),
                **_oldest(orphans, at_ms),
            },
            title="executions",
            whole=True,
        )
        for warning in warnings:
            output.print_line(f"warning: {warning}", style="bold red")
        _print_findings(findings)
    if findings:
        raise typer.Exit(FOUND)


def _counted(orphans: int) -> str:
    return f"{orphans} or more" if orphans == _ORPHANS_MAX else str(orphans)


def _oldest(orphans: Sequence[leasehold.ExpiredLeaseRow], at_ms: int) -> dict[str, str]:
    if not orphans:
        return {}
    oldest = orphans[0]
    age = doctor_findings.age_text(at_ms - oldest.lease_expires_at_ms)
    worker = doctor_findings.worker_of(oldest)
    return {
        "oldest orphan": f"{age}, execution {oldest.execution_id}, lane "
        f"{oldest.lane_id}, last held by {worker}"
    }


def _print_findings(findings: Sequence[Finding]) -> None:
    if not findings:
        output.print_line("nothing wrong was found", style="green")
    for finding in findings:
        output.print_line(f"{finding.check}: {finding.text}", style="bold red")
        output.print_line(f"  next: {finding.next}")
