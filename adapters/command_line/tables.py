"""Lay rows out: in columns, each as a line in a pipe and as a table on a terminal."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from leasehold.adapters.command_line.output import cell_text, console, print_line

_GAP: Final = 2
_TABLE_GAP: Final = 3
"""What a table with `SIMPLE_HEAD` has between two columns."""
_INDENT: Final = 4

Cells = list[list[str]]


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    styles: Sequence[str | None] | None = None,
    dispensable: Sequence[str] = (),
) -> None:
    """Print rows under their column names.

    Args:
        columns: The names.
        rows: As many values each.
        title: A heading.
        styles: One style for each row, used on a terminal only.
        dispensable: Columns to leave out, one after the other, until a terminal is
            wide enough. In a pipe all are there.
    """
    cells = [[cell_text(value) for value in row] for row in rows]
    if title is not None:
        print_line(title, style="bold")
    target = console()
    if not target.is_terminal:
        for line in _aligned([list(columns), *cells]):
            print_line(line)
        return
    shown = _that_fit(columns, cells, dispensable, target.width)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index in shown:
        table.add_column(columns[index], overflow="fold")
    for number, row in enumerate(cells):
        style = None if styles is None else styles[number]
        table.add_row(*(Text(row[index]) for index in shown), style=style)
    target.print(table)


def print_entries(
    columns: Sequence[str], rows: Iterable[Sequence[object]], details: Sequence[str]
) -> None:
    """Print rows, each with a text of any length beside it, or under it.

    Args:
        columns: The names, the last one that of the details.
        rows: The values of the other columns.
        details: One for each row, escaped.
    """
    cells = [[cell_text(value) for value in row] for row in rows]
    target = console()
    if not target.is_terminal:
        whole = [[*row, detail] for row, detail in zip(cells, details, strict=True)]
        for line in _aligned([list(columns), *whole]):
            print_line(line)
        return
    head, *lines = _aligned([list(columns[:-1]), *cells])
    print_line(head, style="bold")
    for line, detail in zip(lines, details, strict=True):
        print_line(line)
        target.print(Padding(Text(detail, style="dim"), (0, 0, 0, _INDENT)))


def _that_fit(
    columns: Sequence[str], cells: Cells, dispensable: Sequence[str], width: int
) -> list[int]:
    widths = _widths([list(columns), *cells])
    shown = list(range(len(columns)))
    for name in dispensable:
        if sum(widths[index] + _TABLE_GAP for index in shown) - _TABLE_GAP <= width:
            break
        shown.remove(columns.index(name))
    return shown


def _aligned(cells: Cells) -> list[str]:
    widths = _widths(cells)
    gap = " " * _GAP
    return [
        gap.join(
            cell + " " * (width - cell_len(cell))
            for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in cells
    ]


def _widths(cells: Cells) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
