"""Recording what has come due: deadlines, delays and leases."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, Literal

from leasehold.adapters.recording import Loaded, load_free, record
from leasehold.adapters.store import Asked, Row, WriteSession
from leasehold.domain import executions, transitions
from leasehold.domain.events import DomainEvent
from leasehold.domain.states import LeaseCause

DUE_IN_A_CLAIM: Final = 100
"""How many of each kind a claim records; a sweep records the rest."""

_LOADED_AT_ONCE: Final = 500

ExpiryCause = Literal[LeaseCause.SWEEP, LeaseCause.CLAIM]


class Due(IntEnum):
    """Number the kinds in the order in which they are recorded."""

    DEADLINE = 0
    DELAY = 1
    LEASE = 2


def due_in_lane(lane_id: str, *, now_ms: int | None, most: int) -> Asked:
    """Ask for kind, execution id and due time of what has come due in a lane."""
    return "due_in_lane", {"lane_id": lane_id, "now_ms": now_ms, "most": most}


def record_due(
    session: WriteSession, kind: Due, due: Sequence[Row], *, cause: ExpiryCause
) -> int:
    """Record what has come due of a kind, unless an earlier event made it moot.

    What another transaction works on is left to it, or to the next claim or sweep.

    Returns:
        How much was recorded.
    """
    count = 0
    ids = [execution_id for found, execution_id, _ in due if found == kind]
    for start in range(0, len(ids), _LOADED_AT_ONCE):
        for loaded in load_free(session, ids[start : start + _LOADED_AT_ONCE]):
            count += _record_one(session, kind, loaded, cause)
    return count


def _record_one(
    session: WriteSession, kind: Due, loaded: Loaded, cause: ExpiryCause
) -> bool:
    execution, attempt = loaded.execution, loaded.attempt
    clock_at_ms = session.now_ms()
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
