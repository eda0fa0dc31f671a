"""The fenced lease as a model: what each call may do, and how it may be answered.

`step` says to which states a call may lead from a state, answered as it was; none where
no lease store could have answered so. The time of a call is not known, only between
which readings of the store's clock it had its effect: what could be so at one of them
may be so. A call whose answer was lost leads to what it would have led to had it been
accepted; that it may never have happened is the search's affair.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from leasehold.adapters.conformance.histories import (
    Acquired,
    Call,
    Issued,
    Operation,
    Plain,
    Renewed,
)
from leasehold.adapters.conformance.lease_store import Record

LOST: Final = "?"
"""The label of a lease that was given in an answer that was lost."""

_EVER_MS: Final = 1 << 62


class Standing(NamedTuple):
    """A grant that was not used: whose it is, and between what times it runs out."""

    label: str
    holder: str
    expires_at_ms: int


class State(NamedTuple):
    """A resource.

    Attributes:
        epoch: The highest epoch that was told.
        lease: The label of the last lease, None where it was given back or taken away.
        runs_out: The earliest and the latest time at which that lease may run out.
        is_begun: Whether it was claimed, and neither released nor ended since.
        values: The last value of each write.
        end: How it ended, with what result and under which lease.
        released: The leases that were given back.
        grants: The grants that were not used.
    """

    epoch: int = 0
    lease: str | None = None
    runs_out: tuple[int, int] = (0, 0)
    is_begun: bool = False
    values: tuple[tuple[str, str], ...] = ()
    end: tuple[str, str, str] | None = None
    released: frozenset[str] = frozenset()
    grants: frozenset[Standing] = frozenset()


def _to_ms(call: Call) -> int:
    return _EVER_MS if call.to_ms is None else call.to_ms


def _may_count(state: State, call: Call) -> bool:
    """Say whether the lease may count at the time of a call."""
    return state.lease is not None and call.from_ms < state.runs_out[1]


def _may_not_count(state: State, call: Call) -> bool:
    return state.lease is None or _to_ms(call) >= state.runs_out[0]


Effect = Callable[[State, Call], Iterator[State]]


def _fenced(state: State, call: Call, effect: Effect) -> Iterator[State]:
    """Let a call through that presents the lease that counts; refuse any other."""
    is_its = state.lease == call.presented
    if call.answer is Plain.REFUSED:
        if not is_its or _may_not_count(state, call):
            yield state
    elif is_its and _may_count(state, call):
        yield from effect(state, call)


def _claim(state: State, call: Call) -> Iterator[State]:
    if call.answer is Plain.NOTHING:
        if state.end is not None or _may_count(state, call) or call.is_contended:
            yield state
    elif state.end is None and _may_not_count(state, call):
        yield from _acquired(state, call)


def _acquired(state: State, call: Call) -> Iterator[State]:
    """Give the lease out: under a higher epoch, and for no longer than was asked."""
    taken = state._replace(lease=LOST, is_begun=True)
    latest_ms = _to_ms(call) + call.ttl_ms
    if call.answer is None:
        yield taken._replace(runs_out=(call.from_ms + 1, latest_ms))
    elif isinstance(call.answer, Acquired):
        label, epoch, expires_at_ms = (
            call.answer.label,
            call.answer.epoch,
            call.answer.expires_at_ms,
        )
        if epoch > state.epoch and call.from_ms < expires_at_ms <= latest_ms:
            runs_out = expires_at_ms, expires_at_ms
            yield taken._replace(lease=label, epoch=epoch, runs_out=runs_out)


def _renew(state: State, call: Call) -> Iterator[State]:
    yield from _fenced(state, call, _renewed)


def _renewed(state: State, call: Call) -> Iterator[State]:
    """Let the lease run on: never for less than before, nor longer than was asked.

    A store may insist that a renewal moves the expiry, if only by 1 ms.
    """
    earliest_ms, latest_ms = state.runs_out
    latest_ms = max(_to_ms(call) + call.ttl_ms, latest_ms + 1)
    if call.answer is None:
        yield state._replace(runs_out=(earliest_ms, latest_ms))
    elif isinstance(call.answer, Renewed):
        expires_at_ms = call.answer.expires_at_ms
        if max(earliest_ms, call.from_ms + 1) <= expires_at_ms <= latest_ms:
            yield state._replace(runs_out=(expires_at_ms, expires_at_ms))


def _write(state: State, call: Call) -> Iterator[State]:
    yield from _fenced(state, call, _written)


def _written(state: State, call: Call) -> Iterator[State]:
    values = {**dict(state.values), call.how: call.value}
    yield state._replace(values=tuple(sorted(values.items())))


def _end(state: State, call: Call) -> Iterator[State]:
    if state.end == (call.how, call.value, call.presented):
        # The same call again: answered like the first.
        if call.answer is not Plain.REFUSED:
            yield state
    else:
        yield from _fenced(state, call, _ended)


def _ended(state: State, call: Call) -> Iterator[State]:
    end = call.how, call.value, call.presented
    yield state._replace(lease=None, is_begun=False, end=end)


def _release(state: State, call: Call) -> Iterator[State]:
    if call.presented in state.released:
        # The same call again: a store may know that, or not.
        yield state
    else:
        yield from _fenced(state, call, _released)


def _released(state: State, call: Call) -> Iterator[State]:
    released = state.released | {call.presented}
    yield state._replace(lease=None, is_begun=False, released=released)


def _revoke(state: State, call: Call) -> Iterator[State]:
    if call.answer is Plain.REFUSED:
        if _may_not_count(state, call):
            yield state
    elif _may_count(state, call):
        yield state._replace(lease=None)


def _grant(state: State, call: Call) -> Iterator[State]:
    if call.answer is Plain.REFUSED:
        if not state.is_begun:
            yield state
    elif state.is_begun:
        if isinstance(call.answer, Issued):
            label, expires_at_ms = call.answer.label, call.answer.expires_at_ms
            if call.from_ms < expires_at_ms <= _to_ms(call) + call.ttl_ms:
                grant = Standing(label, call.holder, expires_at_ms)
                yield state._replace(grants=state.grants | {grant})
        else:
            # Whoever lost the answer has nothing to redeem.
            yield state


def _redeem(state: State, call: Call) -> Iterator[State]:
    named = [grant for grant in state.grants if grant.label == call.presented]
    serves = [grant for grant in named if grant.holder == call.holder]
    if call.answer is Plain.REFUSED:
        if not (serves and state.is_begun) or _to_ms(call) >= serves[0].expires_at_ms:
            yield state
    elif serves and state.is_begun and call.from_ms < serves[0].expires_at_ms:
        if call.answer is Plain.NOTHING:
            if _may_count(state, call):
                yield state
        elif _may_not_count(state, call):
            yield from _acquired(state._replace(grants=state.grants - {*serves}), call)


def _read(state: State, call: Call) -> Iterator[State]:
    ended_by, result = (None, None) if state.end is None else state.end[:2]
    if call.answer in (None, Record(dict(state.values), ended_by, result)):
        yield state


_STEPS: Final[dict[Operation, Effect]] = {
    Operation.CLAIM: _claim,
    Operation.RENEW: _renew,
    Operation.WRITE: _write,
    Operation.END: _end,
    Operation.RELEASE: _release,
    Operation.REVOKE: _revoke,
    Operation.GRANT: _grant,
    Operation.REDEEM: _redeem,
    Operation.READ: _read,
}


def step(state: State, call: Call) -> Iterator[State]:
    """Say to which states a call may lead, answered as it was."""
    return _STEPS[call.operation](state, call)


def told(state: State, began_ms: int) -> str:
    """Say what a resource is like, with times in ms since the history began."""
    if state.end is not None:
        return f"ended under lease {state.end[2]} by {state.end[0]}={state.end[1]}"
    if state.lease is None:
        held = "nobody's"
    else:
        times = [
            "any time" if at_ms >= _EVER_MS else f"{at_ms - began_ms} ms"
            for at_ms in dict.fromkeys(state.runs_out)
        ]
        held = f"under lease {state.lease}, which runs out at {' to '.join(times)}"
    grants = ", ".join(sorted(f"{one.label} for {one.holder}" for one in state.grants))
    return f"{held}; highest epoch {state.epoch}; grants: {grants or 'none'}"
