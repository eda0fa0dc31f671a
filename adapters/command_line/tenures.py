"""Show who held what, and when: the tenures of a ledger."""

from typing import Annotated, Final

import typer

import leasehold
from leasehold.adapters.command_line import moments, options, output, tables

_COLUMNS: Final = (
    "execution_id",
    "attempt",
    "epoch",
    "worker",
    "acquired_by",
    "acquired_at",
    "held",
    "ended_by",
    "renewals",
    "headroom",
    "orphaned",
    "refusals",
)
_DISPENSABLE: Final = (
    "headroom",
    "renewals",
    "attempt",
    "refusals",
    "acquired_by",
    "orphaned",
    "acquired_at",
    "execution_id",
)
_OF_ONE: Final = (_DISPENSABLE[-1], *_DISPENSABLE[:-1])
_LIVE: Final = "live"


def list_tenures(  # noqa: PLR0913 - one for each option
    *,
    context: typer.Context,
    execution: Annotated[
        str | None,
        typer.Option("--execution", metavar="ID", help="Only those of this execution."),
    ] = None,
    worker: Annotated[
        str | None, typer.Option("--worker", help="Only those of this worker.")
    ] = None,
    lane: Annotated[
        str | None, typer.Option("--lane", help="Only those of this lane.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only what was held then or later (2025-01-01T09:00:40Z, @ and ms).",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", help="At most so many.", min=1, max=1_000_000)
    ] = 1000,
    after: Annotated[
        int | None,
        typer.Option(
            "--after", metavar="POSITION", help="Go on after this acquisition.", min=0
        ),
    ] = None,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """List who held which execution, epoch by epoch, in the order of acquisition."""
    execution_id = None if execution is None else options.parse_execution_id(execution)
    since_ms = None if since is None else moments.parse_time(since)
    with options.reading(context, store) as read:
        rows = read.tenures(
            execution_id=execution_id,
            worker_id=worker,
            lane_id=lane,
            since_ms=since_ms,
            limit=limit,
            after=after,
        )
    if as_json:
        output.print_json(rows)
        return
    tables.print_table(
        _COLUMNS,
        [_cells(row) for row in rows],
        styles=[output.STATE_STYLES.get(row.ended_by or "running") for row in rows],
        # That of one execution stands in the command itself.
        dispensable=_DISPENSABLE if execution is None else _OF_ONE,
    )
    if len(rows) == limit:
        output.note(f"{limit} shown; for more: --after {rows[-1].event_id}")


def _cells(row: leasehold.TenureRow) -> tuple[object, ...]:
    held_ms = None if row.ended_at_ms is None else row.ended_at_ms - row.acquired_at_ms
    return (
        row.execution_id,
        row.attempt_index,
        row.lease_epoch,
        row.worker_id,
        row.acquired_by,
        output.time_text(row.acquired_at_ms),
        output.duration_text(held_ms),
        row.ended_by or _LIVE,
        row.renewals,
        output.duration_text(row.min_headroom_ms),
        output.duration_text(row.orphaned_ms),
        row.refusals,
    )
