"""The live figures of one ledger: what its calls did, counted when they have ended.

Each operation is a `Call`, within which its transaction stands. The transaction notes
in it what was recorded and how long the commit took, so that what was rolled back
counts nowhere.
"""

import logging
import math
import os
import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import RLock
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self
from uuid import UUID

from leasehold.adapters.counting import Fact, Figure
from leasehold.domain.errors import ContentionError, LeaseholdError
from leasehold.domain.handles import HandleKind

BUCKETS_MS: Final = (
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0),
    *(1_000.0, 2_500.0, 5_000.0, 10_000.0, 30_000.0, 60_000.0, 300_000.0),
    *(900_000.0, 3_600_000.0),
)
"""The upper bounds of the buckets of all times, in ms; above them there is one more."""

_CLAIMING: Final = frozenset({"claim", "claim_many", "claim_from_resume_grant"})
_QUEUED_MAX: Final = 100
_NS_IN_MS: Final = 1_000_000

_log: Final = logging.getLogger("leasehold")


@dataclass(frozen=True, slots=True)
class Timing:
    """Tell how some times are spread.

    Attributes:
        count: How many there were.
        sum_ms: Their sum.
        min_ms: The shortest; None without any, like the next two.
        max_ms: The longest.
        last_ms: The last one.
        buckets: How many were at most so long in ms and longer than the bound before;
            the last bound is infinite.
    """

    count: int
    sum_ms: float
    min_ms: float | None
    max_ms: float | None
    last_ms: float | None
    buckets: Mapping[float, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Tell what a ledger did since it was opened, and the oldest orphan of its store.

    Attributes:
        claims: Leases acquired, by the kind of the handle.
        empty_claims: Calls that claim and came back with nothing.
        renewals: Leases renewed.
        refusals: Calls refused for want of a right, by the code of the error.
        errors: Other calls that failed in the store, by the code of the error.
        expiries: Leases that were recorded as run out.
        creations: Executions submitted.
        completions: Executions that ended with success.
        failures: Executions that failed for good.
        retries: Retries that were scheduled.
        cancellations: Executions that were cancelled.
        deadlines_passed: Executions that ended by their deadline.
        time_to_reclaim: From the end of a lease (run out or revoked) to its take-over,
            by a claim or with a resume grant.
        renewal_headroom: What was left of the lease at each renewal.
        commit_time: How long the commits of what was recorded took, in real time.
        oldest_orphan_ms: How long the longest of the leases that ran out or were
            revoked has been waiting to be taken over; None without one.
    """

    claims: Mapping[HandleKind, int]
    empty_claims: int
    renewals: int
    refusals: Mapping[str, int]
    errors: Mapping[str, int]
    expiries: int
    creations: int
    completions: int
    failures: int
    retries: int
    cancellations: int
    deadlines_passed: int
    time_to_reclaim: Timing
    renewal_headroom: Timing
    commit_time: Timing
    oldest_orphan_ms: int | None


class Code(NamedTuple):
    """Tell what a call ended with.

    Attributes:
        name: The code of the error; of one that is not the library's, its type.
        is_refusal: Whether the caller lacked the right.
    """

    name: str
    is_refusal: bool


class Listener(Protocol):
    """Something that is told of every call."""

    def begin(self, call: "Call") -> object:
        """Note that a call begins; what is returned comes back at its end."""
        ...

    def end(self, call: "Call", mark: object, error: BaseException | None) -> None:
        """Note that a call has ended.

        Args:
            call: The call.
            mark: What `begin` returned; None where it failed.
            error: What the caller gets; None where it got an answer.
        """
        ...


class Call:
    """One call of an operation, around its transaction.

    Attributes:
        operation: The method's name.
        execution_id: What it is about, where that is a single execution and known.
        events: How many its transaction recorded so far.
        facts: What they count as, if that was committed.
        commit_ns: How long the commit took, once it is done; None where none was.
        error: What it ended with, as a `Code`; None for an answer.
        refused: What the parts of a call of several ended with that were refused.
            Codes, as errors would keep all that they were raised from.
    """

    __slots__ = (
        "_mark",
        "_meter",
        "commit_ns",
        "error",
        "events",
        "execution_id",
        "facts",
        "operation",
        "refused",
    )

    def __init__(
        self, meter: "Meter", operation: str, execution_id: UUID | None = None
    ) -> None:
        """Say which call it is; the execution can be told later."""
        self.operation = operation
        self.execution_id = execution_id
        self.events = 0
        self.facts: list[Fact] = []
        self.commit_ns: int | None = None
        self.error: Code | None = None
        self.refused: list[Code] = []
        self._meter = meter
        self._mark: object = None

    def __enter__(self) -> Self:
        """Begin."""
        if self._meter.listener is not None:
            self._mark = self._meter.tell_begin(self._meter.listener, self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it to be counted: what was committed, and the error."""
        if exc_value is not None:
            self.error = _code_of(exc_value)
        meter = self._meter
        if meter.listener is not None:
            meter.tell_end(meter.listener, self, self._mark, exc_value)
            self._mark = None
        meter.ended.append(self)
        if len(meter.ended) >= _QUEUED_MAX or len(self.facts) >= _QUEUED_MAX:
            meter.fold()

    def refuse(self, errors: Iterable[LeaseholdError]) -> None:
        """Tell which parts of a call of several were refused."""
        self.refused = [_code_of(error) for error in errors]

    @property
    def acquired(self) -> Figure | None:
        """What a call that claims came to; None for others and after an error."""
        if self.operation not in _CLAIMING or self.error is not None:
            return None
        for figure, _ in self.facts:
            if figure in _ACQUIRED:
                return figure
        return Figure.EMPTY

    @property
    def commit_ms(self) -> float | None:
        """How long the commit of what it recorded took; None where nothing was."""
        if self.commit_ns is None or not self.events:
            return None
        return self.commit_ns / _NS_IN_MS


class Meter:
    """Counts what the calls of one ledger did; any of its threads may.

    A call that ends is put into a queue, which takes no lock. Who finds it long, or
    asks for the figures, counts what is in it.

    Attributes:
        ended: The calls that are not counted yet.
        listener: Is told of every call; None for nobody.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.listener: Listener | None = None
        self.ended: deque[Call] = deque()
        self._has_failed = False
        self._counts = dict.fromkeys(Figure, 0)
        self._refusals: dict[str, int] = {}
        self._errors: dict[str, int] = {}
        self._commits = _Times()
        self._headroom = _Times()
        self._reclaims = _Times()
        self._times = {
            Figure.RENEWED: self._headroom,
            Figure.RECLAIMED: self._reclaims,
            Figure.RESUMED: self._reclaims,
        }
        self.renew_lock()
        _meters.add(self)

    def renew_lock(self) -> None:
        """Take a lock that nobody holds.

        Reentrant: a signal handler may ask for the figures while they are counted.
        """
        self._lock = RLock()

    def fold(self) -> None:
        """Count the calls in the queue, unless somebody is at it."""
        if self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def _fold(self) -> None:
        commits: list[float] = []
        try:
            for call in self._taken():
                if call.error is not None:
                    self._count_error(call.error)
                elif call.operation in _CLAIMING and call.acquired is Figure.EMPTY:
                    self._counts[Figure.EMPTY] += 1
                for error in call.refused:
                    self._count_error(error)
                if call.commit_ns is not None and call.events:
                    commits.append(call.commit_ns / _NS_IN_MS)
                    self._count_facts(call.facts)
        finally:
            self._commits.add(commits)

    def _taken(self) -> Iterator[Call]:
        """Take the calls out of the queue, to which others may be added meanwhile."""
        with suppress(IndexError):
            while True:
                yield self.ended.popleft()

    def _count_facts(self, facts: Iterable[Fact]) -> None:
        for figure, time_ms in facts:
            self._counts[figure] += 1
            if time_ms is not None:
                self._times[figure].add((time_ms,))

    def _count_error(self, error: Code) -> None:
        counted = self._refusals if error.is_refusal else self._errors
        counted[error.name] = counted.get(error.name, 0) + 1

    def snapshot(self, *, oldest_orphan_ms: int | None) -> Metrics:
        """Return the figures so far."""
        with self._lock:
            self._fold()
            counts = self._counts
            return Metrics(
                claims={kind: counts[Figure(kind.value)] for kind in HandleKind},
                empty_claims=counts[Figure.EMPTY],
                renewals=counts[Figure.RENEWED],
                refusals=dict(self._refusals),
                errors=dict(self._errors),
                expiries=counts[Figure.LEASE_EXPIRED],
                creations=counts[Figure.CREATED],
                completions=counts[Figure.COMPLETED],
                failures=counts[Figure.FAILED],
                retries=counts[Figure.RETRIED],
                cancellations=counts[Figure.CANCELLED],
                deadlines_passed=counts[Figure.DEADLINE_PASSED],
                time_to_reclaim=self._reclaims.spread(),
                renewal_headroom=self._headroom.spread(),
                commit_time=self._commits.spread(),
                oldest_orphan_ms=oldest_orphan_ms,
            )

    def tell_begin(self, listener: Listener, call: Call) -> object:
        """Tell the listener, whose failure is not the call's."""
        try:
            return listener.begin(call)
        except Exception:  # noqa: BLE001 - whatever the listener is made of
            self._note_failure()
        return None

    def tell_end(
        self, listener: Listener, call: Call, mark: object, error: BaseException | None
    ) -> None:
        """Tell the listener, whose failure is not the call's."""
        try:
            listener.end(call, mark, error)
        except Exception:  # noqa: BLE001 - whatever the listener is made of
            self._note_failure()

    def _note_failure(self) -> None:
        """Log the first failure as a warning; the others would be as many as calls."""
        level = logging.DEBUG if self._has_failed else logging.WARNING
        self._has_failed = True
        _log.log(level, "the telemetry of a call failed", exc_info=True)


class _Times:
    """Times that are still being added to."""

    __slots__ = ("_buckets", "_count", "_last_ms", "_max_ms", "_min_ms", "_sum_ms")

    def __init__(self) -> None:
        self._count = 0
        self._sum_ms = 0.0
        self._min_ms = math.inf
        self._max_ms = -math.inf
        self._last_ms = 0.0
        self._buckets = [0] * (len(BUCKETS_MS) + 1)

    def add(self, times_ms: Sequence[float]) -> None:
        """Add some, in their order."""
        if not times_ms:
            return
        self._count += len(times_ms)
        self._sum_ms += sum(times_ms)
        self._last_ms = times_ms[-1]
        self._min_ms = min(self._min_ms, *times_ms)
        self._max_ms = max(self._max_ms, *times_ms)
        for time_ms in times_ms:
            self._buckets[bisect_left(BUCKETS_MS, time_ms)] += 1

    def spread(self) -> Timing:
        """Return what there is so far."""
        some = self._count > 0
        return Timing(
            count=self._count,
            sum_ms=float(self._sum_ms),
            min_ms=float(self._min_ms) if some else None,
            max_ms=float(self._max_ms) if some else None,
            last_ms=float(self._last_ms) if some else None,
            buckets=dict(zip((*BUCKETS_MS, math.inf), self._buckets, strict=True)),
        )


def _code_of(error: BaseException) -> Code:
    if isinstance(error, LeaseholdError):
        return Code(error.code, isinstance(error, ContentionError))
    return Code(type(error).__qualname__, is_refusal=False)


_ACQUIRED: Final = frozenset({Figure.FRESH, Figure.RESUMED, Figure.RECLAIMED})
_meters: "Final[weakref.WeakSet[Meter]]" = weakref.WeakSet()


def _renew_locks() -> None:
    for meter in list(_meters):
        meter.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
