"""What an audit counts and measures over all tenures."""

from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from leasehold.domain.audit_state import AuditState
from leasehold.domain.states import TenureEnd, TenureOrigin
from leasehold.domain.tenures import Tenure

_MEASURE_MAX: Final = 2**63 - 1
_PERCENT: Final = 95


@dataclass(frozen=True, slots=True)
class Spread:
    """How a measured value spreads.

    Attributes:
        count: How many values there are.
        mean: Their mean; None where there is none, like the others.
        p95: The 95th percentile by nearest rank: the least value that at least 95 % of
            all values do not exceed.
        max: The greatest.
    """

    count: int
    mean: float | None
    p95: int | None
    max: int | None


@dataclass(frozen=True, slots=True)
class HolderFigures:
    """What is counted for a lane and for a worker.

    Attributes:
        tenures: How many there were.
        renewals: Of those tenures.
        refusals: Recorded refusals that presented the lease of one of them.
        reclaims: Tenures that took over from one that expired or was revoked.
        false_reclaims: Tenures whose holder wrote on after its lease had run out and
            was taken over.
        expiries: Tenures that ended by their expiry.
        held_ms: The sum of their lengths; one that is live counts up to the audit.
        orphaned_ms: The sum of the times from their expiry or revocation to the
            take-over.
    """

    tenures: int = 0
    renewals: int = 0
    refusals: int = 0
    reclaims: int = 0
    false_reclaims: int = 0
    expiries: int = 0
    held_ms: int = 0
    orphaned_ms: int = 0


@dataclass(frozen=True, slots=True)
class LaneFigures(HolderFigures):
    """What is counted for a lane."""


@dataclass(frozen=True, slots=True)
class WorkerFigures(HolderFigures):
    """What is counted for a worker."""


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """What an audit counted and measured.

    Attributes:
        events: How many events were read.
        executions: Of how many executions.
        tenures: How many there were.
        renewals: Of those tenures.
        refusals: How many refused writes are recorded.
        reclaims: Tenures that took over from one that expired or was revoked.
        false_reclaims: Tenures whose holder wrote on after its lease had run out and
            was taken over.
        time_to_reclaim_ms: From the expiry or revocation of a lease to the take-over.
        orphaned_ms: The sum of those times.
        orphans_now: Executions whose lease ran out or was revoked and that nobody has
            taken, at the time of the audit.
        attempts_per_execution: Of the executions that were ever claimed.
        longest_tenure_ms: From the acquisition to the end; to the audit where it lives.
        by_lane: The same for each lane, by name.
        by_worker: The same for each worker, by name.
    """

    events: int
    executions: int
    tenures: int
    renewals: int
    refusals: int
    reclaims: int
    false_reclaims: int
    time_to_reclaim_ms: Spread
    orphaned_ms: int
    orphans_now: int
    attempts_per_execution: Spread
    longest_tenure_ms: int | None
    by_lane: Mapping[str, LaneFigures]
    by_worker: Mapping[str, WorkerFigures]


@dataclass(slots=True)
class _Counts:
    """What is counted for all, for a lane or for a worker, so far."""

    tenures: int = 0
    renewals: int = 0
    refusals: int = 0
    reclaims: int = 0
    false_reclaims: int = 0
    expiries: int = 0
    held_ms: int = 0
    orphaned_ms: int = 0


class _Measures:
    """Measured values, eight bytes each."""

    def __init__(self) -> None:
        self._values = array("q")

    def add(self, value: int) -> None:
        # Times in a damaged event may be of any size.
        self._values.append(max(-_MEASURE_MAX, min(value, _MEASURE_MAX)))

    def spread(self) -> Spread:
        count = len(self._values)
        if not count:
            return Spread(0, None, None, None)
        ordered = sorted(self._values)
        rank = -(-count * _PERCENT // 100)
        return Spread(count, sum(ordered) / count, ordered[rank - 1], ordered[-1])


class Tally:
    """Counts and measures what the audits of single executions found.

    A tenure counts if it was held at `since_ms` or later; without it all do. Memory
    grows with the tenures that were taken over and with the executions, by a few bytes
    each, and with the lanes and workers that there are.
    """

    def __init__(self, since_ms: int | None = None) -> None:
        """Begin with nothing."""
        self._since_ms = since_ms
        self._all = _Counts()
        self._by_lane: dict[str, _Counts] = {}
        self._by_worker: dict[str, _Counts] = {}
        self._refusals = 0
        self._orphans = 0
        self._longest_ms: int | None = None
        self._reclaim_ms = _Measures()
        self._attempts = _Measures()

    def add(self, execution: AuditState) -> None:
        """Count one execution, after its audit."""
        self._refusals += execution.refusals
        self._orphans += execution.orphaned
        is_counted = False
        for tenure in execution.tenures:
            ended_at_ms = tenure.ended_at_ms(now_ms=execution.now_ms)
            if (
                self._since_ms is None
                or ended_at_ms is None
                or ended_at_ms >= self._since_ms
            ):
                is_counted = True
                self._add_tenure(tenure, ended_at_ms, execution.now_ms)
        if is_counted:
            self._attempts.add(execution.attempts)

    def _add_tenure(self, tenure: Tenure, ended_at_ms: int | None, now_ms: int) -> None:
        end_ms = now_ms if ended_at_ms is None else ended_at_ms
        held_ms = max(0, end_ms - tenure.acquired_at_ms)
        if self._longest_ms is None or held_ms > self._longest_ms:
            self._longest_ms = held_ms
        orphaned_ms = tenure.orphaned_ms(now_ms=now_ms)
        if orphaned_ms is not None:
            self._reclaim_ms.add(orphaned_ms)
        has_expired = tenure.ended_by(now_ms=now_ms) is TenureEnd.EXPIRED
        is_reclaim = tenure.acquired_by is not TenureOrigin.CLAIM
        for counts in (
            self._all,
            self._by_lane.setdefault(tenure.lane_id, _Counts()),
            self._by_worker.setdefault(tenure.worker_id, _Counts()),
        ):
            counts.tenures += 1
            counts.renewals += tenure.renewals
            counts.refusals += tenure.refusals
            counts.held_ms += held_ms
            if has_expired or is_reclaim or orphaned_ms:
                counts.reclaims += is_reclaim
                counts.expiries += has_expired
                counts.false_reclaims += tenure.has_falsely_lost
                counts.orphaned_ms += orphaned_ms or 0

    def figures(self, *, events: int, executions: int) -> AuditFigures:
        """Return the figures, of so many events and executions that were read."""
        counted = self._all
        return AuditFigures(
            events=events,
            executions=executions,
            tenures=counted.tenures,
            renewals=counted.renewals,
            refusals=self._refusals,
            reclaims=counted.reclaims,
            false_reclaims=counted.false_reclaims,
            time_to_reclaim_ms=self._reclaim_ms.spread(),
            orphaned_ms=counted.orphaned_ms,
            orphans_now=self._orphans,
            attempts_per_execution=self._attempts.spread(),
            longest_tenure_ms=self._longest_ms,
            by_lane={
                name: LaneFigures(**asdict(counts))
                for name, counts in sorted(self._by_lane.items())
            },
            by_worker={
                name: WorkerFigures(**asdict(counts))
                for name, counts in sorted(self._by_worker.items())
            },
        )
