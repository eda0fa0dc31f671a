"""What differs between two states of the rows, and which event made it so."""

from collections.abc import Collection, Iterable, Iterator, Mapping
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
from leasehold.projections.tables import (
    DEFAULTS,
    Key,
    TableRow,
    Tables,
    changes_of,
    key_of,
)

Columns = Mapping[str, tuple[Any, Any]]
"""The columns that differ, each with the values of the two sides."""

_MISTAKABLE: Final = frozenset({float, bool})
"""What Python takes to be equal to an int."""

RowId = tuple[str, Key]
"""A table, and the key of a row there."""

EXEC_CORE: Final = "exec_core"
SHOWN_AS: Final = {exec_core.STATE: EXEC_CORE, exec_core.BLOB: EXEC_CORE}
"""By what name people know a table that is a part of another one."""

NO_BLOB: Final[TableRow] = {**DEFAULTS[exec_core.BLOB], "result": None}
"""What people see of an execution that has no row in the table of bytes."""

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    table: tuple(field.name for field in fields(row))
    for table, row in (
        (EXEC_CORE, ExecutionRow),
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

    A row on one side only differs as a whole: no column is named. A column that the
    replay never gave a value is NULL there; one that it did give one, if it is NULL,
    and that the table has not, differs.
    """
    if there is None or wanted is None:
        return None if there is wanted else {}
    if there == wanted and _MISTAKABLE.isdisjoint(map(type, there.values())):
        return None
    columns = {
        column: (value, wanted.get(column))
        for column, value in there.items()
        if value != wanted.get(column) or type(value) is not type(wanted.get(column))
    }
    columns |= {
        column: (None, value) for column, value in wanted.items() if column not in there
    }
    return columns or None


def differing_rows(
    live: Mapping[str, Mapping[Key, TableRow]], replayed: Tables
) -> Iterator[tuple[str, Key, TableRow | None, TableRow | None, Columns]]:
    """Give the rows of an execution that differ from its replay.

    Table, key, the row there is, the row that the replay gives, and the columns that
    differ, as `differing_columns` says.
    """
    for table in KEYS:
        there, wanted = live[table], replayed.rows(table)
        for key, before in there.items():
            after = wanted.get(key)
            columns = differing_columns(before, after)
            if columns is not None:
                yield table, key, before, after, columns
        for key, after in wanted.items():
            if key not in there:
                yield table, key, None, after, {}


def last_changes(
    recorded: Iterable[RecordedEvent], wanted: Mapping[RowId, Collection[str]]
) -> dict[RowId, RecordedEvent]:
    """Return the last event that gave each of some rows another value.

    Args:
        recorded: The events of an execution in log order.
        wanted: For each row the columns that count; none for any.

    Returns:
        The events of those rows that an event made.
    """
    tables = Tables()
    before: dict[RowId, TableRow] = {}
    changed: dict[RowId, RecordedEvent] = {}
    for event in recorded:
        changes = changes_of(event)
        tables.apply(changes, event.position)
        for change in changes:
            row_id = change.table, key_of(change, event.position)
            columns = wanted.get(row_id)
            row = tables.rows(change.table).get(row_id[1])
            if columns is None or row is None:
                continue
            earlier = before.get(row_id)
            if earlier is None or any(
                row.get(column) != earlier.get(column) for column in columns or row
            ):
                changed[row_id] = event
            before[row_id] = dict(row)
    return changed


def last_change_seen(
    recorded: Iterable[RecordedEvent], table: str, key: Key, column: str
) -> RecordedEvent | None:
    """Return the last event that gave a column that people query another value.

    Returns:
        The event that made the row, where the column kept its first value; None where
        no event made the row.
    """
    tables, changed = Tables(), None
    before: Any = None
    for event in recorded:
        tables.project(event)
        row = _row_seen(tables, table, key)
        if row is None:
            continue
        value = row.get(column)
        if changed is None or value != before:
            changed = event
        before = value
    return changed


def core_row(state: TableRow | None, blob: TableRow | None) -> TableRow | None:
    """Return the row of exec_core that is kept as two."""
    if state is None:
        return blob
    return {**state, **NO_BLOB} if blob is None else {**state, **blob}


def _row_seen(tables: Tables, table: str, key: Key) -> TableRow | None:
    if table != EXEC_CORE:
        return tables.rows(table).get(key)
    state = tables.rows(exec_core.STATE).get(key)
    blob = tables.rows(exec_core.BLOB).get(key)
    return None if state is None else core_row(state, blob)


def people_see(tables: Tables, table: str) -> dict[Key, TableRow]:
    """Return the rows of a table that people query, with its columns and no others."""
    kept_as = exec_core.STATE if table == EXEC_CORE else table
    rows = {key: _row_seen(tables, table, key) or {} for key in tables.rows(kept_as)}
    return {
        key: {column: row.get(column) for column in COLUMNS[table]}
        for key, row in rows.items()
    }


def differences_between(before: Tables, after: Tables) -> Iterator[RowDifference]:
    """Give the rows that people query in which two states differ.

    Table by table, in the order of keys.
    """
    for table in COLUMNS:
        earlier, later = people_see(before, table), people_see(after, table)
        key_columns = KEYS.get(table, ("execution_id",))
        for key in sorted({*earlier, *later}):
            if earlier.get(key) != later.get(key):
                named = dict(zip(key_columns, key, strict=True))
                yield RowDifference(table, named, earlier.get(key), later.get(key))
