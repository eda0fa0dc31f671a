"""Lay out rows that differ: what is new, gone or changed, column by column."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.cells import cell_len

import leasehold
from leasehold.adapters.command_line import output

_TIMES: Final = frozenset({"ts_ms", "first_applied_ms", "last_updated_ms"})
_MARKS: Final = {"+": "green", "-": "red", "~": "yellow"}
_COLUMN_INDENT: Final = 6
_ROOM_LEAST: Final = 20


def value_text(column: str, value: object) -> str:
    """Write the value of a column for people: times as times, JSON as JSON."""
    if isinstance(value, Mapping):
        value = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and (column.endswith("_at_ms") or column in _TIMES)
    ):
        return output.time_text(value)
    if value in {"", b""}:
        return '""'
    return output.cell_text(value)


def print_differences(rows: Iterable[leasehold.RowDifference]) -> None:
    """Print rows, those of one execution under its id."""
    shown = None
    for row in rows:
        execution_id = _execution_of(row)
        if execution_id != shown:
            output.print_line(f"execution {execution_id}", style="bold")
            shown = execution_id
        _print_row(row)


def _execution_of(row: leasehold.RowDifference) -> str:
    there = row.after or row.before or {}
    return str(row.key.get("execution_id", there.get("execution_id")))


def _print_row(row: leasehold.RowDifference) -> None:
    mark = "+" if row.before is None else "-" if row.after is None else "~"
    key = " ".join(
        f"{name}={output.cell_text(value)}"
        for name, value in row.key.items()
        if name != "execution_id"
    )
    output.print_line(f"  {mark} {row.table} {key}".rstrip(), style=_MARKS[mark])
    changed = {
        column: values
        for column, values in row.columns.items()
        if column not in row.key
        and column != "execution_id"
        and any(value is not None for value in values)
    }
    width = max(map(len, changed), default=0)
    for column, (before, after) in changed.items():
        head = f"{' ' * _COLUMN_INDENT}{column.ljust(width)}  "
        if mark == "~":
            _print_change(head, value_text(column, before), value_text(column, after))
        else:
            value = after if mark == "+" else before
            output.print_line(f"{head}{value_text(column, value)}")


def _print_change(head: str, before: str, after: str) -> None:
    line = f"{head}{before} → {after}"
    target = output.console()
    if not target.is_terminal or cell_len(line) <= target.width:
        output.print_line(line)
        return
    room = max(target.width - cell_len(head), _ROOM_LEAST)
    output.print_line(f"{head}{output.cut(before, room)}")
    output.print_line(f"{' ' * (cell_len(head) - 2)}→ {output.cut(after, room)}")


def print_as_json(rows: Iterable[leasehold.RowDifference]) -> None:
    """Print each row as one JSON document a line."""
    for row in rows:
        output.print_json(plain(row))


def plain(row: leasehold.RowDifference) -> dict[str, Any]:
    """Return a row that differs as a JSON object, with what differs by column."""
    return {
        "table": row.table,
        "key": row.key,
        "columns": {
            column: {"before": before, "after": after}
            for column, (before, after) in row.columns.items()
        },
        "before": row.before,
        "after": row.after,
    }
