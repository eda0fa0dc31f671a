"""Verifying a store: the log against itself, and the tables against the log."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from leasehold.adapters import codec
from leasehold.adapters.checkpoint_faults import checkpoint_faults
from leasehold.adapters.checkpoints import Checkpoint
from leasehold.adapters.differing import (
    NO_BLOB,
    SHOWN_AS,
    Columns,
    RowId,
    differing_columns,
    differing_rows,
    last_changes,
)
from leasehold.adapters.store import ReadSession, Row
from leasehold.adapters.walking import Progress, Walked, decoded, walk
from leasehold.domain.errors import StoreError
from leasehold.domain.executions import ExecutionCreated
from leasehold.domain.records import RecordedEvent
from leasehold.projections import exec_core
from leasehold.projections.tables import Key, TableRow, Tables

FAULTS_MAX: Final = 1_000
"""How many faults a report names; it counts the others."""

_SHOWN_MAX: Final = 80
_HASH: Final = re.compile("[0-9a-f]{64}")
_NO_LINK: Final = (
    "its hash does not follow from its bytes, its place and the hash before it: one of "
    "them was changed"
)


class FaultKind(StrEnum):
    """Say what is wrong."""

    VERSION = "version"
    """A version of a stream is missing, or there twice."""
    ORDER = "order"
    """Positions or times do not grow along a stream or an execution, or an execution
    does not begin with its creation."""
    CHAIN = "chain"
    """A hash does not follow from the bytes and the hash before."""
    UNREADABLE = "unreadable"
    """An event cannot be decoded or projected, or is of another stream."""
    ROW = "row"
    """A row differs from the replay, is missing, or has no event behind it."""
    CHECKPOINT = "checkpoint"
    """The log does not continue what a checkpoint tells of it."""


@dataclass(frozen=True, slots=True)
class VerifyFault:
    """One thing that is wrong.

    Attributes:
        kind: What it is.
        position: The position in the log of the first event that it shows at; for a
            row the last event that changed it. None where there is no such event.
        execution_id: The execution, as text; None for the whole log.
        stream_id: The stream of that event.
        table: The table of a row.
        columns: The columns that differ, each with the value there is and the value
            that the replay gives; empty for a row that is missing or too many.
        text: The same for a person.
    """

    kind: FaultKind
    position: int | None
    execution_id: str | None
    text: str
    stream_id: str | None = None
    table: str | None = None
    columns: Columns | None = None


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Say what was verified, and what is wrong.

    Attributes:
        events: How many events were read.
        executions: Of how many executions.
        rows: How many rows were compared.
        faults: The first thousand, in the order of execution ids.
        fault_count: How many there are.
        redacted_from: The digests of the originals of the redacted bundles that were
            taken in: what was left out of those cannot be verified.
        checkpoints: Against how many checkpoints the log was held.
        signatures_checked: How many of them are signed, and by the key that was given.
        signatures_unchecked: How many are signed, and no key was given.
    """

    events: int
    executions: int
    rows: int
    faults: tuple[VerifyFault, ...]
    fault_count: int
    redacted_from: tuple[str, ...] = ()
    checkpoints: int = 0
    signatures_checked: int = 0
    signatures_unchecked: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.fault_count == 0


def verify(
    session: ReadSession,
    *,
    checkpoints: Sequence[Checkpoint] = (),
    events_expected: int = 0,
    progress: Progress | None = None,
) -> VerifyReport:
    """Verify what a session sees.

    Args:
        session: One consistent view of a store.
        checkpoints: What the log was at earlier times. Their signatures are the
            caller's affair.
        events_expected: How many events there are, for the progress.
        progress: Told now and then how far it is.
    """
    events = executions = rows = 0
    faults = [
        VerifyFault(FaultKind.CHECKPOINT, found.position, None, found.text)
        for found in checkpoint_faults(session, checkpoints)
    ]
    fault_count = len(faults)
    del faults[FAULTS_MAX:]
    for walked in walk(session):
        for fault in faults_of(walked):
            fault_count += 1
            if len(faults) < FAULTS_MAX:
                faults.append(fault)
        events += len(walked.events)
        executions += bool(walked.events)
        rows += sum(len(of_table) for of_table in walked.rows.values())
        if progress is not None:
            progress(events, max(events, events_expected))
    return VerifyReport(
        events, executions, rows, tuple(faults), fault_count, session.redacted_from()
    )


def faults_of(walked: Walked) -> Iterator[VerifyFault]:
    """Give what is wrong with one execution."""
    if not walked.events:
        yield from _rows_without_events(walked)
        return
    found = list(_faults_of_streams(walked))
    yield from found
    recorded: list[RecordedEvent] = []
    unreadable = 0
    for row in walked.events:
        try:
            recorded.append(decoded(row))
        except StoreError as error:
            unreadable += 1
            yield _at(row, walked, FaultKind.UNREADABLE, str(error))
    recorded.sort(key=_position_of)
    yield from _faults_of_times(walked, recorded)
    if unreadable:
        return
    if not found:
        yield from _faults_of_beginning(walked, recorded)
    tables = Tables()
    for event in recorded:
        try:
            tables.project(event)
        except StoreError as error:
            unreadable += 1
            place = (event.position, event.stream_id, event.version)
            yield _at(place, walked, FaultKind.UNREADABLE, str(error))
    if not unreadable:
        yield from _faults_of_rows(walked, tables, recorded)


