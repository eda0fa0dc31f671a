"""The event recorder of `eventsourcing`, with writers that do not wait for each other.

The package's own recorder locks the table of events from the append to the end of the
transaction, so that positions are committed in their order. Here each transaction tells
by an advisory lock above which position its events will stand, and readers stop at the
lowest such floor (`leasehold_settled_position` in `schema/kept.sql`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder
from psycopg import Cursor
from psycopg.rows import DictRow

from leasehold.adapters.postgres.combining import Single, as_expressions
from leasehold.adapters.postgres.connecting import Datastore
from leasehold.projections.changes import POSITION, Insert

_EVENTS: Final = """
floor AS MATERIALIZED (SELECT leasehold_take_floor() AS taken),
drawn AS MATERIALIZED (
    SELECT nextval('stored_events_notification_id_seq') AS notification_id, e.*
    FROM (
        SELECT u.*
        FROM floor
        CROSS JOIN unnest(%s::text[], %s::bigint[], %s::text[], %b::bytea[])
            WITH ORDINALITY
            AS u (originator_id, originator_version, topic, state, number)
        ORDER BY u.number
    ) AS e
),
appended AS (
    INSERT INTO stored_events
        (notification_id, originator_id, originator_version, topic, state)
    SELECT notification_id, originator_id, originator_version, topic, state
    FROM drawn
)"""
_POSITIONS: Final = "SELECT notification_id FROM drawn ORDER BY number"

Rows = dict[str, list[dict[str, Any]]]


class Recorder(PostgresApplicationRecorder):
    """Insert events, and the rows that go with them, in one statement."""

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore)
        self.sql_create_statements = []

    def append(
        self,
        cursor: Cursor[DictRow],
        stored_events: Sequence[StoredEvent],
        waiting: Mapping[int, Iterable[Insert]],
        changes: list[Single],
    ) -> None:
        """Append events, with the rows that wait for their positions.

        To be called when the transaction holds all its other locks.

        Args:
            cursor: Of the transaction.
            stored_events: In the order of their positions.
            waiting: The rows to be added with a position, by the index of its event.
            changes: Further changes, none of two the same row.
        """
        placed: Rows = {}
        for index, inserts in waiting.items():
            for insert in inserts:
                row = {
                    column: index + 1 if value is POSITION else value
                    for column, value in insert.values.items()
                }
                placed.setdefault(insert.table, []).append(row)
        self._insert_stored_events(cursor, stored_events, placed, changes)

    def _insert_stored_events(
        self,
        curs: Cursor[DictRow],
        stored_events: Sequence[StoredEvent],
        placed: Rows | None = None,
        changes: list[Single] | None = None,
        **_: object,
    ) -> None:
        """Insert without the package's table lock, and without NOTIFY.

        NOTIFY makes commits wait for each other, as the table lock does.
        """
        expressions, written = as_expressions(changes or [])
        expressions.append(_EVENTS)
        values: list[Any] = [
            *written,
            [stored.originator_id for stored in stored_events],
            [stored.originator_version for stored in stored_events],
            [stored.topic for stored in stored_events],
            [stored.state for stored in stored_events],
        ]
        for table, rows in (placed or {}).items():
            expressions.append(_placing(table, tuple(rows[0])))
            values.append(json.dumps(rows))
        statement = f"WITH {', '.join(expressions)} {_POSITIONS}"
        curs.execute(statement.encode(), values)


@cache
def _placing(table: str, columns: tuple[str, ...]) -> str:
    """Return what adds rows given as JSON, with the numbers of events for positions."""
    position, *others = columns
    picked = "".join(f", r.{column}" for column in others)
    return (
        f"{table}_placed AS (INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608
        f"SELECT d.notification_id{picked} "
        f"FROM json_populate_recordset(NULL::{table}, %s) AS r "
        f"INNER JOIN drawn AS d ON d.number = r.{position})"
    )
