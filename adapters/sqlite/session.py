"""One transaction on an SQLite connection, as the ledger sees it."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteCursor

from leasehold.adapters.applying import QUESTION_MARK, apply
from leasehold.adapters.metering import Call
from leasehold.adapters.queries import named_queries
from leasehold.adapters.sqlite import schema
from leasehold.adapters.sqlite.recorder import Recorder
from leasehold.adapters.store import Append, Asked, Clock, Row, state_bytes
from leasehold.domain import limits
from leasehold.domain.records import RecordedEvent
from leasehold.projections.changes import Change, Place
from leasehold.projections.registry import PROJECTION_VERSION, order_of, project

_PACKAGE: Final = __package__
_FRAME_COLUMNS: Final = (
    "execution_id, attempt_index, ts_ms, seq, frame_type, payload, correlation_id, "
    "mode, summary_version"
)
_KEEP_BEST_EFFORT: Final = (
    f"CREATE TEMP TABLE kept_frame AS SELECT {_FRAME_COLUMNS} "  # noqa: S608
    "FROM main.stream_frame WHERE mode = 'best_effort'"
)
_RESTORE_BEST_EFFORT: Final = (
    f"INSERT INTO stream_frame ({_FRAME_COLUMNS}) "  # noqa: S608
    f"SELECT {_FRAME_COLUMNS} FROM temp.kept_frame"
)
_REDACTED_FROM: Final = "SELECT value FROM leasehold_meta WHERE key = 'redacted_from'"
_RESTORE_EVENT: Final = """
INSERT INTO stored_events
    (notification_id, originator_id, originator_version, topic, state)
