"""The query side: one named query a read, typed rows, no folding."""

import json
import time
from collections.abc import Collection, Iterable, Mapping
from heapq import nsmallest
from itertools import chain
from typing import Final
from uuid import UUID

from leasehold.adapters import auditing, codec
from leasehold.adapters.auditing import AuditReport
from leasehold.adapters.rows import (
    AttemptRow,
    ExecutionRow,
    ExpiredLeaseRow,
    FrameRow,
    LeaseEventRow,
    OrphanRow,
    SummaryRow,
    TenureRow,
    WaitingRow,
)
from leasehold.adapters.store import Asked, Row, Store
from leasehold.adapters.walking import Progress
from leasehold.domain import limits
from leasehold.domain.catalogue import BY_TOPIC
from leasehold.domain.errors import StoreError
from leasehold.domain.frames import FrameId
from leasehold.domain.records import RecordedEvent
from leasehold.domain.states import PublicState

BLOCK_MS_MAX: Final = 86_400_000
_POLL_FIRST_S: Final = 0.002
_POLL_LAST_S: Final = 0.1
_BEFORE_ALL: Final = FrameId(-1, -1)


def _after(position: int | None) -> int:
    if position is None:
        return 0
    return limits.integer("after", position, least=0, most=limits.POSITION_MAX)


def _index(attempt_index: int) -> int:
    return limits.integer("index", attempt_index, least=0, most=limits.POSITION_MAX)


def _frame_after(after: str | None) -> FrameId:
    return _BEFORE_ALL if after is None else FrameId.parse(after)


