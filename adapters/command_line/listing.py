"""Show what the tables hold: the executions, and one of them whole."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

import typer

import leasehold
from leasehold.adapters.command_line import options, output, tables

_PAGE: Final = 1000
_LIST_COLUMNS: Final = (
    "execution_id",
    "namespace",
    "lane_id",
    "state",
    "attempt",
    "priority",
    "reclaims",
    "created_at",
)


def list_executions(  # noqa: PLR0913 - one for each option
    *,
    context: typer.Context,
    lane: Annotated[
        str | None, typer.Option("--lane", help="Only those of this lane.")
    ] = None,
    state: Annotated[
        leasehold.PublicState | None,
        typer.Option("--state", help="Only those in this public state."),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", help="Only those of this namespace.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", help="At most so many.", min=1, max=1_000_000)
    ] = 100,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="ID", help="Go on after this execution."),
    ] = None,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """List the executions, in the order of their ids."""
    after_id = None if after is None else options.parse_execution_id(after)
    with options.reading(context, store) as read:
        rows = read.executions(
            lane_id=lane,
            public_state=state,
            namespace=namespace,
            limit=limit,
            after=after_id,
        )
    if as_json:
        output.print_json(rows)
        return
    print_executions(rows)
    if len(rows) == limit:
        output.note(f"{limit} shown; for more: --after {rows[-1].execution_id}")


def print_executions(rows: Iterable[leasehold.ExecutionRow]) -> None:
    """Print a table of executions."""
    rows = list(rows)
    tables.print_table(
        _LIST_COLUMNS,
        [
            (
                row.execution_id,
                row.namespace,
                row.lane_id,
                row.public_state,
                row.attempt_index,
                row.priority,
                row.lease_reclaim_count,
                output.time_text(row.created_at_ms),
            )
            for row in rows
        ],
        styles=[output.STATE_STYLES.get(row.public_state) for row in rows],
        dispensable=("namespace", "reclaims", "created_at", "priority", "attempt"),
    )


def show(
    *,
    context: typer.Context,
    execution: options.ExecutionArgument,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Show one execution: its row, its attempts, its leases, its summaries."""
    with options.reading(context, store) as read:
        row = options.find_execution(read, execution)
        attempts = read.attempts(row.execution_id)
        lease_events = read_lease_events(read, row.execution_id)
        summaries = [
            summary
            for attempt in attempts
            if (summary := read.summary(row.execution_id, attempt.attempt_index))
        ]
    if as_json:
        output.print_json(
            {
                "execution": row,
                "attempts": attempts,
                "lease_events": lease_events,
                "summaries": summaries,
            }
        )
        return
    _print_execution(row)
    _print_attempts(attempts)
    _print_lease_events(lease_events)
    for summary in summaries:
        output.print_line(
            f"summary of attempt {summary.attempt_index}, version {summary.version}",
            style="bold",
        )
        output.print_line(f"  {summary.document_json}")


def read_lease_events(
    read: leasehold.Reader, execution_id: UUID
) -> list[leasehold.LeaseEventRow]:
    """Read every lease event of an execution, page by page."""
    rows: list[leasehold.LeaseEventRow] = []
    while True:
        page = read.lease_events(
            execution_id=execution_id,
            after=rows[-1].event_id if rows else None,
            limit=_PAGE,
        )
        rows.extend(page)
        if len(page) < _PAGE:
            return rows


def _print_execution(row: leasehold.ExecutionRow) -> None:
    shown: dict[str, object] = {}
    for name, value in output.columns_of(row).items():
        if name == "execution_id" or value is None or value == {}:
            continue
        if name.endswith("_at_ms") and isinstance(value, int):
            shown[name.removesuffix("_ms")] = output.time_text(value)
        elif isinstance(value, dict):
            shown |= {f"{name}.{key}": item for key, item in value.items()}
        elif isinstance(value, bytes):
            shown[name] = value
            shown[f"{name}_size"] = output.size_text(len(value))
        else:
            shown[name] = value
    output.print_fields(shown, title=f"execution {row.execution_id}")


def _print_attempts(attempts: Iterable[leasehold.AttemptRow]) -> None:
    tables.print_table(
        ("attempt", "worker", "epoch", "outcome", "started_at", "lasted", "failure"),
        [
            (
                row.attempt_index,
                row.worker_id,
                row.lease_epoch,
                row.outcome,
                output.time_text(row.started_at_ms),
                output.duration_text(_since(row.started_at_ms, row.terminal_at_ms)),
                row.failure_message,
            )
            for row in attempts
        ],
        title="attempts",
        dispensable=("lasted", "started_at"),
    )


def _since(begin_ms: int, end_ms: int | None) -> int | None:
    return None if end_ms is None else end_ms - begin_ms


@dataclass
class _Run:
    """Lease events that say the same, shown as one line."""

    first: leasehold.LeaseEventRow
    last: leasehold.LeaseEventRow
    count: int = 1


def renewals_joined(
    rows: Iterable[leasehold.LeaseEventRow],
) -> list[tuple[leasehold.LeaseEventRow, int]]:
    """Join renewals that follow each other: the last of each run, and how many."""
    runs: list[_Run] = []
    for row in rows:
        before = runs[-1].last if runs else None
        if (
            before is not None
            and row.event_type is leasehold.LeaseEventType.RENEWED
            and before.event_type is leasehold.LeaseEventType.RENEWED
            and before.lease_id == row.lease_id
        ):
            runs[-1].last = row
            runs[-1].count += 1
        else:
            runs.append(_Run(row, row))
    return [(run.last, run.count) for run in runs]


def _print_lease_events(rows: Iterable[leasehold.LeaseEventRow]) -> None:
    tables.print_table(
        ("at", "epoch", "event", "cause", "by", "runs_out"),
        [
            (
                output.time_text(row.occurred_at_ms),
                row.lease_epoch,
                row.event_type if count == 1 else f"{row.event_type} ×{count}",
                row.cause,
                row.actor or row.worker_id,
                output.duration_text(_since(row.occurred_at_ms, row.expires_at_ms)),
            )
            for row, count in renewals_joined(rows)
        ],
        title="leases",
        dispensable=("runs_out", "cause"),
    )