VALUES (?, ?, ?, ?, ?)
"""


class SQLiteSession:
    """One transaction on one connection."""

    __slots__ = ("_clock", "_queries", "_recorder", "_walking", "call", "cursor")

    def __init__(
        self,
        driver: sqlite3.Connection,
        recorder: Recorder,
        clock: Clock,
        call: Call | None = None,
    ) -> None:
        """Begin on a connection whose transaction is open."""
        self.call = call
        self.cursor = driver.cursor()
        self._walking: list[sqlite3.Cursor] = []
        self._recorder = recorder
        self._clock = clock
        self._queries = named_queries(_PACKAGE)

    def now_ms(self) -> int:
        """Return now; the transaction holds its lock by then."""
        return limits.time_ms("the reading of the clock", self._clock())

    def query_now_ms(self) -> int:
        """Return now; the host's clock is the only one."""
        return self.now_ms()

    def load(self, execution_id: str) -> Row | None:
        """Return what a decision needs; all other writers are kept out anyway."""
        return self.fetch_one("load_execution", execution_id=execution_id)

    def load_each(self, execution_ids: Sequence[str]) -> list[Row | None]:
        """Load several."""
        return [self.load(execution_id) for execution_id in execution_ids]

    def load_free(self, execution_ids: Sequence[str]) -> list[Row]:
        """Load them all: the transaction keeps all other writers out."""
        rows = (self.load(execution_id) for execution_id in execution_ids)
        return [row for row in rows if row is not None]

    def lock_names(self, names: Sequence[str]) -> None:
        """Do nothing: the transaction keeps all other writers out."""

    def be_brief(self) -> None:
        """Do nothing: the transaction holds the only lock there is."""

    def fetch_all(self, query: str, **parameters: object) -> list[Row]:
        """Run a named query and return its rows."""
        return self.cursor.execute(self._queries[query], parameters).fetchall()

    def fetch_one(self, query: str, **parameters: object) -> Row | None:
        """Run a named query and return its first row."""
        rows = self.cursor.execute(self._queries[query], parameters).fetchall()
        return rows[0] if rows else None

    def fetch_each(self, *asked: Asked) -> list[list[Row]]:
        """Run several named queries; return the rows of each."""
        return [self.fetch_all(query, **parameters) for query, parameters in asked]

    def fetch_page(
        self, query: str, *, bytes_most: int, **parameters: object
    ) -> list[Row]:
        """Run a named query over the log and return its first rows."""
        rows: list[Row] = []
        left = bytes_most
        with closing(self.cursor.connection.cursor()) as cursor:
            for row in cursor.execute(self._queries[query], parameters):
                rows.append(row)
                left -= state_bytes(row)
                if left <= 0:
                    break
        return rows

    def end(self) -> None:
        """Close what walks over rows and was left midway: it would keep the view."""
        for cursor in self._walking:
            cursor.close()
        self._walking.clear()

    def execute(self, statement: str, **parameters: object) -> None:
        """Run a named statement."""
        self.cursor.execute(self._queries[statement], parameters)

    def rows(
        self, table: str, *, by_execution: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Return the rows of a projected table in the order of its key."""
        order = ", ".join(order_of(table, by_execution=by_execution))
        cursor = self.cursor.connection.cursor()
        self._walking.append(cursor)
        return _as_dicts(cursor.execute(f"SELECT * FROM {table} ORDER BY {order}"))  # noqa: S608

    def redacted_from(self) -> tuple[str, ...]:
        """Return the digests of the originals of the redacted bundles taken in."""
        row = self.cursor.execute(_REDACTED_FROM).fetchone()
        return tuple(row[0].split(",")) if row else ()

    def rows_of(self, table: str, execution_id: str) -> list[dict[str, Any]]:
        """Return the rows of a projected table that are about an execution."""
        # IS: in a damaged row the id may be NULL.
        statement = f"SELECT * FROM {table} WHERE execution_id IS ?"  # noqa: S608
        cursor = self.cursor.connection.cursor()
        return list(_as_dicts(cursor.execute(statement, (execution_id,))))

    def projection_version(self) -> int:
        """Return which version of the projections made the rows; 0 without them."""
        return schema.rows_version(self.cursor, PROJECTION_VERSION)

    def empty_projections(self) -> None:
        """Make the projected tables anew; best-effort frames are carried over."""
        has_frames = ("table", "stream_frame") in schema.projected_objects(self.cursor)
        if has_frames:
            self.cursor.execute(_KEEP_BEST_EFFORT)
        schema.recreate_projected(self.cursor)
        if has_frames:
            self.cursor.execute(_RESTORE_BEST_EFFORT)
            self.cursor.execute("DROP TABLE temp.kept_frame")
        schema.set_projection_version(self.cursor, PROJECTION_VERSION)

    def restore(self, recorded: RecordedEvent, state: bytes) -> None:
        """Append an event at its own position, as it was stored elsewhere."""
        values = (
            recorded.position,
            recorded.stream_id,
            recorded.version,
            recorded.topic,
            state,
        )
        self.cursor.execute(_RESTORE_EVENT, values)

    def note_redacted(self, original_sha256: str) -> None:
        """Note that a redacted bundle was taken in, by the digest of its original."""
        noted = dict.fromkeys((*self.redacted_from(), original_sha256))
        schema.set_meta(self.cursor, "redacted_from", ",".join(noted))

    def make_position_table(self) -> None:
        """Make the table of the positions of callers' projections, if it is missing."""
        schema.make_position_table(self.cursor)

    def projection_position(self, name: str) -> int:
        """Return how far a caller's projection is; 0 for a new one."""
        self.execute("begin_projection", name=name)
        position: int = self.fetch_all("projection_position", name=name)[0][0]
        return position

    def keep_projection_position(self, name: str, position: int) -> None:
        """Keep how far a caller's projection is."""
        self.execute("keep_projection_position", name=name, position=position)

    def execute_plain(self, statement: str, *values: object) -> list[Row]:
        """Run a caller's SQL in this transaction; return its rows, if it has any."""
        return self.cursor.execute(statement, values).fetchall()

    def project(self, recorded: RecordedEvent) -> None:
        """Apply what a stored event projects."""
        place = Place(recorded.stream_id, recorded.version, recorded.sha256)
        changes = project(recorded.event, place)
        apply(self.cursor, changes, recorded.position, QUESTION_MARK)

    def repair(self, changes: Iterable[Change]) -> None:
        """Change rows of projected tables that differ from their replay."""
        apply(self.cursor, changes, None, QUESTION_MARK)

    def append(self, appends: Sequence[Append]) -> None:
        """Append events and apply what they project."""
        recorder_cursor = SQLiteCursor(self.cursor)
        stored = [
            StoredEvent(
                item.place.stream_id, item.place.version, item.event.TOPIC, item.state
            )
            for item in appends
        ]
        positions = self._recorder._insert_events(recorder_cursor, stored)  # noqa: SLF001
        for item, position in zip(appends, positions or (), strict=True):
            changes = project(item.event, item.place)
            apply(self.cursor, changes, position, QUESTION_MARK)


def _as_dicts(cursor: sqlite3.Cursor) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in cursor)
