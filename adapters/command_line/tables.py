"""Lay rows out: in columns, each as a line in a pipe and as a table on a terminal."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from leasehold.adapters.command_line.output import cell_text, console, print_line

_GAP: Final = 2
_TABLE_GAP: Final = 3
"""What a table with `SIMPLE_HEAD` has between two columns."""
_INDENT: Final = 4
_ROOM_LEAST: Final = 24
"""Less than this is too narrow a column to read sentences in."""

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
        for line in aligned([list(columns), *cells]):
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


def is_room_beside(head: str) -> bool:
    """Say whether a terminal leaves enough beside a head for sentences."""
    return console().width - cell_len(head) >= _ROOM_LEAST


def print_hanging(head: str, text: str, *, style: str | None = None) -> None:
    """Print a text beside what it begins with: on a terminal as a column, wrapped.

    Args:
        head: What stands before the text, escaped.
        text: The text, escaped, of any length.
        style: How the text is shown on a terminal.
    """
    target = console()
    if not target.is_terminal:
        print_line(f"{head}{text}")
        return
    indent = cell_len(head)
    if not is_room_beside(head):
        target.print(Text(head.rstrip()), soft_wrap=True)
        head, indent = " " * _INDENT, _INDENT
    room = max(target.width - indent, 1)
    for line in Text(text, style=style or "").wrap(target, room, overflow="fold"):
        target.print(Text.assemble(head, line), soft_wrap=True)
        head = " " * indent


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


def aligned(cells: Cells) -> list[str]:
    """Return the rows as lines, every column as wide as its widest cell."""
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
