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

from leasehold.adapters.postgres.connecting import Datastore
from leasehold.adapters.queries import named_queries
from leasehold.projections.changes import POSITION, Insert

_TAKE_FLOOR: Final = named_queries(__package__, "locking")["take_floor"]

Placed = dict[str, list[dict[str, Any]]]
"""The rows of each table that wait for the positions of their events."""


class Recorder(PostgresApplicationRecorder):
    """Insert events, and the rows that hold their positions, in one statement."""

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore)
        self.sql_create_statements = []

    def append(
        self,
        cursor: Cursor[DictRow],
        stored_events: Sequence[StoredEvent],
        waiting: Mapping[int, Iterable[Insert]],
    ) -> None:
        """Append events with the rows that wait for their positions.

        To be called once in a transaction, when it holds all its other locks.

        Args:
            cursor: Of the transaction.
            stored_events: In the order of their positions.
            waiting: The rows, by the index of their event.
        """
        placed: Placed = {}
        for index, changes in waiting.items():
            for change in changes:
                row = {
                    column: index + 1 if value is POSITION else value
                    for column, value in change.values.items()
                }
                placed.setdefault(change.table, []).append(row)
        self._insert_stored_events(cursor, stored_events, placed=placed)

    def _insert_stored_events(
        self,
        curs: Cursor[DictRow],
        stored_events: Sequence[StoredEvent],
        *,
        placed: Placed | None = None,
        **_: object,
    ) -> None:
        """Insert without the table lock and without NOTIFY.

        NOTIFY makes commits wait for each other, like the table lock.
        """
        placed = placed or {}
        self._lock_table(curs)
        tables = tuple((table, tuple(rows[0])) for table, rows in placed.items())
        values: dict[str, Any] = {
            "streams": [stored.originator_id for stored in stored_events],
            "versions": [stored.originator_version for stored in stored_events],
            "topics": [stored.topic for stored in stored_events],
            "states": [stored.state for stored in stored_events],
        }
        values |= {table: json.dumps(rows) for table, rows in placed.items()}
        curs.execute(_insert_statement(tables), values)

    def _lock_table(self, curs: Cursor[DictRow]) -> None:
        """Take a floor in place of the lock."""
        curs.execute(_TAKE_FLOOR)


_DRAW_AND_APPEND: Final = """
WITH drawn AS MATERIALIZED (
    SELECT nextval('stored_events_notification_id_seq') AS notification_id, e.*
    FROM (
        SELECT *
        FROM unnest(
            %(streams)s::text[],
            %(versions)s::bigint[],
            %(topics)s::text[],
            %(states)b::bytea[]
        )
        WITH ORDINALITY
        AS u (originator_id, originator_version, topic, state, number)
        ORDER BY number
    ) AS e
),
appended AS (
    INSERT INTO stored_events
        (notification_id, originator_id, originator_version, topic, state)
    SELECT notification_id, originator_id, originator_version, topic, state
    FROM drawn
)
"""
_POSITIONS: Final = "SELECT notification_id FROM drawn ORDER BY number"


@cache
def _insert_statement(tables: tuple[tuple[str, tuple[str, ...]], ...]) -> bytes:
    """Return the statement that appends events and places rows in tables.

    The rows come as JSON, with the number of the event where the position belongs.
    """
    placing = (_placing(table, columns) for table, columns in tables)
    return f"{_DRAW_AND_APPEND}{''.join(placing)}{_POSITIONS}".encode()


def _placing(table: str, columns: tuple[str, ...]) -> str:
    # The first column is the one of the position.
    position, *others = columns
    picked = "".join(f", r.{column}" for column in others)
    return (
        f", {table}_placed AS (INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608
        f"SELECT d.notification_id{picked} "
        f"FROM json_populate_recordset(NULL::{table}, %({table})s) AS r "
        f"INNER JOIN drawn AS d ON d.number = r.{position})"
    )
