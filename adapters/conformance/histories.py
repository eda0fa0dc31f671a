"""Histories: who called what, when, and what was answered."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from leasehold.adapters.conformance.lease_store import Record


class Operation(StrEnum):
    """What can be called."""

    CLAIM = "claim"
    RENEW = "renew"
    WRITE = "write"
    END = "end"
    RELEASE = "release"
    REVOKE = "revoke"
    GRANT = "grant"
    REDEEM = "redeem"
    READ = "read"


class Plain(StrEnum):
    """An answer that carries nothing."""

    DONE = "done"
    NOTHING = "nothing"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Acquired:
    """A lease was given; the histories know it by its label."""

    label: str
    epoch: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Renewed:
    """The lease runs until then."""

    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Issued:
    """A grant was given; the histories know it by its label."""

    label: str
    expires_at_ms: int


Answer = Plain | Acquired | Renewed | Issued | Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of the history of one resource.

    Attributes:
        actor: Who called.
        number: Which of the actor's calls it is.
        operation: What was called.
        holder: In whose name a lease or a grant was asked for.
        presented: The label of the lease or the grant presented.
        how: The name of the write or the ending.
        value: What was written, or the result.
        ttl_ms: For how long a lease or a grant was asked for, or had been.
        invoked: When it was made, by a clock that all actors of the history share.
        returned: When the answer was there; None where it was lost.
        over: When it was over for sure, lost answer or not; None where nobody knows.
        from_ms: What the store's clock showed when it was made, or earlier.
        to_ms: What it showed when it was over, or later; None where nobody knows.
        is_contended: Whether it met another call.
        answer: The answer; None where it was lost.
    """

    actor: str
    number: int
    operation: Operation
    holder: str = ""
    presented: str = ""
    how: str = ""
    value: str = ""
    ttl_ms: int = 0
    invoked: int
    returned: int | None = None
    over: int | None = None
    from_ms: int
    to_ms: int | None = None
    is_contended: bool = False
    answer: Answer | None = None


def unanswered(call: Call) -> Call:
    """Return a call as it stood before its answer was there."""
    return replace(call, returned=None, over=None, to_ms=None, answer=None)


def is_idle(call: Call) -> bool:
    """Say whether a call cannot have changed anything, as it was answered."""
    if isinstance(call.answer, Record):
        return True
    return call.answer in (Plain.NOTHING, Plain.REFUSED)


def with_contention(calls: Iterable[Call]) -> list[Call]:
    """Return the calls as they were made, with those told that met another one."""
    ordered = sorted(calls, key=lambda call: call.invoked)
    return [
        replace(call, is_contended=any(_met(call, other) for other in ordered))
        for call in ordered
    ]


def _met(call: Call, other: Call) -> bool:
    if call is other:
        return False
    return (other.over is None or call.invoked <= other.over) and (
        call.over is None or other.invoked <= call.over
    )


_ACTOR_WIDTH: Final = 4


def told(calls: Sequence[Call]) -> list[str]:
    """Return a line for each call of a history.

    The numbers before a call are the turns at which it was made and answered; calls
    whose turns interleave were under way at the same time. Times are in ms since the
    first call.
    """
    moments = sorted(
        {call.invoked for call in calls}
        | {call.returned for call in calls if call.returned is not None}
    )
    turns = {moment: turn for turn, moment in enumerate(moments, start=1)}
    began_ms = min((call.from_ms for call in calls), default=0)
    width = max((len(call.actor) for call in calls), default=0)
    return [
        f"{turns[call.invoked]:>3}-{_turn(turns, call.returned):<3} "
        f"{call.actor:<{max(width, _ACTOR_WIDTH)}} {_asked(call, began_ms)} "
        f"→ {_answered(call, began_ms)}"
        for call in calls
    ]


def _turn(turns: dict[int, int], moment: int | None) -> str:
    return "" if moment is None else str(turns[moment])


def _asked(call: Call, began_ms: int) -> str:
    parts = [
        call.presented and f"with {call.presented}",
        call.holder and f"for {call.holder}",
        call.how and f"{call.how}={call.value}",
    ]
    inside = ", ".join(part for part in parts if part)
    until = "?" if call.to_ms is None else str(call.to_ms - began_ms)
    since = str(call.from_ms - began_ms)
    at = since if since == until else f"{since}…{until}"
    return f"at {at} ms: {call.operation}({inside})"


def _answered(call: Call, began_ms: int) -> str:
    match call.answer:
        case None:
            return "answer lost"
        case Acquired(label, epoch, expires_at_ms):
            return f"lease {label}, epoch {epoch}, until {expires_at_ms - began_ms} ms"
        case Renewed(expires_at_ms):
            return f"until {expires_at_ms - began_ms} ms"
        case Issued(label, expires_at_ms):
            return f"grant {label}, until {expires_at_ms - began_ms} ms"
        case Record(values, ended_by, result):
            written = [f"{how}={value}" for how, value in sorted(values.items())]
            end = "not ended" if ended_by is None else f"ended by {ended_by}={result}"
            return ", ".join([*written, end])
        case plain:
            return plain.value
