"""The middle of every command: load an execution, and record what was decided.

A decision loads two rows (the execution and its last attempt), which are kept as
inline snapshots of their streams, so that its cost does not grow with the history.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter

from leasehold.adapters import codec
from leasehold.adapters.store import Append, ReadSession, Row, WriteSession
from leasehold.domain import streams
from leasehold.domain.attempts import Attempt, AttemptEvent, LeaseState
from leasehold.domain.errors import StoreError
from leasehold.domain.events import DomainEvent
from leasehold.domain.executions import Execution
from leasehold.domain.frames import FrameAppended
from leasehold.domain.refusals import RefusalRecorded
from leasehold.domain.retries import RetryPolicy
from leasehold.domain.states import (
    EligibilityState,
    LifecyclePhase,
    Outcome,
    PublicState,
)
from leasehold.projections.changes import Place

Head = tuple[int, str]
"""The version and the hash of the last event of a stream."""

NO_EVENTS: Final[Head] = (0, codec.FIRST_HASH)

_POLICY: Final = TypeAdapter(RetryPolicy)
_PHASES: Final = {phase.value: phase for phase in LifecyclePhase}
_LEASE_STATES: Final = {state.value: state for state in LeaseState}
_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}
_TERMINAL_OUTCOMES: Final = {
    PublicState.COMPLETED.value: Outcome.SUCCESS,
    PublicState.FAILED.value: Outcome.FAILED,
    PublicState.CANCELLED.value: Outcome.CANCELLED,
    PublicState.EXPIRED.value: Outcome.EXPIRED,
}
_EXECUTION_COLUMNS: Final = 19


_uuid: Final = lru_cache(maxsize=4096)(UUID)
"""Read an id; a worker's calls come with the same ones again and again."""


@lru_cache(maxsize=256)
def _retry_policy(text: str) -> RetryPolicy:
    return _POLICY.validate_json(text)


class Loaded:
    """An execution as it stands in this transaction, with its last attempt.

    Attributes:
        execution: The execution.
        attempt: The last attempt that was started; None before the first.
        frame_count: How many durable and summary frames that attempt has.
    """

    __slots__ = ("_row", "attempt", "execution", "frame_count", "last_event_at_ms")

    def __init__(self, row: Row) -> None:
        """Read a row of the query `load_execution`."""
        self._row = row
        self.execution = _execution(row)
        self.last_event_at_ms: int = row[18]
        self.attempt: Attempt | None = None
        self.frame_count = 0
        if row[19] is not None:
            self.attempt = _attempt(self.execution, row[_EXECUTION_COLUMNS:])
            self.frame_count = row[30]
            self.last_event_at_ms = max(self.last_event_at_ms, row[32])

    @property
    def execution_id(self) -> str:
        """The id of the execution, as text."""
        execution_id: str = self._row[0]
        return execution_id

    def now_ms(self, reading_ms: int) -> int:
        """Return the time to record: the clock's, but never before what is recorded."""
        return max(reading_ms, self.last_event_at_ms)

    def current_attempt(self) -> Attempt:
        """Return the attempt that an active execution is in.

        Raises:
            StoreError: `corrupt_event`: there is none, so that the rows were damaged.
        """
        if self.attempt is None:
            message = (
                f"execution {self.execution.execution_id} is active without an "
                "attempt: the rows of its tables were changed by hand or lost"
            )
            raise StoreError(message, code="corrupt_event")
        return self.attempt

    def head(self, event: DomainEvent) -> Head:
        """Return where the stream that an event goes to stands."""
        row = self._row
        match event:
            case AttemptEvent() if self._is_last(event.attempt_index):
                return row[28], row[29]
            case AttemptEvent():
                return NO_EVENTS
            case FrameAppended():
                return (row[30], row[31]) if row[30] else NO_EVENTS
            case RefusalRecorded():
                return (row[16], row[17]) if row[16] else NO_EVENTS
            case _:
                return row[14], row[15]

    def _is_last(self, attempt_index: int) -> bool:
        return self.attempt is not None and self.attempt.attempt_index == attempt_index


def _execution(row: Row) -> Execution:
    return Execution(
        execution_id=_uuid(row[0]),
        lane_id=row[1],
        lifecycle_phase=_PHASES[row[2]],
        due=row[3] == EligibilityState.ELIGIBLE_NOW.value,
        outcome=_TERMINAL_OUTCOMES.get(row[4]),
        priority=row[5],
        eligible_at_ms=row[6],
        deadline_at_ms=row[7],
        attempt_index=row[8],
        attempts_started=row[9],
        retry_policy=_retry_policy(row[10]),
        retry_count=row[11],
        max_reclaim_count=row[12],
        lease_reclaim_count=row[13],
    )


def _attempt(execution: Execution, columns: Row) -> Attempt:
    return Attempt(
        execution_id=execution.execution_id,
        attempt_index=execution.attempts_started - 1,
        worker_id=columns[0],
        worker_instance_id=columns[1],
        lease_id=_uuid(columns[2]),
        lease_epoch=columns[3],
        lease_ttl_ms=columns[4],
        lease_state=_LEASE_STATES[columns[5]],
        lease_expires_at_ms=columns[6],
        lease_ended_at_ms=columns[7],
        outcome=_OUTCOMES.get(columns[8]),
    )


def load(session: ReadSession, execution_id: UUID | str) -> Loaded | None:
    """Load an execution; None where the store has none of that id."""
    row = session.fetch_one("load_execution", execution_id=str(execution_id))
    if row is None:
        return None
    try:
        return Loaded(row)
    except (ValueError, TypeError, KeyError) as error:
        message = (
            f"the rows of execution {execution_id} in exec_core and attempt cannot be "
            f"read: they were changed by hand ({error})"
        )
        raise StoreError(message, code="corrupt_event") from error


def record(
    session: WriteSession,
    loaded: Loaded | None,
    events: Iterable[DomainEvent],
    *,
    clock_at_ms: int,
) -> None:
    """Append decided events and project them, in this transaction.

    Args:
        session: The transaction.
        loaded: What the decision was made on; None for a creation.
        events: In the order in which they are stored.
        clock_at_ms: What the clock said; kept in each event that it was clamped for.
    """
    heads: dict[str, Head] = {}
    appends = []
    for decided in events:
        event = decided
        if clock_at_ms < event.occurred_at_ms:
            event = _with_clock(event, clock_at_ms)
        if loaded is None:
            stream_id = streams.of_event(event, event.execution_id)
        else:
            stream_id = streams.of_event(event, loaded.execution_id)
        head = heads.get(stream_id)
        if head is None:
            head = NO_EVENTS if loaded is None else loaded.head(event)
        version = head[0] + 1
        state, sha256 = codec.encode(event, stream_id, version, head[1])
        heads[stream_id] = (version, sha256)
        appends.append(Append(event, Place(stream_id, version, sha256), state))
    if appends:
        session.append(appends)


def _with_clock(event: DomainEvent, clock_at_ms: int) -> DomainEvent:
    changed: dict[str, Any] = {"clock_at_ms": clock_at_ms}
    return event.model_copy(update=changed)
