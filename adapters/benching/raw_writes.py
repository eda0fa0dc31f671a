"""What an operation writes, as plain statements: the yardstick of the hot path.

`Recorder` runs the library on a store of its own and notes, by triggers, every row that
each call inserted or changed. `RawStore` then writes the same rows, with the same
columns, into a copy of the store that the recorder began with, so under the same
checks, triggers and indexes: one `BEGIN IMMEDIATE`, one statement a row with values at
hand, one `COMMIT`. It reads nothing and decides nothing.
"""

import sqlite3
from pathlib import Path
from typing import Any, Literal

from leasehold.adapters.sqlite.connecting import Target, set_up

Statement = tuple[str, tuple[Any, ...]]
Transaction = list[Statement]
Row = dict[str, Any]


def _quoted(name: str) -> str:
    """Return an SQL identifier."""
    return f'"{name}"'


class _Table:
    """A table whose changes are noted."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        """Read the columns and install the triggers."""
        self.name = name
        rows = connection.execute(f"PRAGMA table_info({_quoted(name)})").fetchall()
        self.columns = [row[1] for row in rows]
        self.key = [row[1] for row in sorted(rows, key=lambda it: it[5]) if row[5]]
        old = [f"old_{column}" for column in self.columns]
        noted = ", ".join(_quoted(column) for column in [*old, *self.columns])
        connection.execute(
            f"CREATE TABLE noted_{name} (noted_n, noted_operation, {noted})"
        )
        nulls = ["NULL"] * len(self.columns)
        before = [f"OLD.{_quoted(column)}" for column in self.columns]
        after = [f"NEW.{_quoted(column)}" for column in self.columns]
        for operation, values in (
            ("INSERT", [*nulls, *after]),
            ("UPDATE", [*before, *after]),
            ("DELETE", [*before, *nulls]),
        ):
            connection.execute(
                f"CREATE TRIGGER note_{operation}_{name} AFTER {operation}"
                f" ON {_quoted(name)} BEGIN"
                " UPDATE noted_count SET n = n + 1;"
                f" INSERT INTO noted_{name} SELECT n, '{operation}', "
                f"{', '.join(values)} FROM noted_count; END"
            )

    def take(self, connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
        """Return the changes noted since the last time, and forget them."""
        changes = connection.execute(f"SELECT * FROM noted_{self.name}").fetchall()
        connection.execute(f"DELETE FROM noted_{self.name}")
        return changes


class Recorder:
    """Notes which rows each call on a store writes."""

    def __init__(self, path: Path) -> None:
        """Install the notes in the store at `path`, which nobody else may measure."""
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=60)
        self.connection.execute("CREATE TABLE noted_count (n INTEGER)")
        self.connection.execute("INSERT INTO noted_count VALUES (0)")
        names = self.connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
            " AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'noted_%'"
            " AND name NOT LIKE 'leasehold_meta%'"
        ).fetchall()
        self.tables = [_Table(self.connection, name) for (name,) in names]
        self.ends: list[int] = []

    def end_call(self) -> None:
        """Note that a call ended here."""
        (count,) = self.connection.execute("SELECT n FROM noted_count").fetchone()
        self.ends.append(count)

    def take_calls(self) -> list[Transaction]:
        """Return, for each call since the last time, the statements of its rows."""
        changes = []
        for table in self.tables:
            changes += [(it[0], table, it[1:]) for it in table.take(self.connection)]
        changes.sort(key=lambda change: change[0])
        calls, place = [], 0
        for end in self.ends:
            first = place
            while place < len(changes) and changes[place][0] <= end:
                place += 1
            calls.append(_statements(changes[first:place]))
        self.ends = []
        return calls

    def close(self) -> None:
        """Let go of the store."""
        self.connection.close()


def _statements(changes: list[tuple[int, _Table, tuple[Any, ...]]]) -> Transaction:
    """Return one statement a row: how the row was before the call, and how after."""
    rows: dict[tuple[Any, ...], tuple[_Table, str, Row, Row]] = {}
    for _, table, (operation, *values) in changes:
        width = len(table.columns)
        before = dict(zip(table.columns, values[:width], strict=True))
        after = dict(zip(table.columns, values[width:], strict=True))
        known = before if operation == "DELETE" else after
        key = (table.name, *(known[column] for column in table.key))
        if key in rows and operation != "DELETE":
            table, operation, before, _ = rows[key]  # noqa: PLW2901
        rows[key] = (table, operation, before, after)
    return [_statement(*row) for row in rows.values()]


def _statement(table: _Table, operation: str, before: Row, after: Row) -> Statement:
    """Return the statement that makes one row what it became."""
    name = _quoted(table.name)
    where = " AND ".join(f"{_quoted(column)} = ?" for column in table.key)
    if operation == "INSERT":
        columns = ", ".join(_quoted(column) for column in after)
        marks = ", ".join("?" * len(after))
        return f"INSERT INTO {name} ({columns}) VALUES ({marks})", (*after.values(),)
    keys = tuple(before[column] for column in table.key)
    if operation == "DELETE":
        return f"DELETE FROM {name} WHERE {where}", keys
    changed = [column for column in after if after[column] != before[column]]
    assignments = ", ".join(f"{_quoted(column)} = ?" for column in changed or table.key)
    values = tuple(after[column] for column in changed or table.key)
    return f"UPDATE {name} SET {assignments} WHERE {where}", values + keys


class RawStore:
    """Plain `sqlite3` on a copy of the store, set up as the library's connections."""

    def __init__(self, path: Path, durability: Literal["full", "normal"]) -> None:
        """Connect."""
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=60)
        set_up(self.connection, Target(path, durability, read_only=False))

    def write(self, transaction: Transaction) -> None:
        """Write the rows of one call."""
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        for sql, values in transaction:
            execute(sql, values)
        execute("COMMIT")

    def close(self) -> None:
        """Let go of the store."""
        self.connection.close()
