"""Wear a ledger out for a while, and say what came of it."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from leasehold.adapters.benching.measuring import circumstances
from leasehold.adapters.benching.places import Place, place_of
from leasehold.adapters.benching.soak import SoakOrder, SoakReport, Standing, soak
from leasehold.adapters.command_line import (
    bench_options,
    options,
    output,
    progressing,
    store_facts,
    store_urls,
    tables,
)
from leasehold.adapters.command_line.live_line import live_line

FOUND: Final = 1
"""The exit status where something came out that must not be."""

_STORE: Final = "soak"
_FAILING: Final = 0.03
_SEEDS: Final = 1_000_000
_SIZES: Final = ("file_bytes", "wal_bytes", "log_bytes", "tables_bytes")


def run_soak(  # noqa: PLR0913 - one for each option
    *,
    minutes: Annotated[
        float, typer.Option("--minutes", help="How long the faults go on.")
    ] = 1.0,
    workers: Annotated[
        int, typer.Option("--workers", min=2, max=64, help="Worker processes.")
    ] = 6,
    rate: Annotated[
        float, typer.Option("--rate", help="Executions submitted in a second.")
    ] = 25.0,
    fault_every: Annotated[
        float, typer.Option("--fault-every", help="Seconds between faults, the mean.")
    ] = 2.0,
    lease_ttl_ms: Annotated[
        int, typer.Option("--lease-ttl-ms", min=100, max=60_000, help="Of the leases.")
    ] = 2_000,
    work_ms: Annotated[
        int,
        typer.Option("--work-ms", min=0, max=60_000, help="An execution's, the mean."),
    ] = 100,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Draws the same faults again; else another one."),
    ] = None,
    folder: bench_options.FolderOption = Path(),
    store: bench_options.StoreOption = None,
    durability: bench_options.DurabilityOption = bench_options.Durability.FULL,
    as_json: options.JsonOption = False,
) -> None:
    """Work while workers crash, stall and come back; then verify and audit.

    Ends with 1 if anything came out that must not be; then the store stays.
    """
    order = SoakOrder(
        seconds=60 * bench_options.check_more_than_nothing("--minutes", minutes),
        workers=workers,
        rate=bench_options.check_more_than_nothing("--rate", rate),
        fault_every_s=bench_options.check_more_than_nothing(
            "--fault-every", fault_every
        ),
        lease_ttl_ms=lease_ttl_ms,
        work_ms=work_ms,
        failing=_FAILING,
        durability=durability.value,
        seed=secrets.randbelow(_SEEDS) if seed is None else seed,
    )
    with place_of(folder, store) as place:
        with live_line() as show:
            report = soak(
                place.url_of(_STORE),
                order,
                lambda standing: show(_line(standing, order)),
                progressing.meter,
            )
        place.is_kept = not report.verdict.ok
        _show(report, order, place, as_json=as_json)
    if not report.verdict.ok:
        raise typer.Exit(FOUND)


def _line(standing: Standing, order: SoakOrder) -> str:
    faults = ", ".join(f"{name} {count}" for name, count in standing.faults.items())
    return (
        f"{standing.seconds:.0f} of {order.seconds:.0f} s: {standing.created} created, "
        f"{standing.open} open, {standing.ended} ended; {faults or 'no fault yet'}; "
        f"{standing.refused} refused; wrong {standing.wrong}"
    )


def _show(report: SoakReport, order: SoakOrder, place: Place, *, as_json: bool) -> None:
    kept = store_urls.shown(place.url_of(_STORE)) if place.is_kept else None
    if as_json:
        output.print_json(
            {
                "ok": report.verdict.ok,
                "circumstances": _circumstances(report),
                "order": asdict(order),
                **_figures(report),
                "quarters": [asdict(quarter) for quarter in report.quarters],
                "wrong": report.verdict.wrong,
                "texts": report.verdict.texts,
                "kept": kept,
            }
        )
        return
    output.print_fields(_circumstances(report), title="where", whole=True)
    output.print_fields(_of_order(order), title="what", whole=True)
    for title, figures in _figures(report).items():
        output.print_fields(store_facts.in_words(figures), title=title, whole=True)
    tables.print_table(
        ("quarter", "ended/s", "claims", "claim p50 ms", "claim p95 ms"),
        [
            (
                number,
                round(quarter.ended_per_s, 1),
                quarter.claims,
                _rounded(quarter.claim_p50_ms),
                _rounded(quarter.claim_p95_ms),
            )
            for number, quarter in enumerate(report.quarters, start=1)
        ],
        title="the time in four parts",
    )
    output.print_fields(report.verdict.wrong, title="what must not be")
    for text in report.verdict.texts:
        output.print_line(text, style="bold red")
    if kept is not None:
        output.print_line(f"the store stays: {kept}", style="bold")
    verdict = "all is as it should be" if report.verdict.ok else "something is wrong"
    output.print_line(verdict, style="green" if report.verdict.ok else "bold red")


def _circumstances(report: SoakReport) -> Mapping[str, str]:
    facts = report.store
    return {
        **circumstances(),
        "store": f"{facts['backend']} {facts['backend_version']}",
        "durability": str(facts["durability"]),
    }


def _of_order(order: SoakOrder) -> Mapping[str, object]:
    return {
        "minutes": round(order.seconds / 60, 3),
        "workers": f"{order.workers} processes, leases of {order.lease_ttl_ms} ms",
        "submitted": (
            f"{order.rate:g} a second at most, {order.work_ms} ms of work each"
        ),
        "faults": f"one every {order.fault_every_s:g} s, seed {order.seed}",
    }


def _figures(report: SoakReport) -> Mapping[str, Mapping[str, Any]]:
    witness, audited = report.witness, report.verdict.audit.figures
    reclaim = audited.time_to_reclaim_ms
    return {
        "executions": {
            "in_the_log": report.verdict.executions,
            "creations_repeated": witness.repeated,
            "events": audited.events,
            **{name: report.store[name] for name in _SIZES if name in report.store},
            "drained_s": round(report.drained_s, 1),
        },
        "faults": {
            "processes_started": report.processes,
            "workers_killed": report.faults.get("killed", 0),
            "workers_stalled": report.faults.get("stalled", 0),
            "submitters_killed": report.faults.get("submitter", 0),
        },
        "leases": {
            "tenures": audited.tenures,
            "renewals": audited.renewals,
            "taken_over": audited.reclaims,
            "ms_from_expiry_to_take_over_mean": _rounded(reclaim.mean),
            "ms_from_expiry_to_take_over_p95": reclaim.p95,
            "ms_from_expiry_to_take_over_max": reclaim.max,
            "writes_accepted": sum(witness.accepted.values()),
            "writes_sent_too_late": witness.late,
            "writes_refused": sum(witness.refused.values()),
            **{f"refused_{code}": count for code, count in witness.refused.items()},
            **{f"made_again_{code}": n for code, n in witness.troubles.items()},
        },
        "judged": {
            "events_verified": report.verdict.verify.events,
            "rows_verified": report.verdict.verify.rows,
            "events_audited": audited.events,
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
