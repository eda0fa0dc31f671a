"""Whether the triggers that keep the log from being changed are as they were made."""

from collections.abc import Mapping
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import tuple_row

from leasehold.adapters.queries import named_queries, schema_text

_FOUND: Final = named_queries(__package__, "statements")["triggers"]
_KIND: Final[Mapping[str, int]] = {
    "stored_events_are_never_updated": 1 | 2 | 16,
    "stored_events_are_never_deleted": 1 | 2 | 8,
    "stored_events_are_never_truncated": 2 | 32,
}
"""By name the bits of `pg_trigger.tgtype`: for each row 1, before 2, delete 8, update
16, truncate 32."""


def triggers_off(connection: Connection[Any]) -> list[str]:
    """Return the names of those that are missing, disabled, or do something else."""
    cursor = connection.cursor(row_factory=tuple_row)
    rows = cursor.execute(_FOUND.encode()).fetchall()
    body = schema_text(__package__, "kept").split("$$")
    wanted = next(
        text
        for head, text in zip(body[::2], body[1::2], strict=False)
        if "CREATE FUNCTION leasehold_refuse()" in head
    )
    found = {name: (kind, source) for name, kind, source, is_on in rows if is_on}
    return [name for name, kind in _KIND.items() if found.get(name) != (kind, wanted)]
