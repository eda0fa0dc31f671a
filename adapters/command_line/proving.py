"""Prove a ledger: hold it against itself, note what it is, put its rows right."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

import leasehold
from leasehold.adapters.command_line import (
    differences,
    options,
    output,
    progressing,
)

FOUND: Final = 1
"""The exit status where a check found something."""

_STANDARD_INPUT: Final = "-"
_CHECKPOINTS_BYTES_MAX: Final = 16 * 1024 * 1024


def verify(
    *,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="Hold it against the last line of this file, too; - to read it.",
        ),
    ] = None,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Hold the log against itself, and every row against its replay.

    Ends with 1 where something is wrong, and names each fault.
    """
    options.check_store_is_there(store)
    line = None if checkpoint is None else _last_line(checkpoint)
    with options.open_to_read(store) as ledger, progressing.meter("verifying") as meter:
        report = ledger.verify(line, progress=meter)
    if as_json:
        output.print_json({"ok": report.ok, **output.columns_of(report)})
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(FOUND)


def _last_line(name: str) -> str:
    """Read the last line of a file of checkpoints.

    Raises:
        InvalidInputError: It cannot be read, or has none.
    """
    try:
        if name == _STANDARD_INPUT:
            content = sys.stdin.buffer.read(_CHECKPOINTS_BYTES_MAX)
        else:
            with Path(name).open("rb") as file:
                content = file.read(_CHECKPOINTS_BYTES_MAX)
    except OSError as error:
        message = f"{name} cannot be read: {error.strerror}"
        raise leasehold.InvalidInputError(message) from error
    lines = [line for line in content.splitlines() if line.strip()]
    if not lines:
        message = f"{name} has no line: `leasehold checkpoint` prints one"
        raise leasehold.InvalidInputError(message)
    return lines[-1].decode(errors="backslashreplace")


def _print_report(report: leasehold.VerifyReport) -> None:
    for fault in report.faults:
        output.print_line(f"{fault.kind}: {fault.text}{_shown_at(fault)}", style="red")
    if report.fault_count > len(report.faults):
        output.print_line(f"… and {report.fault_count - len(report.faults)} more")
    for sha256 in report.redacted_from:
        output.print_line(
            f"redacted: taken in without payloads and texts; the original has {sha256}"
        )
    count = report.fault_count
    result = output.count_text(count, "fault") if count else "no fault"
    output.print_line(
        f"{result}: {output.count_text(report.events, 'event')} of "
        f"{output.count_text(report.executions, 'execution')}, "
        f"{output.count_text(report.rows, 'row')}",
        style="green" if report.ok else "bold red",
    )


def _shown_at(fault: leasehold.VerifyFault) -> str:
    if fault.kind is not leasehold.FaultKind.ROW or fault.position is None:
        return ""
    return f" (set by the event at position {fault.position})"


def checkpoint(
    *,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Print a line that tells what the log is now. Keep it elsewhere.

    It is JSON in any case.
    """
    del as_json
    with options.open_to_read(store) as ledger:
        line = ledger.checkpoint()
    output.print_line(line)


def rebuild(
    *,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Work the rows out from the events anew, and put right what differs.

    Writers go on meanwhile. Ends with 1 where rows differed, which are right now.
    With --json: one JSON document a line, for each row.
    """
    with (
        options.open_to_write(store) as ledger,
        progressing.meter("rebuilding") as meter,
    ):
        rows = ledger.rebuild(meter)
    if as_json:
        differences.print_as_json(rows)
    else:
        differences.print_differences(rows)
        output.print_line(_repaired(len(rows)), style="yellow" if rows else "green")
    if rows:
        raise typer.Exit(FOUND)


def _repaired(count: int) -> str:
    if count == 0:
        return "every row is what the events add up to"
    rows = "1 row was" if count == 1 else f"{count} rows were"
    return f"{rows} not what the events add up to, and put right"
