"""Say why a column has its value, and what differs between two positions."""

from typing import Annotated, Final

import typer

import leasehold
from leasehold.adapters.command_line import (
    differences,
    moments,
    options,
    output,
    wording,
)
from leasehold.adapters.differing import COLUMNS, EXEC_CORE

_OF_ATTEMPT: Final = ("attempt", "summary")


def why(
    *,
    execution: options.ExecutionArgument,
    column: Annotated[
        str,
        typer.Argument(
            metavar="COLUMN",
            help="A column of exec_core; with --attempt, of attempt or summary.",
        ),
    ],
    attempt: Annotated[
        int | None,
        typer.Option("--attempt", metavar="N", help="Of this attempt.", min=0),
    ] = None,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Name the event that last gave a column another value."""
    execution_id = options.parse_execution_id(execution)
    _check_column(column, attempt)
    with options.open_to_read(store) as ledger:
        record = ledger.why(execution_id, column, attempt)
        if record is None:
            message = (
                f"execution {execution_id} has no row with {column} for attempt "
                f"{attempt}"
            )
            raise leasehold.NotFoundError(message)
        before, after = (
            _row_at(ledger, position, record, column, attempt)
            for position in (record.position - 1, record.position)
        )
        holders = wording.Holders()
        for known in ledger.read.history(execution_id):
            if known.position <= record.position:
                holders.who(known.event)
    told = {
        "execution_id": execution_id,
        "attempt_index": attempt,
        "column": column,
        "before": None if before is None else before[column],
        "after": None if after is None else after[column],
        "event": record,
    }
    if as_json:
        output.print_json(told)
        return
    value = differences.value_text(column, told["after"])
    if before is None:
        text = f"{column} is {value} since the row was made"
    else:
        earlier = differences.value_text(column, told["before"])
        text = f"{column} went from {earlier} to {value}"
    _print_event(text, record, holders)


def _check_column(column: str, attempt: int | None) -> None:
    """Refuse a column that the other form of the command has.

    Raises:
        InvalidInputError: It says what to type.
    """
    of_execution = column in COLUMNS[EXEC_CORE]
    of_attempt = any(column in COLUMNS[table] for table in _OF_ATTEMPT)
    if attempt is None and of_attempt and not of_execution:
        message = f"{column} is a column of an attempt: say of which with --attempt N"
        raise leasehold.InvalidInputError(message)
    if attempt is not None and of_execution and not of_attempt:
        message = f"{column} is a column of the execution: leave --attempt out"
        raise leasehold.InvalidInputError(message)


def _row_at(
    ledger: leasehold.Ledger,
    position: int,
    record: leasehold.RecordedEvent,
    column: str,
    attempt: int | None,
) -> dict[str, object] | None:
    """Return the row that has a column, as it was; None before it was made."""
    execution_id = record.event.execution_id
    with ledger.as_of(position) as read:
        rows: tuple[object, ...]
        if attempt is None:
            rows = (read.execution(execution_id),)
        else:
            rows = (
                read.attempt(execution_id, attempt),
                read.summary(execution_id, attempt),
            )
        known = [output.columns_of(row) for row in rows if row is not None]
    return next((row for row in known if column in row), None)


def _print_event(
    text: str, record: leasehold.RecordedEvent, holders: wording.Holders
) -> None:
    epoch, who, what = wording.story_of(record, holders)
    output.print_fields(
        {
            "what": what,
            "who": who,
            "epoch": epoch,
            "at": output.time_text(record.recorded_at_ms),
            "topic": record.topic,
            "position": record.position,
            "stream": record.stream_id,
            "version": record.version,
        },
        title=text,
        whole=True,
    )


def diff(
    *,
    before: Annotated[
        str, typer.Argument(metavar="A", help="A position; 0 is before all events.")
    ],
    after: Annotated[
        str, typer.Argument(metavar="B", help="Another one, or now for the last.")
    ],
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Show the rows that differ between two positions, column by column.

    + is a row that B has and A has not, - one that only A has, ~ one that changed.
    With --json: one JSON document a line, for each row.
    """
    with options.open_to_read(store) as ledger:
        places = [moments.parse_position(text, ledger) for text in (before, after)]
        rows = ledger.diff(*places)
    if as_json:
        differences.print_as_json(rows)
        return
    differences.print_differences(rows)
    if not rows:
        output.note(f"no row differs between {places[0]} and {places[1]}")
