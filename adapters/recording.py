"""The middle of every command: load an execution, and record what was decided.

A decision loads two rows (the execution and its last attempt), which are kept as
inline snapshots of their streams, so that its cost does not grow with the history.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter

from leasehold.adapters import codec
from leasehold.adapters.counting import RULES
from leasehold.adapters.store import Append, Row, WriteSession
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
_ELIGIBLE: Final = EligibilityState.ELIGIBLE_NOW.value
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
"""How many columns of `load_execution` are the execution's; the attempt's follow."""


_uuid: Final = lru_cache(maxsize=4096)(UUID)
"""Read an id; a worker's calls come with the same ones again and again."""


@lru_cache(maxsize=256)
def _retry_policy(text: str) -> RetryPolicy:
    return _POLICY.validate_json(text)


class Loaded:
    """An execution as it stands in this transaction, with its last attempt.

    Attributes:
        execution_id: The id of the execution, as text.
        execution: The execution.
        attempt: The last attempt that was started; None before the first.
        last_event_at_ms: The last recorded time, over all streams.
    """

    __slots__ = (
        "_attempt_head",
        "_execution_head",
        "_frames_head",
        "_refusals_head",
        "attempt",
        "execution",
        "execution_id",
        "last_event_at_ms",
    )

    def __init__(self, row: Row) -> None:
        """Read a row of the query `load_execution`."""
        of_execution, of_attempt = row[:_EXECUTION_COLUMNS], row[_EXECUTION_COLUMNS:]
        *columns, version, sha256, refusals, refusals_sha256, last_at_ms = of_execution
        self.execution_id: str = columns[0]
        self.execution = _execution(columns)
        self._execution_head: Head = (version, sha256)
        self._refusals_head = (refusals, refusals_sha256) if refusals else NO_EVENTS
        self._attempt_head = self._frames_head = NO_EVENTS
        self.attempt: Attempt | None = None
        self.last_event_at_ms: int = last_at_ms
        *columns, version, sha256, frames, frames_sha256, last_at_ms = of_attempt
        if version is not None:
            self.attempt = _attempt(self.execution, columns)
            self._attempt_head = (version, sha256)
            self._frames_head = (frames, frames_sha256) if frames else NO_EVENTS
            self.last_event_at_ms = max(self.last_event_at_ms, last_at_ms)

    @property
    def frame_count(self) -> int:
        """How many durable and summary frames the attempt has."""
        return self._frames_head[0]

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
        match event:
            case AttemptEvent():
                is_last = self._is_last(event.attempt_index)
                return self._attempt_head if is_last else NO_EVENTS
            case FrameAppended():
                return self._frames_head
            case RefusalRecorded():
                return self._refusals_head
            case _:
                return self._execution_head

    def _is_last(self, attempt_index: int) -> bool:
        return self.attempt is not None and self.attempt.attempt_index == attempt_index


def _execution(columns: Row) -> Execution:
    (
        execution_id,
        lane_id,
        lifecycle_phase,
        eligibility_state,
        public_state,
        priority,
        eligible_at_ms,
        deadline_at_ms,
        attempt_index,
        attempts_started,
        retry_policy,
        retry_count,
        max_reclaim_count,
        lease_reclaim_count,
    ) = columns
    return Execution(
        execution_id=_uuid(execution_id),
        lane_id=lane_id,
        lifecycle_phase=_PHASES[lifecycle_phase],
        due=eligibility_state == _ELIGIBLE,
        outcome=_TERMINAL_OUTCOMES.get(public_state),
        priority=priority,
        eligible_at_ms=eligible_at_ms,
        deadline_at_ms=deadline_at_ms,
        attempt_index=attempt_index,
        attempts_started=attempts_started,
        retry_policy=_retry_policy(retry_policy),
        retry_count=retry_count,
        max_reclaim_count=max_reclaim_count,
        lease_reclaim_count=lease_reclaim_count,
    )


def _attempt(execution: Execution, columns: Row) -> Attempt:
    (
        worker_id,
        worker_instance_id,
        lease_id,
        lease_epoch,
        lease_ttl_ms,
        lease_state,
        lease_expires_at_ms,
        lease_ended_at_ms,
        outcome,
    ) = columns
    return Attempt(
        execution_id=execution.execution_id,
        attempt_index=execution.attempts_started - 1,
        worker_id=worker_id,
        worker_instance_id=worker_instance_id,
        lease_id=_uuid(lease_id),
        lease_epoch=lease_epoch,
        lease_ttl_ms=lease_ttl_ms,
        lease_state=_LEASE_STATES[lease_state],
        lease_expires_at_ms=lease_expires_at_ms,
        lease_ended_at_ms=lease_ended_at_ms,
        outcome=_OUTCOMES.get(outcome),
    )


def load(session: WriteSession, execution_id: UUID | str) -> Loaded | None:
    """Lock and load an execution; None where the store has none of that id."""
    row = session.load(str(execution_id))
    return None if row is None else loaded_of(row)


def load_each(
    session: WriteSession, execution_ids: Iterable[UUID]
) -> dict[UUID, Loaded | None]:
    """Lock and load several executions, in the order of their ids."""
    wanted = sorted(set(execution_ids))
    rows = session.load_each([str(execution_id) for execution_id in wanted])
    return {
        execution_id: None if row is None else loaded_of(row)
        for execution_id, row in zip(wanted, rows, strict=True)
    }


def load_free(session: WriteSession, execution_ids: Sequence[str]) -> list[Loaded]:
    """Lock and load those of some executions that nobody else holds, in their order."""
    return [loaded_of(row) for row in session.load_free(execution_ids)]


def loaded_of(row: Row) -> Loaded:
    """Read a row of the query `load_execution`.

    Raises:
        StoreError: `corrupt_event`: it was changed by hand.
    """
    try:
        return Loaded(row)
    except (ValueError, TypeError, KeyError) as error:
        message = (
            f"the rows of execution {row[0]} in exec_core and attempt cannot be "
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
    facts = []
    last = None if loaded is None else loaded.attempt
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
        rule = RULES.get(type(event))
        if rule is not None:
            facts.append(rule(event, last))
    if appends:
        session.append(appends)
        if session.call is not None:
            session.call.events += len(appends)
            session.call.facts += facts


def _with_clock(event: DomainEvent, clock_at_ms: int) -> DomainEvent:
    changed: dict[str, Any] = {"clock_at_ms": clock_at_ms}
    return event.model_copy(update=changed)
