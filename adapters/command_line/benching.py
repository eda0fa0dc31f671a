"""Measure a ledger on the disk of whoever asks."""

from pathlib import Path
from typing import Annotated, Final

import typer

import leasehold
from leasehold.adapters.benching.bench import EXECUTIONS_LEAST, BenchReport, bench
from leasehold.adapters.benching.measuring import ROUNDS_LEAST, Figure
from leasehold.adapters.benching.places import place_of
from leasehold.adapters.benching.rows import BenchOrder, Part, PartReport
from leasehold.adapters.command_line import (
    bench_options,
    options,
    output,
    soaking,
    tables,
)
from leasehold.adapters.command_line.live_line import live_line

FOUND: Final = 1
"""The exit status where something came out that must not be."""

_WORKERS_MAX: Final = 64
_DIGITS: Final = ((100, 0), (10, 1), (0, 2))
"""From which size on a value is shown with how many digits behind the point."""


def build() -> typer.Typer:
    """Make the command, with `soak` below it."""
    group = typer.Typer(invoke_without_command=True)
    group.callback()(run_bench)
    group.command("soak")(soaking.run_soak)
    return group


def run_bench(  # noqa: PLR0913 - one for each option
    context: typer.Context,
    *,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, max=1_000, help="Of each part.")
    ] = ROUNDS_LEAST,
    executions: Annotated[
        int,
        typer.Option("--executions", min=1, max=1_000_000, help="In a round, about."),
    ] = 600,
    workers: Annotated[
        str, typer.Option("--workers", metavar="N,N,…", help="Processes side by side.")
    ] = "1,4,16",
    only: Annotated[
        list[Part] | None,
        typer.Option("--only", help="This part; may be given several times."),
    ] = None,
    folder: bench_options.FolderOption = Path(),
    store: bench_options.StoreOption = None,
    durability: bench_options.DurabilityOption = bench_options.Durability.FULL,
    as_json: options.JsonOption = False,
) -> None:
    """Measure a ledger on this disk: its calls, processes side by side, replays, kills.

    In stores of its own, which are removed. Ends with 1 if an execution ended twice or
    two workers held a lease at once, or anything else came out that must not be.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    order = BenchOrder(rounds, executions, _counts(workers), durability.value)
    with place_of(folder, store) as place, live_line() as show:
        report = bench(place, order, only or (), show)
    _show(report, as_json=as_json)
    if not report.ok:
        raise typer.Exit(FOUND)


def _refuse_options(context: typer.Context) -> None:
    """Refuse what is given to the command and would be lost to the one below it."""
    given = [
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) is not None
        # By name: typer may carry a click of its own, with a class of its own.
        and source.name == "COMMANDLINE"
    ]
    if given:
        below = context.invoked_subcommand
        message = f"options of `bench {below}` stand behind `{below}`"
        raise leasehold.InvalidInputError(message)


def _counts(text: str) -> tuple[int, ...]:
    counts = [part.strip() for part in text.split(",")]
    if not all(
        part.isascii() and part.isdigit() and 1 <= int(part) <= _WORKERS_MAX
        for part in counts
    ):
        message = (
            f"--workers takes numbers from 1 to {_WORKERS_MAX} with commas between "
            f"them; got {text!r}"
        )
        raise leasehold.InvalidInputError(message)
    return tuple(dict.fromkeys(int(part) for part in counts))


def _show(report: BenchReport, *, as_json: bool) -> None:
    if as_json:
        output.print_json(_document(report))
        return
    output.print_fields(report.circumstances, title="where", whole=True)
    for part, found in report.parts.items():
        output.print_line("")
        _show_part(part, found)
    output.print_line("")
    order = report.order
    output.print_line(
        f"medians of {output.count_text(order.rounds, 'round')}, with the least and "
        "the greatest"
    )
    if not report.is_measured:
        output.print_line(
            f"these figures mean nothing: that takes {ROUNDS_LEAST} rounds or more, of "
            f"{EXECUTIONS_LEAST} executions or more",
            style="bold yellow",
        )
    verdict = "nothing came out that must not be" if report.ok else "something is wrong"
    output.print_line(verdict, style="green" if report.ok else "bold red")


def _document(report: BenchReport) -> dict[str, object]:
    order = report.order
    return {
        "ok": report.ok,
        "is_measured": report.is_measured,
        "circumstances": report.circumstances,
        "rounds": order.rounds,
        "executions": order.executions,
        "workers": order.workers,
        "parts": {
            part.value: {
                "rows": [row.document() for row in found.rows],
                "wrong": found.wrong,
                "texts": found.texts,
            }
            for part, found in report.parts.items()
        },
    }


def _show_part(part: Part, found: PartReport) -> None:
    names = list(dict.fromkeys(name for row in found.rows for name in row.figures))
    tables.print_table(
        (part.value, *(name.replace("_", " ") for name in names)),
        [
            (row.name, *(_text(row.figures.get(name)) for name in names))
            for row in found.rows
        ],
    )
    if found.wrong:
        counts = ", ".join(f"{kind} {count}" for kind, count in found.wrong.items())
        wrong = any(found.wrong.values())
        output.print_line(
            f"what must not be: {counts}", style="bold red" if wrong else None
        )
    for text in found.texts:
        output.print_line(text, style="bold red")


def _text(figure: Figure | None) -> str | None:
    if figure is None:
        return None
    if figure.least == figure.most:
        return _number(figure.median)
    spread = f"{_number(figure.least)}–{_number(figure.most)}"
    return f"{_number(figure.median)} ({spread})"


def _number(value: float) -> str:
    if float(value).is_integer():
        return f"{value:,.0f}"
    digits = next(digits for least, digits in _DIGITS if value >= least)
    return f"{value:,.{digits}f}"
