"""Recording what has come due: deadlines, delays and leases."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, Literal

from leasehold.adapters.recording import load, record
from leasehold.adapters.store import Row, WriteSession
from leasehold.domain import executions, transitions
from leasehold.domain.events import DomainEvent
from leasehold.domain.states import LeaseCause

DUE_IN_A_CLAIM: Final = 100
"""How many of each kind a claim records; a sweep records the rest."""

ExpiryCause = Literal[LeaseCause.SWEEP, LeaseCause.CLAIM]


class Due(IntEnum):
    """Number the kinds in the order in which they are recorded."""

    DEADLINE = 0
    DELAY = 1
    LEASE = 2


def find_due(
    session: WriteSession, lane_id: str, *, now_ms: int, most: int
) -> list[Row]:
    """Return kind, execution id and due time of what has come due in a lane."""
    return session.fetch_all("due_in_lane", lane_id=lane_id, now_ms=now_ms, most=most)


def record_due(
    session: WriteSession,
    kind: Due,
    execution_id: str,
    *,
    clock_at_ms: int,
    cause: ExpiryCause,
) -> bool:
    """Record one thing that has come due, unless an earlier one made it moot.

    Returns:
        Whether it was recorded.
    """
    loaded = load(session, execution_id)
    if loaded is None:
        return False
    execution, attempt = loaded.execution, loaded.attempt
    now_ms = loaded.now_ms(clock_at_ms)
    events: Sequence[DomainEvent]
    if kind is Due.DEADLINE:
        events = transitions.pass_deadline(execution, attempt, now_ms=now_ms)
    elif kind is Due.DELAY:
        events = executions.become_eligible(execution, now_ms=now_ms)
    else:
        events = transitions.record_expiry(
            execution, attempt, cause=cause, now_ms=now_ms
        )
    record(session, loaded, events, clock_at_ms=clock_at_ms)
    return bool(events)
