"""Prove a ledger: hold it against itself, note what it is, put its rows right."""

from collections.abc import Iterator
from typing import Annotated, Final

import typer

import leasehold
from leasehold.adapters.command_line import (
    checkpoint_files,
    differences,
    options,
    output,
    progressing,
)

FOUND: Final = 1
"""The exit status where a check found something."""


def verify(
    *,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="Hold it against all lines of this file, too; - to read them.",
        ),
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(
            "--public-key",
            metavar="FILE",
            help="Each of these lines must be signed by this key: Ed25519, in PEM.",
        ),
    ] = None,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Hold the log against itself, and every row against its replay.

    Ends with 1 where something is wrong, and names each fault.
    """
    options.check_store_is_there(store)
    lines = None if checkpoint is None else checkpoint_files.read_lines(checkpoint)
    if public_key is not None and lines is None:
        message = "--public-key checks the lines that --checkpoint names: give both"
        raise leasehold.InvalidInputError(message)
    with options.open_to_read(store) as ledger, progressing.meter("verifying") as meter:
        report = ledger.verify(lines, public_key=public_key, progress=meter)
    if as_json:
        output.print_json({"ok": report.ok, **output.columns_of(report)})
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(FOUND)


def _print_report(report: leasehold.VerifyReport) -> None:
    for fault in report.faults:
        output.print_line(f"{fault.kind}: {fault.text}{_shown_at(fault)}", style="red")
    if report.fault_count > len(report.faults):
        output.print_line(f"… and {report.fault_count - len(report.faults)} more")
    for sha256 in report.redacted_from:
        output.print_line(
            "redacted: taken in without payloads, results, frames and texts, and "
            f"hashed anew; the original bundle has the digest {sha256}; what was left "
            "out cannot be verified here"
        )
    for line in _signatures(report):
        output.print_line(line)
    count = report.fault_count
    result = output.count_text(count, "fault") if count else "no fault"
    told = (
        f"{result}: {output.count_text(report.events, 'event')} of "
        f"{output.count_text(report.executions, 'execution')}, "
        f"{output.count_text(report.rows, 'row')}"
    )
    if report.checkpoints:
        told += f", {output.count_text(report.checkpoints, 'checkpoint')}"
    output.print_line(told, style="green" if report.ok else "bold red")


def _signatures(report: leasehold.VerifyReport) -> Iterator[str]:
    if report.signatures_checked:
        checked = output.count_text(report.signatures_checked, "signature")
        yield f"signed: {checked} checked by the key given"
    if report.signatures_unchecked:
        unchecked = output.count_text(report.signatures_unchecked, "signature")
        yield f"signed: {unchecked} not checked, as no --public-key was given"


def _shown_at(fault: leasehold.VerifyFault) -> str:
    if fault.kind is not leasehold.FaultKind.ROW or fault.position is None:
        return ""
    return f" (set by the event at position {fault.position})"


def checkpoint(
    *,
    sign: Annotated[
        str | None,
        typer.Option(
            "--sign",
            metavar="FILE",
            help="Sign it with this private key: Ed25519, in PEM, not encrypted.",
        ),
    ] = None,
    append: Annotated[
        str | None,
        typer.Option(
            "--append",
            metavar="FILE",
            help="Append it to this file of checkpoints too.",
        ),
    ] = None,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Print a line that tells what the log is now. Keep it elsewhere.

    It is JSON in any case.
    """
    del as_json
    options.check_store_is_there(store)
    if append is not None:
        checkpoint_files.check_can_append(append)
    with options.open_to_read(store) as ledger:
        line = ledger.checkpoint(signing_key=sign)
    if append is not None:
        checkpoint_files.append_line(append, line)
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
