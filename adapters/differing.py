"""What differs between two states of the rows, and which event made it so."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from leasehold.adapters.rows import (
    AttemptRow,
    ExecutionRow,
    FrameRow,
    LeaseEventRow,
    SummaryRow,
)
from leasehold.domain.records import RecordedEvent
from leasehold.projections import (
    attempt,
    exec_core,
    lease_event,
    stream_frame,
    summary,
)
from leasehold.projections.registry import KEYS
from leasehold.projections.tables import Key, TableRow, Tables

Columns = Mapping[str, tuple[Any, Any]]
"""The columns that differ, each with the values of the two sides."""

SHOWN_AS: Final = {exec_core.STATE: "exec_core", exec_core.BLOB: "exec_core"}
"""By what name people know a table that is a part of another one."""

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    table: tuple(field.name for field in fields(row))
    for table, row in (
        ("exec_core", ExecutionRow),
        (attempt.TABLE, AttemptRow),
        (summary.TABLE, SummaryRow),
        (lease_event.TABLE, LeaseEventRow),
        (stream_frame.TABLE, FrameRow),
    )
}
"""The columns of the tables that people query; others are the store's own affair."""


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row that differs between two sides.

    Attributes:
        table: Its table.
        key: The columns of its key.
        before: Its columns on the one side; None where it is not there.
        after: Its columns on the other side; None where it is not there.
    """

    table: str
    key: dict[str, Any]
    before: TableRow | None
    after: TableRow | None

    @property
    def columns(self) -> dict[str, tuple[Any, Any]]:
        """The columns that differ, each with the values of both sides."""
        before, after = self.before or {}, self.after or {}
        names = dict.fromkeys((*before, *after))
        return {
            name: (before.get(name), after.get(name))
            for name in names
            if before.get(name) != after.get(name)
        }


def differing_columns(
    there: TableRow | None, wanted: TableRow | None
) -> Columns | None:
    """Return the columns in which two rows differ; None where they are equal.

    A row on one side only differs as a whole: no column is named.
    """
    if there is None or wanted is None:
        return None if there is wanted else {}
    columns = {
        column: (value, wanted.get(column))
        for column, value in there.items()
        if value != wanted.get(column) or type(value) is not type(wanted.get(column))
    }
    return columns or None


def last_change(
    recorded: Sequence[RecordedEvent], table: str, key: Key, columns: Iterable[str] = ()
) -> RecordedEvent | None:
    """Return the last event that gave a row another value in one of some columns.

    Args:
        recorded: The events of an execution in log order.
        table: The table.
        key: The row.
        columns: The columns; none for any.

    Returns:
        None where no event made the row.
    """
    wanted = tuple(columns)
    tables, changed = Tables(), None
    before: TableRow | None = None
    for event in recorded:
        tables.project(event)
        row = tables.rows(table).get(key)
        if row is None:
            continue
        if before is None or any(
            row.get(column) != before.get(column) for column in wanted or row
        ):
            changed = event
        before = dict(row)
    return changed


def people_see(tables: Tables, table: str) -> dict[Key, TableRow]:
    """Return the rows of a table that people query, with its columns and no others."""
    if table != "exec_core":
        rows = tables.rows(table)
    else:
        blobs = tables.rows(exec_core.BLOB)
        rows = {
            key: {**row, **blobs.get(key, {})}
            for key, row in tables.rows(exec_core.STATE).items()
        }
    return {
        key: {column: row.get(column) for column in COLUMNS[table]}
        for key, row in rows.items()
    }


def differences_between(before: Tables, after: Tables) -> Iterator[RowDifference]:
    """Give the rows that people query in which two states differ, table by table."""
    for table in COLUMNS:
        earlier, later = people_see(before, table), people_see(after, table)
        key_columns = KEYS.get(table, ("execution_id",))
        for key in dict.fromkeys((*earlier, *later)):
            if earlier.get(key) != later.get(key):
                named = dict(zip(key_columns, key, strict=True))
                yield RowDifference(table, named, earlier.get(key), later.get(key))