def _at(row: Row, walked: Walked, kind: FaultKind, text: str) -> VerifyFault:
    position, stream_id, version, *_ = row
    message = f"stream {stream_id}, version {version}, position {position}: {text}"
    named = _legible(str(walked.execution_id))
    return VerifyFault(
        kind, position, named, _legible(message), _legible(str(stream_id))
    )


def _legible(text: str) -> str:
    """Return a text that can be written: bytes that are no text as escapes."""
    return text.encode("utf-8", errors="backslashreplace").decode()


def _faults_of_streams(walked: Walked) -> Iterator[VerifyFault]:
    stream_id: str | None = None
    version, position = 0, 0
    head: str | None = codec.FIRST_HASH
    for row in walked.events:
        if row[1] != stream_id:
            stream_id, version, position, head = row[1], 0, 0, codec.FIRST_HASH
        if type(row[2]) is not int:
            text = f"its version is no number, but {_shown(row[2])}"
            yield _at(row, walked, FaultKind.VERSION, text)
            continue
        if row[2] <= version:
            text = f"version {row[2]} is there twice"
            yield _at(row, walked, FaultKind.VERSION, text)
        elif row[2] > version + 1:
            wanted = version + 1
            text = f"version {wanted} is missing before it: an event was removed"
            yield _at(row, walked, FaultKind.VERSION, text)
        if row[0] <= position:
            text = f"it stands before the event of version {version}, at {position}"
            yield _at(row, walked, FaultKind.ORDER, text)
        if row[2] != version + 1:
            head = None
        head, fault = _link(row, head)
        if fault is not None:
            yield _at(row, walked, FaultKind.CHAIN, fault)
        version, position = row[2], row[0]


def _link(row: Row, head: str | None) -> tuple[str | None, str | None]:
    """Return the hash that the next event builds on, and what is wrong with this one.

    Args:
        row: Of the log.
        head: What this one builds on; None where that is not known.
    """
    try:
        stored, content = codec.split(row[4])
        expected = codec.hash_of(head or stored, row[1], row[2], row[3], content)
    except (StoreError, ValueError) as error:
        return None, f"its hash cannot be told: {error}"
    if head is not None and stored != expected:
        return stored if _HASH.fullmatch(stored) else None, _NO_LINK
    return stored, None


def _position_of(recorded: RecordedEvent) -> int:
    return recorded.position


def _faults_of_beginning(
    walked: Walked, recorded: Sequence[RecordedEvent]
) -> Iterator[VerifyFault]:
    """Say where an execution that is not created first, or is created twice, shows."""
    for number, event in enumerate(recorded):
        if isinstance(event.event, ExecutionCreated) != (number == 0):
            text = (
                "its execution was created before"
                if number
                else "its execution is not created before it"
            )
            place = (event.position, event.stream_id, event.version)
            yield _at(place, walked, FaultKind.ORDER, text)
            return


def _faults_of_times(
    walked: Walked, recorded: Sequence[RecordedEvent]
) -> Iterator[VerifyFault]:
    last_ms = 0
    for event in recorded:
        if event.recorded_at_ms < last_ms:
            place = (event.position, event.stream_id, event.version)
            text = (
                f"its time {event.recorded_at_ms} ms lies before that of an earlier "
                f"event of the execution, {last_ms} ms: their order was changed"
            )
            yield _at(place, walked, FaultKind.ORDER, text)
        last_ms = max(last_ms, event.recorded_at_ms)


def _faults_of_rows(
    walked: Walked, tables: Tables, recorded: Sequence[RecordedEvent]
) -> Iterator[VerifyFault]:
    differing: dict[RowId, Columns] = {}
    for table, key, there, wanted, columns in differing_rows(walked.rows, tables):
        of_blob = table == exec_core.BLOB and (there is None or wanted is None)
        differing[table, key] = _of_blob(there, wanted) if of_blob else columns
    changed = last_changes(recorded, differing) if differing else {}
    for (table, key), columns in differing.items():
        text = _difference(columns, is_wanted=key in tables.rows(table))
        event = changed.get((table, key))
        yield _row_fault(walked, table, key, text, columns, event)


def _of_blob(there: TableRow | None, wanted: TableRow | None) -> Columns:
    """Return the columns of exec_core that a row of bytes makes different.

    No row stands for an execution without payload and result.
    """
    id_column = {"execution_id": (there or wanted or {})["execution_id"]}
    columns = differing_columns(
        {**id_column, **NO_BLOB, **(there or {})},
        {**id_column, **NO_BLOB, **(wanted or {})},
    )
    return columns or {}


def _difference(columns: Columns, *, is_wanted: bool) -> str:
    if columns:
        return ", ".join(
            f"column {column} is missing"
            if value is replayed is None
            else f"{column} is {_shown(value)}, the replay gives {_shown(replayed)}"
            for column, (value, replayed) in columns.items()
        )
    return "the row is missing" if is_wanted else "no event makes this row"


def _row_fault(  # noqa: PLR0913, PLR0917 - the parts of one sentence
    walked: Walked,
    table: str,
    key: Key,
    text: str,
    columns: Columns,
    changed: RecordedEvent | None = None,
) -> VerifyFault:
    name = SHOWN_AS.get(table, table)
    return VerifyFault(
        FaultKind.ROW,
        None if changed is None else changed.position,
        str(walked.execution_id),
        f"{name} ({', '.join(str(part) for part in key)}): {text}",
        None if changed is None else changed.stream_id,
        name,
        columns,
    )


def _rows_without_events(walked: Walked) -> Iterator[VerifyFault]:
    text = _difference({}, is_wanted=False)
    for table, rows in walked.rows.items():
        for key in rows:
            yield _row_fault(walked, table, key, text, {})


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"
