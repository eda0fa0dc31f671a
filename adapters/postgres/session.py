"""One transaction on a PostgreSQL connection, as the ledger sees it.

Everything goes through the connection's pipeline: statements are sent when an answer
is needed, so that a call takes as many round trips as it has to wait for answers.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Self

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg import Cursor
from psycopg.rows import TupleRow, dict_row, tuple_row
from psycopg.sql import SQL, Composed, Identifier

from leasehold.adapters.applying import PERCENT_S, apply
from leasehold.adapters.metering import Call
from leasehold.adapters.postgres import schema
from leasehold.adapters.postgres.combining import PendingChanges
from leasehold.adapters.postgres.connecting import Connection
from leasehold.adapters.postgres.recorder import Recorder
from leasehold.adapters.queries import named_queries
from leasehold.adapters.store import PAGE_BYTES, Append, Asked, Clock, Row
from leasehold.adapters.versions import changed_meanwhile, read_versions
from leasehold.domain import limits
from leasehold.domain.records import RecordedEvent
from leasehold.projections.changes import POSITION, Change, Insert, Merge, Place
from leasehold.projections.registry import PROJECTION_VERSION, order_of, project

_QUERIES: Final = named_queries(__package__)
_STATEMENTS: Final = named_queries(__package__, "statements")
_WRITTEN: Final = {
    "schema_version": schema.SCHEMA_VERSION,
    "projection_version": PROJECTION_VERSION,
}
_NAMES_NUMBERED: Final = 1024
"""How many locks there are for names: a batch of any size takes no more."""

_ROWS_AT_ONCE: Final = 1_000
_LARGE: Final = {
    "exec_state": ("tags", "raw_fields"),
    "exec_blob": ("payload", "result"),
    "attempt": ("failure_message", "failure_detail"),
    "summary": ("document_json",),
    "stream_frame": ("payload",),
}
"""The columns that make a row a large one."""

_BOUNDED: Final = """
SELECT *
FROM (
    SELECT
        page.*,
        sum({sizes}) OVER (
            ORDER BY {columns} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bytes_before
    FROM ({page}) AS page
) AS measured
WHERE coalesce(bytes_before, 0) < {most}
ORDER BY {columns}
"""
_EVENTS_AT_ONCE: Final = 5_000
_BYTES_AT_ONCE: Final = 8 * 1024 * 1024
"""How many events wait for the end; a larger batch holds readers back from then on."""

_BRIEF_LOCK_TIMEOUT: Final = "1s"
_FRAME_COLUMNS: Final = (
    "execution_id, attempt_index, ts_ms, seq, frame_type, payload, correlation_id, "
    "mode, summary_version"
)
_HAS_FRAMES: Final = "SELECT to_regclass('stream_frame') IS NOT NULL"
_KEEP_BEST_EFFORT: Final = (
    f"CREATE TEMP TABLE kept_frame AS SELECT {_FRAME_COLUMNS} "  # noqa: S608
    "FROM stream_frame WHERE mode = 'best_effort'"
)
_RESTORE_BEST_EFFORT: Final = (
    f"INSERT INTO stream_frame ({_FRAME_COLUMNS}) "  # noqa: S608
    f"SELECT {_FRAME_COLUMNS} FROM pg_temp.kept_frame"
)
_REDACTED_FROM: Final = "SELECT value FROM leasehold_meta WHERE key = 'redacted_from'"
_RESTORE_EVENT: Final = """
INSERT INTO stored_events
    (notification_id, originator_id, originator_version, topic, state)
VALUES (%s, %s, %s, %s, %s)
"""
_GO_BEYOND: Final = """
SELECT setval('stored_events_notification_id_seq', greatest(%s, last_value))
FROM stored_events_notification_id_seq
"""


class PostgresSession:
    """One transaction on one connection."""

    def __init__(
        self,
        connection: Connection,
        recorder: Recorder,
        clock: Clock | None,
        call: Call | None = None,
    ) -> None:
        """Begin on a connection whose transaction is open, or sent to be opened."""
        self.call = call
        self.connection = connection
        self.first_appended: StoredEvent | None = None
        self.writes_without_events = False
        self.is_followed = False
        self.is_brief = False
        self._recorder = recorder
        self._clock = clock
        self._restored_to = 0
        self._unsent_bytes = 0
        self._unsent: list[StoredEvent] = []
        self._pending = PendingChanges()
        self._now_ms: int | None = None
        self._waiting: dict[int, list[Insert]] = {}
        self._versions: Cursor[TupleRow] | None = None

    def begin_writing(self, token: int, *, any_version: bool) -> None:
        """Send what every transaction that writes begins with.

        Args:
            token: The number of a lock to hold until the end.
            any_version: Whether the tables may be of another version: to make them,
                when nobody else writes.
        """
        if any_version:
            self._send(_STATEMENTS["lock_tables"], None)
        self._versions = self._send(_STATEMENTS["begin_writing"], {"token": token})
        if any_version:
            self.check_versions(any_version=True)

    def check_versions(self, *, any_version: bool = False) -> None:
        """Refuse to write where another version has changed the tables meanwhile.

        Raises:
            StoreError: `schema_version`.
        """
        versions, self._versions = self._versions, None
        if versions is None:
            return
        try:
            rows = versions.fetchall()
        except psycopg.Error:
            # Answers come together. If this one is there, the error is of a statement
            # after it, which may have been prepared for tables that are others by now.
            if versions.pgresult is not None and not any_version:
                _check(read_versions(versions.fetchall()))
            raise
        self.is_followed = any(row[2] for row in rows)
        found = read_versions(rows)
        if not any_version:
            _check(found)

    def now_ms(self) -> int:
        """Return now by the ledger's clock, read after the last lock was taken."""
        if self._clock is not None:
            return limits.time_ms("the reading of the clock", self._clock())
        if self._now_ms is None:
            ((self._now_ms,),) = self._send(_STATEMENTS["clock"], None).fetchall()
        return self._now_ms

    def query_now_ms(self) -> int | None:
        """Return the reading of a clock that was given; None for the server's."""
        return None if self._clock is None else self.now_ms()

    def fetch_all(self, query: str, **parameters: object) -> list[Row]:
        """Run a named query and return its rows."""
        return self.fetch_each((query, parameters))[0]

    def fetch_one(self, query: str, **parameters: object) -> Row | None:
        """Run a named query and return its first row."""
        rows = self.fetch_each((query, parameters))[0]
        return rows[0] if rows else None

    def fetch_each(self, *asked: Asked) -> list[list[Row]]:
        """Run several named queries in one round trip; return the rows of each."""
        cursors = [self._send(_QUERIES[query], values) for query, values in asked]
        self.check_versions()
        return [list(cursor.fetchall()) for cursor in cursors]

    def fetch_page(
        self, query: str, *, bytes_most: int, **parameters: object
    ) -> list[Row]:
        """Run a named query over the log and return its first rows."""
        return self.fetch_all(query, bytes_most=bytes_most, **parameters)

    def execute(self, statement: str, **parameters: object) -> None:
        """Run a named statement."""
        self.writes_without_events = True
        self._send(_QUERIES[statement], parameters)

    def rows(
        self, table: str, *, by_execution: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Return the rows of a projected table in the order of its key, in pages."""
        order = order_of(table, by_execution=by_execution)
        # Somebody may have dropped one of them; verifying says so.
        none = SQL("SELECT * FROM {} LIMIT 0").format(Identifier(table))
        cursor = self._executed(none, ())
        cursor.fetchall()
        there = {column.name for column in cursor.description or ()}
        large = [column for column in _LARGE.get(table, ()) if column in there]
        page, following = _pages_of(table, order, large)
        after: tuple[Any, ...] = ()
        while rows := self._rows_as_dicts(page, after):
            page, after = following, tuple(rows[-1][column] for column in order)
            for row in rows:
                row.pop("bytes_before", None)
                yield row
            # Or there were two pages in memory while the next one is read.
            del rows, row

    def redacted_from(self) -> tuple[str, ...]:
        """Return the digests of the originals of the redacted bundles taken in."""
        rows = self._send(_REDACTED_FROM, None).fetchall()
        return tuple(rows[0][0].split(",")) if rows else ()

    def rows_of(self, table: str, execution_id: str) -> list[dict[str, Any]]:
        """Return the rows of a projected table that are about an execution."""
        select = SQL("SELECT * FROM {} WHERE execution_id = %s")
        return self._rows_as_dicts(select.format(Identifier(table)), (execution_id,))

    def _rows_as_dicts(
        self, statement: Composed, values: Sequence[object]
    ) -> list[dict[str, Any]]:
        return self._executed(statement, values).fetchall()

    def _executed(
        self, statement: Composed, values: Sequence[object]
    ) -> Cursor[dict[str, Any]]:
        self._apply((), None)
        cursor = self.connection.cursor(row_factory=dict_row)
        return cursor.execute(statement, values)

    def load(self, execution_id: str) -> Row | None:
        """Lock an execution and return what a decision needs, None for no such one."""
        rows = self._load(_QUERIES["load_execution"], {"execution_id": execution_id})
        return rows[0] if rows else None

    def load_each(self, execution_ids: Sequence[str]) -> list[Row | None]:
        """Load several in one round trip."""
        cursors = [
            self._send(_QUERIES["load_execution"], {"execution_id": execution_id})
            for execution_id in execution_ids
        ]
        self.check_versions()
        found = [cursor.fetchall() for cursor in cursors]
        clocks = [rows[0][-1] for rows in found if rows]
        # The clock was read each time when a lock was held: the last time counts.
        self._now_ms = max(clocks, default=None)
        return [rows[0][:-1] if rows else None for rows in found]

    def load_free(self, execution_ids: Sequence[str]) -> list[Row]:
        """Load those of some executions that nobody else holds, in their order."""
        ids = {"execution_ids": list(execution_ids)}
        return self._load(_STATEMENTS["load_free"], ids)

    def _load(self, statement: str, values: Any) -> list[Row]:  # noqa: ANN401
        """Keep the reading of the clock that comes with each row."""
        cursor = self._send(statement, values)
        self.check_versions()
        rows = cursor.fetchall()
        self._now_ms = rows[-1][-1] if rows else None
        return [row[:-1] for row in rows]

    def lock_names(self, names: Sequence[str]) -> None:
        """Hold off whoever creates something under the same names, until the end."""
        if names:
            numbers = sorted({_number_of(name) for name in names})
            self._send(_STATEMENTS["lock_names"], {"numbers": numbers})
            self._now_ms = None

    def be_brief(self) -> None:
        """Do not let the caller wait for what is still to be written."""
        self.is_brief = True
        self._send(_STATEMENTS["be_brief"], {"lock_timeout": _BRIEF_LOCK_TIMEOUT})

    def projection_version(self) -> int:
        """Return which version of the projections made the rows; 0 without them."""
        return schema.rows_version(self.connection)

    def empty_projections(self) -> None:
        """Make the projected tables anew; best-effort frames are carried over."""
        has_frames = self._send(_HAS_FRAMES, None).fetchall()[0][0]
        if has_frames:
            self._send(_KEEP_BEST_EFFORT, None)
        schema.recreate_projected(self.connection)
        if has_frames:
            self._send(_RESTORE_BEST_EFFORT, None)
            self._send("DROP TABLE pg_temp.kept_frame", None)
        schema.set_projection_version(self.connection)

    def restore(self, recorded: RecordedEvent, state: bytes) -> None:
        """Append an event at its own position, as it was stored elsewhere."""
        position = recorded.position
        stored = (recorded.stream_id, recorded.version, recorded.topic, state)
        self._send(_RESTORE_EVENT, (position, *stored))
        self.first_appended = self.first_appended or StoredEvent(*stored)
        self._restored_to = max(self._restored_to, position)

    def note_redacted(self, original_sha256: str) -> None:
        """Note that a redacted bundle was taken in, by the digest of its original."""
        noted = {"original_sha256": original_sha256}
        self._send(_STATEMENTS["note_redacted"], noted)

    def make_position_table(self) -> None:
        """Do nothing: the table of callers' positions is there from the beginning."""

    def projection_position(self, name: str) -> int:
        """Return how far a caller's projection is, and hold off who else runs it."""
        self.execute("begin_projection", name=name)
        position: int = self.fetch_all("projection_position", name=name)[0][0]
        return position

    def keep_projection_position(self, name: str, position: int) -> None:
        """Keep how far a caller's projection is."""
        self.execute("keep_projection_position", name=name, position=position)

    def execute_plain(self, statement: str, *values: object) -> list[Row]:
        """Run a caller's SQL in this transaction; return its rows, if it has any."""
        self.writes_without_events = True
        cursor = self._send(statement, values or None)
        try:
            return list(cursor.fetchall())
        except psycopg.ProgrammingError as error:
            if error.sqlstate is not None:
                raise
            # The server has no complaint: the statement gives no rows.
            return []

    def project(self, recorded: RecordedEvent) -> None:
        """Apply what a stored event projects."""
        place = Place(recorded.stream_id, recorded.version, recorded.sha256)
        self._apply(project(recorded.event, place), recorded.position)

    def repair(self, changes: Iterable[Change]) -> None:
        """Change rows of projected tables that differ from their replay."""
        self.writes_without_events = True
        self._apply(changes, None)

    def append(self, appends: Sequence[Append]) -> None:
        """Note events, and what they project, to be sent at the end."""
        for item in appends:
            place = item.place
            for change in project(item.event, place):
                self._note(change)
            stored = StoredEvent(
                place.stream_id, place.version, item.event.TOPIC, item.state
            )
            self._unsent.append(stored)
            self.first_appended = self.first_appended or stored
            self._unsent_bytes += len(item.state)
            if (
                len(self._unsent) >= _EVENTS_AT_ONCE
                or self._unsent_bytes >= _BYTES_AT_ONCE
            ):
                self._send_events()

    def _note(self, change: Change) -> None:
        """Let a change wait for the events, if it can."""
        if isinstance(change, Insert) and POSITION in change.values.values():
            self._waiting.setdefault(len(self._unsent), []).append(change)
        elif isinstance(change, Merge):
            self._apply((change,), None)
        elif not self._pending.add(change):
            self._apply((), None)
            self._pending.add(change)

    def finish(self) -> None:
        """Append the events; to be called last, as it bounds what readers may see."""
        self.check_versions()
        if self._unsent:
            self._send_events()
        if self._restored_to:
            self._send(_GO_BEYOND, (self._restored_to,))

    def _send_events(self) -> None:
        cursor, changes = self.connection.cursor(), self._pending.take()
        self._recorder.append(cursor, self._unsent, self._waiting, changes)
        self._unsent, self._waiting, self._unsent_bytes = [], {}, 0

    def _send(self, statement: str, values: Any) -> Cursor[TupleRow]:  # noqa: ANN401
        """Send a statement that may read what was changed so far."""
        self._apply((), None)
        cursor = self.connection.cursor(row_factory=tuple_row)
        return cursor.execute(statement.encode(), values)

    def _apply(self, changes: Iterable[Change], position: int | None) -> None:
        """Send the changes that wait, then others."""
        cursor = _CursorEach(self.connection)
        apply(cursor, self._pending.take(), None, PERCENT_S)
        apply(cursor, changes, position, PERCENT_S)


def _pages_of(table: str, order: Sequence[str], large: Sequence[str]) -> list[Composed]:
    """Return the statements for the first page of a table and for one after a key.

    Args:
        table: The table.
        order: The columns of its key, in the order of the rows.
        large: The columns whose bytes count. The server knows their sizes without
            reading them, and reads those that it sends.
    """
    columns = SQL(", ").join(map(Identifier, order))
    marks = SQL(", ").join([SQL("%s")] * len(order))
    select = SQL("SELECT * FROM {} {} ORDER BY {} LIMIT {}")
    beyond = SQL("WHERE ({}) > ({})").format(columns, marks)
    pages = [
        select.format(Identifier(table), where, columns, _ROWS_AT_ONCE)
        for where in (SQL(""), beyond)
    ]
    if not large:
        return pages
    sizes = [
        SQL("coalesce(octet_length({}), 0)").format(Identifier(column))
        for column in large
    ]
    return [
        SQL(_BOUNDED).format(
            sizes=SQL(" + ").join(sizes), columns=columns, page=page, most=PAGE_BYTES
        )
        for page in pages
    ]


def _check(found: dict[str, int]) -> None:
    if found != _WRITTEN:
        raise changed_meanwhile(found, schema.SCHEMA_VERSION)


class _CursorEach:
    """A cursor for each statement, so that none waits for the answer of another."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor: Cursor[TupleRow] | None = None

    def execute(self, statement: str, parameters: Sequence[Any]) -> Self:
        """Send a statement."""
        self._cursor = self._connection.cursor(row_factory=tuple_row)
        self._cursor.execute(statement.encode(), parameters)
        return self

    def fetchone(self) -> Sequence[Any] | None:
        """Return the next row of the last one sent."""
        return None if self._cursor is None else self._cursor.fetchone()


def _number_of(name: str) -> int:
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8]) % _NAMES_NUMBERED
