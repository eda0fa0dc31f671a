"""Whether the triggers that keep the log from being changed are as they were made."""

import sqlite3
from typing import Final

from leasehold.adapters.queries import schema_text, statements

_PACKAGE: Final = __package__
_FOUND: Final = """
SELECT name, sql FROM sqlite_master
WHERE type = 'trigger' AND tbl_name = 'stored_events'
"""


def triggers_off(cursor: sqlite3.Cursor) -> list[str]:
    """Return the names of those that are missing or read otherwise."""
    found = {name: _bare(sql) for name, sql in cursor.execute(_FOUND)}
    return [name for name, sql in _wanted().items() if found.get(name) != sql]


def _wanted() -> dict[str, str]:
    script = schema_text(_PACKAGE, "kept")
    return {
        statement.split(maxsplit=3)[2]: _bare(statement)
        for statement in statements(script, is_complete=sqlite3.complete_statement)
        if statement.startswith("CREATE TRIGGER")
    }


def _bare(sql: str) -> str:
    return " ".join(sql.rstrip("; \n").split())