class Reader:
    """What can be asked of a ledger.

    A missing row is None and a list without rows is empty. Each read is one
    consistent view of the store.

    Raises:
        InvalidInputError: An argument breaks its rule.
        StoreError: The store could not answer; `corrupt_event` where a stored event
            cannot be read.
    """

    def __init__(self, store: Store) -> None:
        """Read from a store."""
        self._store = store

    def execution(self, execution_id: UUID) -> ExecutionRow | None:
        """Return where an execution stands."""
        limits.identifier("execution_id", execution_id)
        row = self._one("execution", execution_id=str(execution_id))
        return None if row is None else ExecutionRow.of(row)

    def executions(
        self,
        lane_id: str | None = None,
        public_state: PublicState | None = None,
        namespace: str | None = None,
        limit: int = 100,
        after: UUID | None = None,
    ) -> list[ExecutionRow]:
        """Return a page of executions, by id.

        Args:
            lane_id: Only of this lane.
            public_state: Only in this state.
            namespace: Only of this namespace.
            limit: 1 … 1,000,000 rows.
            after: The id of the last row of the page before.
        """
        page = {
            "after": "" if after is None else str(limits.identifier("after", after)),
            "namespace": None
            if namespace is None
            else limits.name("namespace", namespace),
            "most": limits.page(limit),
        }
        states = _states(public_state)
        lanes = None if lane_id is None else [limits.name("lane_id", lane_id)]
        with self._store.read() as session:
            if lane_id is None and public_state is None:
                rows = session.fetch_all("executions", **page)
            else:
                if lanes is None:
                    lanes = [row[0] for row in session.fetch_all("lanes")]
                listed = (
                    session.fetch_all(
                        "executions_listed", lane_id=lane, public_state=state, **page
                    )
                    for lane in lanes
                    for state in states
                )
                ids = nsmallest(limit, (row[0] for row in chain.from_iterable(listed)))
                asked: list[Asked] = [
                    ("execution", {"execution_id": execution_id})
                    for execution_id in ids
                ]
                rows = [row for found in session.fetch_each(*asked) for row in found]
        return [ExecutionRow.of(row) for row in rows]

    def attempts(self, execution_id: UUID) -> list[AttemptRow]:
        """Return the attempts of an execution, in order."""
        limits.identifier("execution_id", execution_id)
        rows = self._all("attempts", execution_id=str(execution_id))
        return [AttemptRow.of(row) for row in rows]

    def attempt(self, execution_id: UUID, index: int) -> AttemptRow | None:
        """Return one attempt."""
        row = self._one("attempt", **_of_attempt(execution_id, index))
        return None if row is None else AttemptRow.of(row)

    def lease_events(
        self,
        execution_id: UUID | None = None,
        worker_id: str | None = None,
        after: int | None = None,
        limit: int = 1000,
    ) -> list[LeaseEventRow]:
        """Return a page of what happened to leases, in log order.

        Args:
            execution_id: Only of this execution.
            worker_id: Only of this worker.
            after: The `event_id` of the last row of the page before.
            limit: 1 … 1,000,000 rows.
        """
        if worker_id is not None:
            limits.name("worker_id", worker_id, bytes_max=limits.WORKER_BYTES_MAX)
        page = {"after": _after(after), "most": limits.page(limit)}
        if execution_id is not None:
            limits.identifier("execution_id", execution_id)
            rows = self._all(
                "lease_events_of_execution",
                execution_id=str(execution_id),
                worker_id=worker_id,
                **page,
            )
        elif worker_id is not None:
            rows = self._all("lease_events_of_worker", worker_id=worker_id, **page)
        else:
            rows = self._all("lease_events", **page)
        return [LeaseEventRow.of(row) for row in rows]

    def tenures(  # noqa: PLR0913 - one for each filter
        self,
        execution_id: UUID | None = None,
        worker_id: str | None = None,
        lane_id: str | None = None,
        since_ms: int | None = None,
        limit: int = 1000,
        *,
        after: int | None = None,
    ) -> list[TenureRow]:
        """Return a page of tenures, in the log order of their acquisitions.

        What runs out has ended by the ledger's clock, recorded or not.

        Args:
            execution_id: Only of this execution.
            worker_id: Only of this worker.
            lane_id: Only of this lane.
            since_ms: Only those that were held at this time or later, ms since the
                Unix epoch: that are live, or ended then or later.
            limit: 1 … 1,000,000 rows.
            after: The `event_id` of the last row of the page before.
        """
        asked: dict[str, object] = {
            "lane_id": None if lane_id is None else limits.name("lane_id", lane_id),
            "since_ms": None
            if since_ms is None
            else limits.time_ms("since_ms", since_ms),
            "after": _after(after),
            "most": limits.page(limit),
        }
        query = "tenures"
        if worker_id is not None:
            limits.name("worker_id", worker_id, bytes_max=limits.WORKER_BYTES_MAX)
            asked["worker_id"], query = worker_id, "tenures_of_worker"
        if execution_id is not None:
            limits.identifier("execution_id", execution_id)
            asked["execution_id"] = str(execution_id)
            asked["worker_id"], query = worker_id, "tenures_of_execution"
        with self._store.read(once=True) as session:
            rows = session.fetch_all(query, now_ms=session.query_now_ms(), **asked)
        return [TenureRow.of(row) for row in rows]

    def summary(self, execution_id: UUID, index: int) -> SummaryRow | None:
        """Return the summary of an attempt."""
        row = self._one("summary", **_of_attempt(execution_id, index))
        return None if row is None else SummaryRow.of(row)

    def frames(
        self,
        execution_id: UUID,
        index: int,
        after: str | None = None,
        limit: int = 1000,
    ) -> list[FrameRow]:
        """Return a page of an attempt's frames, oldest first.

        Args:
            execution_id: The execution.
            index: The attempt.
            after: The `stream_id` of the last frame of the page before.
            limit: 1 … 1,000,000 rows.
        """
        last = _frame_after(after)
        rows = self._all(
            "frames",
            **_of_attempt(execution_id, index),
            after_ts_ms=last.ts_ms,
            after_seq=last.seq,
            most=limits.page(limit),
        )
        return [FrameRow.of(row) for row in rows]

    def tail_frames(
        self, execution_id: UUID, index: int, after: str | None, block_ms: int
    ) -> list[FrameRow]:
        """Return the frames after a place, waiting for the first where there is none.

        Args:
            execution_id: The execution.
            index: The attempt; it need not have started.
            after: The `stream_id` of the last frame seen; None from the beginning.
            block_ms: 0 … 86,400,000; how long to wait, in real time.

        Returns:
            At most 1000 frames; none where none came in time.
        """
        limits.integer("block_ms", block_ms, least=0, most=BLOCK_MS_MAX)
        give_up_at = time.monotonic() + block_ms / 1000
        pause_s = _POLL_FIRST_S
        while True:
            found = self.frames(execution_id, index, after=after)
            left_s = give_up_at - time.monotonic()
            if found or left_s <= 0:
                return found
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, _POLL_LAST_S)

    def expired_leases(self, limit: int = 1000) -> list[ExpiredLeaseRow]:
        """Return leases that ran out and that nobody has taken over, longest first.

        Args:
            limit: 1 … 1,000,000 rows.
        """
        limits.page(limit)
        with self._store.read(once=True) as session:
            rows = session.fetch_all(
                "expired_leases", now_ms=session.query_now_ms(), most=limit
            )
        return [ExpiredLeaseRow.of(row) for row in rows]

    def oldest_orphan(self) -> OrphanRow | None:
        """Return the lease that has been over for longest without a take-over.

        Over is a lease that ran out, recorded or not, or that an operator revoked. The
        cost grows with the executions that are active, not with those that wait or
        have ended.
        """
        with self._store.read(once=True) as session:
            row = session.fetch_one("oldest_orphan", now_ms=session.query_now_ms())
        return None if row is None else OrphanRow.of(row)

    def waiting(self, lane_id: str | None = None) -> list[WaitingRow]:
        """Return what the next claims would take, longest waiting first.

        Of each lane the best claimable execution of each set of capabilities: what
        waits behind them waits for them.

        Args:
            lane_id: Only of this lane.
        """
        if lane_id is not None:
            limits.name("lane_id", lane_id)
        with self._store.read() as session:
            now_ms = session.query_now_ms()
            lanes = (
                [row[0] for row in session.fetch_all("lanes")]
                if lane_id is None
                else [lane_id]
            )
            asked: list[Asked] = [
                ("waiting_in_lane", {"lane_id": lane, "now_ms": now_ms})
                for lane in lanes
            ]
            found = session.fetch_each(*asked)
        rows = [WaitingRow.of(row) for of_lane in found for row in of_lane]
        return sorted(rows, key=lambda row: (row.since_ms, row.execution_id))

    def lanes(self) -> list[str]:
        """Return the lanes that ever had an execution, by name."""
        return [row[0] for row in self._all("lanes")]

    def counts(self, lane_id: str | None = None) -> dict[PublicState, int]:
        """Return how many executions are in each public state.

        Args:
            lane_id: Only of this lane.
        """
        if lane_id is None:
            rows = self._all("counts")
        else:
            rows = self._all("counts_in_lane", lane_id=limits.name("lane_id", lane_id))
        counted = {row[0]: row[1] for row in rows}
        return {state: counted.get(state.value, 0) for state in PublicState}

    def history(
        self, execution_id: UUID, after: int = 0, limit: int | None = None
    ) -> list[RecordedEvent]:
        """Return the events of an execution over all its streams, in log order.

        Args:
            execution_id: The execution.
            after: The position of the last event seen.
            limit: 1 … 1,000,000 events; None for all.
        """
        limits.identifier("execution_id", execution_id)
        rows = self._all(
            "history",
            execution_id=str(execution_id),
            after=_after(after),
            most=-1 if limit is None else limits.page(limit),
        )
        return [codec.decode(*row) for row in rows]

    def events(
        self, after: int = 0, limit: int = 1000, topics: Collection[str] = ()
    ) -> list[RecordedEvent]:
        """Return a page of the whole log.

        Args:
            after: The position of the last event seen; 0 from the beginning.
            limit: 1 … 1,000,000 events.
            topics: Only of these topics.
        """
        page = {"after": _after(after), "most": limits.page(limit)}
        wanted = check_topics(topics)
        if wanted:
            rows = self._all("events_of_topics", topics=json.dumps(wanted), **page)
        else:
            rows = self._all("events", **page)
        return [codec.decode(*row) for row in rows]

    def audit(
        self,
        since_ms: int | None = None,
        rows: bool = True,  # noqa: FBT001, FBT002 - as the contract has it
        *,
        progress: Progress | None = None,
    ) -> AuditReport:
        """Audit all leases from the events: who held what, when, and what was refused.

        It reports what it meets and does not raise for it. Memory grows with the
        tenures; with the rows it is bounded by the largest execution.

        Args:
            since_ms: Only findings of what was recorded at this time or later, and
                figures of tenures that were held then, ms since the Unix epoch. What
                is wrong with the store itself is told in any case.
            rows: Whether to hold every projected row against its replay, which takes
                longer.
            progress: Told how many events are done, and of how many.
        """
        if since_ms is not None:
            limits.time_ms("since_ms", since_ms)

        def audit(*, any_text: bool) -> AuditReport:
            with self._store.read(any_text=any_text) as session:
                return auditing.audit(
                    session, since_ms=since_ms, rows=rows, progress=progress
                )

        try:
            return audit(any_text=False)
        except StoreError as error:
            if error.code != "corrupt_event":
                raise
            # Text that is not UTF-8: read it as what it is, which takes longer.
            return audit(any_text=True)

    def settled_position(self) -> int:
        """Return the position up to which nothing can still appear."""
        row = self._one("settled_position")
        return 0 if row is None else int(row[0])

    def store_facts(self) -> Mapping[str, str | int]:
        """Return the store's versions, durability and sizes, by name."""
        return self._store.facts()

    def _one(self, query: str, **parameters: object) -> Row | None:
        with self._store.read(once=True) as session:
            return session.fetch_one(query, **parameters)

    def _all(self, query: str, **parameters: object) -> list[Row]:
        with self._store.read(once=True) as session:
            return session.fetch_all(query, **parameters)


def check_topics(topics: Collection[str]) -> list[str]:
    """Check which topics are wanted.

    Raises:
        InvalidInputError: One of them is not a topic; the message names those that are.
    """
    if isinstance(topics, str | bytes) or not isinstance(topics, Iterable):
        raise limits.refuse("topics", topics, "a collection of topics")
    wanted = list(topics)
    for topic in wanted:
        if not isinstance(topic, str) or topic not in BY_TOPIC:
            rule = "of " + ", ".join(BY_TOPIC)
            raise limits.refuse("topics", topic, rule)
    return wanted


def _states(public_state: PublicState | None) -> list[str]:
    if public_state is None:
        return [state.value for state in PublicState]
    try:
        return [PublicState(public_state).value]
    except ValueError:
        rule = "one of " + ", ".join(PublicState)
        raise limits.refuse("public_state", public_state, rule) from None


def _of_attempt(execution_id: UUID, index: int) -> dict[str, str | int]:
    limits.identifier("execution_id", execution_id)
    return {"execution_id": str(execution_id), "attempt_index": _index(index)}
