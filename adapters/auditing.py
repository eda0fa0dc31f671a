"""Auditing a store: who held what, when, under which epoch, and what was refused.

One pass over the log, execution by execution, on one consistent view. An execution
that is too long to be held in memory is read twice: by stream for its hashes, then in
the order of positions.
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from leasehold.adapters import verifying
from leasehold.adapters.linking import Links
from leasehold.adapters.repairing import suspected_by
from leasehold.adapters.store import PAGE_BYTES, ReadSession, Row, state_bytes
from leasehold.adapters.verifying import FaultKind
from leasehold.adapters.walking import (
    PAGE,
    Progress,
    Walked,
    event_in,
    merged,
    pages_by_stream,
    walk,
)
from leasehold.domain.auditing import ExecutionAudit
from leasehold.domain.errors import StoreError
from leasehold.domain.events import DomainEvent
from leasehold.domain.figures import AuditFigures, Tally
from leasehold.domain.findings import AuditCheck, AuditFinding, Severity
from leasehold.domain.streams import EXECUTION_ID_CHARACTERS

FINDINGS_MAX: Final = 1_000
"""How many findings of each severity a report names; it counts the others."""

HELD_MAX: Final = 5_000
"""Up to how many events of an execution are held in memory."""

HELD_BYTES_MAX: Final = 4 * PAGE_BYTES
"""Up to how many bytes they may have."""

_NO_ID: Final = UUID(int=0)
_CHECKS: Final = {
    FaultKind.ROW: AuditCheck.ROW_DIFFERS,
    FaultKind.UNREADABLE: AuditCheck.UNREADABLE_EVENT,
}
"""What of the faults of an execution the audit does not look for itself."""

_BEFORE_ALL_VERSIONS: Final = -(2**63)
_position_of: Final = itemgetter(0)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Say what an audit found, counted and measured.

    Attributes:
        findings: The first thousand of each severity, in the order of positions.
        counts: How many there are of each check that found something.
        figures: What was counted and measured.
        since_ms: Findings and tenures from before that time were left out.
        at_ms: The time of the audit by the ledger's clock.
        rows: Whether the projected rows were held against their replay.
        redacted_from: The digests of the originals of the redacted bundles that were
            taken in: what was left out of those cannot be audited.
    """

    findings: tuple[AuditFinding, ...]
    counts: Mapping[AuditCheck, int]
    figures: AuditFigures
    since_ms: int | None
    at_ms: int
    rows: bool
    redacted_from: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no error was found; warnings do not count."""
        return not any(
            count and check.severity is Severity.ERROR
            for check, count in self.counts.items()
        )


def audit(
    session: ReadSession,
    *,
    since_ms: int | None = None,
    rows: bool = True,
    progress: Progress | None = None,
) -> AuditReport:
    """Audit what a session sees.

    Args:
        session: One consistent view of a store.
        since_ms: Only what was recorded, and tenures that were held, at that time or
            later.
        rows: Whether to hold the projected rows against their replay.
        progress: Told now and then how many events are done, and of how many.
    """
    expected: int = session.fetch_all("last_position")[0][0]
    running = _Audit(session.now_ms(), since_ms)
    executions = _with_rows(session) if rows else _without_rows(session)
    for execution in executions:
        running.take(session, execution)
        if progress is not None:
            progress(running.events, max(running.events, expected))
    return running.report(rows=rows, redacted_from=session.redacted_from())


class _Stream(NamedTuple):
    """A stream of an execution that is not held in memory."""

    first_position: int
    stream_id: Any
    event_count: int


class _Read(NamedTuple):
    """One execution, read by stream and version.

    Attributes:
        execution_id: Its id as text, or whatever stands in its place.
        links: What its streams are like.
        events: Its events; of a long one none.
        event_count: How many there are.
        streams: Where a long one's events are to be found.
        walked: The same with its rows, where they are to be looked at.
    """

    execution_id: Any
    links: Links
    events: list[Row]
    event_count: int
    streams: tuple[_Stream, ...] = ()
    walked: Walked | None = None


def _with_rows(session: ReadSession) -> Iterator[_Read]:
    for walked in walk(session):
        links = Links()
        links.take(walked.events)
        count = len(walked.events)
        yield _Read(walked.execution_id, links, walked.events, count, walked=walked)


def _without_rows(session: ReadSession) -> Iterator[_Read]:
    reading: _Reading | None = None
    for page in pages_by_stream(session):
        for execution_id, rows in groupby(page, _execution_of):
            if reading is None or reading.execution_id != execution_id:
                if reading is not None:
                    yield reading.done()
                reading = _Reading(execution_id)
            reading.take([*rows])
    if reading is not None:
        yield reading.done()


def _execution_of(row: Row) -> Any:  # noqa: ANN401 - damaged: anything
    return row[1][:EXECUTION_ID_CHARACTERS]


class _Reading:
    """An execution that is being read; what grows too long is let go of."""

    def __init__(self, execution_id: Any) -> None:  # noqa: ANN401 - damaged: anything
        self.execution_id = execution_id
        self._links = Links()
        self._held: list[Row] = []
        self._count = self._bytes = 0
        self._streams: dict[Any, tuple[int, int]] = {}

    def take(self, rows: list[Row]) -> None:
        """Go on with the next rows."""
        self._links.take(rows)
        self._count += len(rows)
        self._held += rows
        self._bytes += sum(map(state_bytes, rows))
        if self._count > HELD_MAX or self._bytes > HELD_BYTES_MAX:
            self._let_go()

    def _let_go(self) -> None:
        for position, stream_id, *_ in self._held:
            first, count = self._streams.get(stream_id, (position, 0))
            self._streams[stream_id] = min(first, position), count + 1
        self._held.clear()

    def done(self) -> _Read:
        """Return what was read."""
        if self._streams:
            self._let_go()
        streams = (
            _Stream(first, stream_id, count)
            for stream_id, (first, count) in self._streams.items()
        )
        return _Read(
            self.execution_id, self._links, self._held, self._count, tuple(streams)
        )


def _merged(session: ReadSession, streams: Iterable[_Stream]) -> Iterator[Row]:
    """Give the events of some streams in the order of positions, page by page."""
    return merged(
        (stream.first_position, partial(_rows_of, session, stream))
        for stream in streams
    )


def _rows_of(session: ReadSession, stream: _Stream) -> Iterator[Row]:
    after_version, left = _BEFORE_ALL_VERSIONS, stream.event_count
    while left > 0:
        rows = session.fetch_page(
            "log_by_stream",
            bytes_most=PAGE_BYTES,
            after_stream=stream.stream_id,
            after_version=after_version,
            most=min(left, PAGE),
        )
        after_version = rows[-1][2]
        left -= len(rows)
        yield from rows
        del rows


class _Audit:
    """An audit that is going on."""

    def __init__(self, at_ms: int, since_ms: int | None) -> None:
        self.events = 0
        self._executions = 0
        self._at_ms = at_ms
        self._since_ms = since_ms
        self._findings = _Findings()
        self._tally = Tally(since_ms)

    def take(self, session: ReadSession, read: _Read) -> None:
        """Go on with the next execution."""
        self.events += read.event_count
        self._executions += bool(read.event_count)
        execution_id = _id_of(read.execution_id)
        for damage in read.links.damages:
            self._tell(damage.check, execution_id, damage.position, damage.text)
        rows: Iterable[Row] = (
            _merged(session, read.streams)
            if read.streams
            else sorted(read.events, key=_position_of)
        )
        is_whole = not read.links.damages
        # Where the id is none, no event can be of it, and none is folded.
        audited = ExecutionAudit(
            execution_id or _NO_ID,
            self._findings.add,
            gaps=read.links.gaps,
            since_ms=self._since_ms,
        )
        kept: list[tuple[Row, DomainEvent, str]] = []
        for row in rows:
            try:
                event, sha256 = event_in(row)
            except StoreError as error:
                is_whole = False
                audited.miss(row[0])
                if row[0] not in read.links.broken:
                    check = AuditCheck.UNREADABLE_EVENT
                    self._tell(check, execution_id, row[0], str(error))
            else:
                audited.take(event, row[0])
                if read.walked is not None:
                    kept.append((row, event, sha256))
        audited.finish(self._at_ms)
        self._tally.add(audited.state)
        # There is no replay of a damaged history to hold rows against.
        if read.walked is not None and is_whole:
            self._compare(read.walked, kept, execution_id)

    def _compare(
        self,
        walked: Walked,
        kept: Sequence[tuple[Row, DomainEvent, str]],
        execution_id: UUID | None,
    ) -> None:
        try:
            is_suspected = suspected_by(walked, kept) is not None
        except StoreError:
            is_suspected = True
        if is_suspected:
            for fault in verifying.faults_of(walked):
                check = _CHECKS.get(fault.kind)
                if check is not None:
                    self._tell(check, execution_id, fault.position, fault.text)

    def _tell(
        self,
        check: AuditCheck,
        execution_id: UUID | None,
        position: int | None,
        text: str,
    ) -> None:
        written = text.encode("utf-8", errors="backslashreplace").decode()
        self._findings.add(
            AuditFinding(check, check.severity, execution_id, position, written)
        )

    def report(self, *, rows: bool, redacted_from: tuple[str, ...]) -> AuditReport:
        """Return what was found, counted and measured."""
        return AuditReport(
            findings=self._findings.first(),
            counts=dict(self._findings.counts),
            figures=self._tally.figures(
                events=self.events, executions=self._executions
            ),
            since_ms=self._since_ms,
            at_ms=self._at_ms,
            rows=rows,
            redacted_from=redacted_from,
        )


def _id_of(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None


class _Findings:
    """Counts findings, and keeps those at the lowest positions."""

    def __init__(self) -> None:
        self.counts: Counter[AuditCheck] = Counter()
        self._kept: dict[Severity, list[tuple[float, int, AuditFinding]]] = {
            severity: [] for severity in Severity
        }

    def add(self, finding: AuditFinding) -> None:
        """Take one more."""
        number = self.counts.total()
        self.counts[finding.check] += 1
        position = math.inf if finding.position is None else finding.position
        kept = self._kept[finding.severity]
        entry = (-position, -number, finding)
        if len(kept) < FINDINGS_MAX:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)

    def first(self) -> tuple[AuditFinding, ...]:
        """Return those that were kept, by position."""
        found = [entry for kept in self._kept.values() for entry in kept]
        return tuple(finding for *_, finding in sorted(found, reverse=True))
