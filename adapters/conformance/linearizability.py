"""Searching an order of calls that explains what they answered.

A history is linearizable (Herlihy and Wing, *Linearizability: A Correctness Condition
for Concurrent Objects*, TOPLAS 12(3), 1990) if its calls can be put into one order in
which each could have been answered as it was, and which keeps the order of calls that
did not overlap. The search is that of Wing and Gong (*Testing and Verifying Concurrent
Objects*, JPDC 17, 1993): take any call that no other one is sure to come before, let
the model answer, go on; go back where the model would have answered otherwise. Lowe
(*Testing for Linearizability*, Concurrency and Computation: Practice and Experience
29(4), 2017) remembers which calls were placed and what state they led to: a pair that
was met before leads nowhere else. So the tree becomes a graph, and of the n! orders of
n calls at once at most 2 to the n sets are looked at, for each state.

A call whose answer was lost may have had its effect at any time since, or never: it is
under way to the end, and an order is complete without it.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

StateT = TypeVar("StateT", bound=Hashable)


class Timed(Protocol):
    """A call with its place in time, of whatever unit."""

    @property
    def invoked(self) -> int:
        """When the call was made."""
        ...

    @property
    def returned(self) -> int | None:
        """When its answer was there, None where it was lost."""
        ...


CallT = TypeVar("CallT", bound=Timed)

Step = Callable[[StateT, CallT], Iterable[StateT]]
"""The model: which states a call may lead to from a state, as it was answered; none
where it could not have been answered so."""


@dataclass(frozen=True, slots=True)
class Search(Generic[StateT]):
    """What a search found.

    Attributes:
        order: The calls in an order that explains them, by their number; None where
            there is none.
        furthest: The longest order that explains as many as it has.
        state: What that one leads to.
        visited: How many pairs of calls placed and state were looked at.
    """

    order: tuple[int, ...] | None
    furthest: tuple[int, ...]
    state: StateT
    visited: int

    @property
    def ok(self) -> bool:
        """Whether the history is linearizable."""
        return self.order is not None


def find_order(
    calls: Sequence[CallT],
    begin: StateT,
    step: Step[StateT, CallT],
    *,
    remembers: bool = True,
) -> Search[StateT]:
    """Search an order of calls that explains what they answered.

    Args:
        calls: The history, in any order.
        begin: The state before it.
        step: The model.
        remembers: Whether to go on from each pair of calls placed and state once only.
            Without, it finds the same and takes longer.
    """
    answered = _bits(calls, lambda call: call.returned is not None)
    seen: set[tuple[int, StateT]] = set()
    furthest: tuple[int, tuple[int, ...], StateT] = (0, (), begin)
    stack: list[tuple[int, StateT, tuple[int, ...]]] = [(0, begin, ())]
    visited = 0
    while stack:
        placed, state, order = stack.pop()
        visited += 1
        explained = (placed & answered).bit_count()
        if explained > furthest[0]:
            furthest = explained, order, state
        if placed & answered == answered:
            return Search(order, order, state, visited)
        for number in _next_ones(calls, placed):
            for after in step(state, calls[number]):
                reached = placed | 1 << number, after
                if remembers:
                    if reached in seen:
                        continue
                    seen.add(reached)
                stack.append((*reached, (*order, number)))
    return Search(None, furthest[1], furthest[2], visited)


def _bits(calls: Sequence[CallT], chosen: Callable[[CallT], bool]) -> int:
    return sum(1 << number for number, call in enumerate(calls) if chosen(call))


def _next_ones(calls: Sequence[CallT], placed: int) -> list[int]:
    """Return the calls that may come next: made before any that is left had returned.

    The last one is tried first: the first to return, and lost ones at the very end.
    """
    left = [number for number in range(len(calls)) if not placed >> number & 1]
    returns = [at for number in left if (at := calls[number].returned) is not None]
    first = min(returns, default=None)
    ready = [
        number for number in left if first is None or calls[number].invoked <= first
    ]
    last = max(returns, default=0) + 1
    return sorted(ready, key=lambda number: -(calls[number].returned or last))


def shortened(
    calls: Sequence[CallT],
    begin: StateT,
    step: Step[StateT, CallT],
    *,
    unanswered: Callable[[CallT], CallT],
    is_idle: Callable[[CallT], bool],
) -> list[CallT]:
    """Return a part of a history without order that has none either.

    It ends with the first answer that cannot be explained; what is answered later is
    still under way there. Then calls without effect are left out that are not needed:
    whoever can explain a history can explain it without those.

    Args:
        calls: The history, which has no order.
        begin: The state before it.
        step: The model.
        unanswered: Makes a call one whose answer was lost.
        is_idle: Whether a call, as it was answered, cannot have changed anything.
    """
    kept = sorted(calls, key=lambda call: call.invoked)
    for end in sorted(call.returned for call in kept if call.returned is not None):
        until = [
            call
            if call.returned is not None and call.returned <= end
            else unanswered(call)
            for call in kept
            if call.invoked <= end
        ]
        if not find_order(until, begin, step).ok:
            kept = until
            break
    for call in list(kept):
        fewer = [other for other in kept if other is not call]
        if is_idle(call) and not find_order(fewer, begin, step).ok:
            kept = fewer
    return kept
