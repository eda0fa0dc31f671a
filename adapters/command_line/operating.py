"""Change what is stored, in the name of a person: sweep, cancel, revoke, reopen."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

import typer

import leasehold
from leasehold.adapters.command_line import options, output


def sweep(
    *,
    limit: Annotated[
        int,
        typer.Option("--limit", help="At most so many a kind.", min=1, max=1_000_000),
    ] = 1000,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Record what has come due: leases run out, delays over, deadlines passed."""
    with options.open_to_write(store) as ledger:
        report = ledger.sweep(limit=limit)
    if as_json:
        output.print_json(report)
        return
    for name, count in output.columns_of(report).items():
        output.print_line(f"{name.replace('_', ' ')}: {count}")


def cancel(
    *,
    execution: options.ExecutionArgument,
    actor: options.ActorOption,
    reason: options.ReasonOption,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """End an execution, also under a live lease."""
    _operate(
        store,
        execution,
        lambda ledger, execution_id: ledger.cancel_execution(
            execution_id, actor=actor, reason=reason
        ),
        as_json=as_json,
    )


def revoke(
    *,
    execution: options.ExecutionArgument,
    actor: options.ActorOption,
    reason: options.ReasonOption,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Take the live lease of an execution away; the next claim takes it over."""
    _operate(
        store,
        execution,
        lambda ledger, execution_id: ledger.revoke_lease(
            execution_id, actor=actor, reason=reason
        ),
        as_json=as_json,
    )


def reopen(
    *,
    execution: options.ExecutionArgument,
    actor: options.ActorOption,
    reason: options.ReasonOption,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Open an ended execution again, with a new attempt and all its history."""
    _operate(
        store,
        execution,
        lambda ledger, execution_id: ledger.replay_execution(
            execution_id, actor=actor, reason=reason
        ),
        as_json=as_json,
    )


def _operate(
    store: str,
    execution: str,
    operation: Callable[[leasehold.Ledger, UUID], None],
    *,
    as_json: bool,
) -> None:
    execution_id = options.parse_execution_id(execution)
    with options.open_to_write(store) as ledger:
        operation(ledger, execution_id)
        row = options.find_execution(ledger.read, execution)
    if as_json:
        output.print_json(row)
        return
    output.print_line(
        f"execution {row.execution_id} is {row.public_state}, {row.ownership_state}"
    )
