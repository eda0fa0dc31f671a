"""Claiming work, resuming it with a grant, and sweeping what has come due."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from leasehold.adapters.commands import Commands, load_existing
from leasehold.adapters.due import (
    DUE_IN_A_CLAIM,
    Due,
    due_in_lane,
    record_due,
)
from leasehold.adapters.metering import Call
from leasehold.adapters.recording import record
from leasehold.adapters.store import Asked, ReadSession, Row, WriteSession
from leasehold.domain import executions, limits, transitions
from leasehold.domain.attempts import AttemptLeaseReclaimed, AttemptStarted
from leasehold.domain.grants import RecordedGrant, ResumeGrant, check_grant, check_known
from leasehold.domain.handles import Handle, HandleKind, Lease
from leasehold.domain.states import LeaseCause, LifecyclePhase
from leasehold.domain.transitions import NewLease

LEASE_TTL_MS_DEFAULT = 30_000

_DEPTHS: Final = (16, 256, 100_000)
"""How many of each capability set to look at, where others hold the best ones."""


@dataclass(frozen=True, slots=True)
class _Search:
    """A worker's search for the best claimable execution of a lane."""

    lane_id: str
    offered: frozenset[str]
    now_ms: int | None

    def asked(self, depth: int = _DEPTHS[0]) -> Asked:
        """Ask for the best claimable executions of each capability set."""
        return "candidates", {
            "lane_id": self.lane_id,
            "now_ms": self.now_ms,
            "offered": json.dumps(sorted(self.offered)),
            "depth": depth,
        }

    def fetch(self, session: ReadSession, depth: int = _DEPTHS[0]) -> list[Row]:
        """Return what `asked` asks for."""
        name, parameters = self.asked(depth)
        return session.fetch_all(name, **parameters)

    def begin(self, session: WriteSession) -> list[Row]:
        """Record what has come due in the lane; return what `asked` asks for."""
        due, found = session.fetch_each(
            due_in_lane(self.lane_id, now_ms=self.now_ms, most=DUE_IN_A_CLAIM),
            self.asked(),
        )
        if not due:
            return found
        for kind in Due:
            record_due(session, kind, due, cause=LeaseCause.CLAIM)
        return self.fetch(session)

    def best(self, session: ReadSession, found: Sequence[Row]) -> str | None:
        """Return the id of the best one found that the worker satisfies.

        Looks deeper where others are about to take all that were looked at: then
        there is a row without an id.
        """
        for depth in _DEPTHS[1:]:
            if all(execution_id is not None for *_, execution_id in found):
                break
            found = self.fetch(session, depth)
        served = [
            (-priority, created_at_ms, execution_id)
            for required, priority, created_at_ms, execution_id in found
            if execution_id is not None
            and (
                not required or executions.satisfies(self.offered, required.split(","))
            )
        ]
        return min(served)[2] if served else None


@dataclass(frozen=True, slots=True)
class SweepReport:
    """Count what a sweep recorded.

    Attributes:
        leases_expired: Leases that had run out.
        delays_due: Delayed executions that may be claimed now.
        deadlines_passed: Executions that ended as expired.
    """

    leases_expired: int
    delays_due: int
    deadlines_passed: int


class ClaimCommands(Commands):
    """The operations by which a worker comes to a lease."""

    def claim(
        self,
        lane_id: str = "default",
        *,
        capabilities: Iterable[str] = (),
        worker_id: str,
        worker_instance_id: str | None = None,
        lease_ttl_ms: int = LEASE_TTL_MS_DEFAULT,
    ) -> Handle | None:
        """Take the best execution of a lane that this worker satisfies.

        The best is the one of the highest priority, of those the oldest, of those
        the one with the lowest id. What has come due in the lane is recorded first,
        at most 100 of each kind.

        Args:
            lane_id: The lane.
            capabilities: What the worker offers.
            worker_id: Who claims, 1 to 128 bytes.
            worker_instance_id: Which process of that worker, 1 to 128 bytes.
            lease_ttl_ms: 1 … 86,400,000; how long the lease runs without renewal.

        Returns:
            A handle, RECLAIMED where a lost lease was taken over and FRESH
            otherwise; None where there is nothing to take.

        Raises:
            InvalidInputError: An argument breaks its rule.
            StoreError: The store could not do it.
        """
        limits.name("lane_id", lane_id)
        offered = frozenset(limits.capabilities("capabilities", capabilities))
        lease = self._new_lease(worker_id, worker_instance_id, lease_ttl_ms)

        def take(session: WriteSession) -> Handle | None:
            search = _Search(lane_id, offered, session.query_now_ms())
            return self._take_best(session, search, search.begin(session), lease)

        with Call(self._meter, "claim") as call:
            handle = self._store.transact(call, take)
            if handle is not None:
                call.execution_id = handle.execution_id
            return handle

    def claim_many(  # noqa: PLR0913 - what `claim` takes, and how many
        self,
        limit: int,
        lane_id: str = "default",
        *,
        capabilities: Iterable[str] = (),
        worker_id: str,
        worker_instance_id: str | None = None,
        lease_ttl_ms: int = LEASE_TTL_MS_DEFAULT,
    ) -> list[Handle]:
        """Take the best executions of a lane that this worker satisfies.

        One transaction in the place of as many calls of `claim`, which says the rest.

        Args:
            limit: 1 … 10,000; at most so many.
            lane_id: The lane.
            capabilities: What the worker offers.
            worker_id: Who claims, 1 to 128 bytes.
            worker_instance_id: Which process of that worker, 1 to 128 bytes.
            lease_ttl_ms: 1 … 86,400,000; how long each lease runs without renewal.

        Returns:
            The handles, best first; as many as there was something to take.

        Raises:
            InvalidInputError: An argument breaks its rule.
            StoreError: The store could not do it; nothing was taken.
        """
        limits.integer("limit", limit, least=1, most=limits.SEVERAL_MAX)
        limits.name("lane_id", lane_id)
        offered = frozenset(limits.capabilities("capabilities", capabilities))
        lease = self._new_lease(worker_id, worker_instance_id, lease_ttl_ms)

        def take(session: WriteSession) -> list[Handle]:
            search = _Search(lane_id, offered, session.query_now_ms())
            found = search.begin(session)
            handles: list[Handle] = []
            next_lease = lease
            while len(handles) < limit:
                handle = self._take_best(session, search, found, next_lease)
                if handle is None:
                    break
                handles.append(handle)
                next_lease = replace(lease, lease_id=self._draws.lease_id())
                found = search.fetch(session)
            return handles

        with Call(self._meter, "claim_many") as call:
            return self._store.transact(call, take)

    def _take_best(
        self,
        session: WriteSession,
        search: _Search,
        found: Sequence[Row],
        lease: NewLease,
    ) -> Handle | None:
        """Take the best execution; None where there is nothing to take."""
        while (best := search.best(session, found)) is not None:
            handle = self._take(session, best, lease)
            if handle is not None:
                return handle
            found = search.fetch(session)
        return None

    def _new_lease(
        self, worker_id: str, worker_instance_id: str | None, lease_ttl_ms: int
    ) -> NewLease:
        most = limits.WORKER_BYTES_MAX
        limits.name("worker_id", worker_id, bytes_max=most)
        if worker_instance_id is not None:
            limits.name("worker_instance_id", worker_instance_id, bytes_max=most)
        limits.integer(
            "lease_ttl_ms", lease_ttl_ms, least=1, most=limits.LEASE_TTL_MS_MAX
        )
        return NewLease(
            lease_id=self._draws.lease_id(),
            lease_ttl_ms=lease_ttl_ms,
            worker_id=worker_id,
            worker_instance_id=worker_instance_id,
        )

    def _take(
        self, session: WriteSession, execution_id: str, lease: NewLease
    ) -> Handle | None:
        """Start an attempt; None where the execution ended instead."""
        loaded = load_existing(session, execution_id)
        clock_at_ms = session.now_ms()
        now_ms = loaded.now_ms(clock_at_ms)
        kind = HandleKind.FRESH
        if executions.is_past_deadline(loaded.execution, now_ms=now_ms):
            events = transitions.pass_deadline(
                loaded.execution, loaded.attempt, now_ms=now_ms
            )
        elif loaded.execution.lifecycle_phase is LifecyclePhase.RUNNABLE:
            events = transitions.claim(
                loaded.execution, loaded.attempt, lease, now_ms=now_ms
            )
        else:
            kind = HandleKind.RECLAIMED
            events = transitions.take_over(
                loaded.execution, loaded.current_attempt(), lease, now_ms=now_ms
            )
        record(session, loaded, events, clock_at_ms=clock_at_ms)
        started = events[-1]
        if not isinstance(started, AttemptStarted):
            return None
        return self._handle(kind, started)

    def _handle(
        self, kind: HandleKind, lease: AttemptStarted | AttemptLeaseReclaimed
    ) -> Handle:
        return Handle.of(
            self._store.backend,
            kind,
            Lease(
                execution_id=lease.execution_id,
                attempt_index=lease.attempt_index,
                lease_epoch=lease.lease_epoch,
                lease_id=lease.lease_id,
                expires_at_ms=lease.lease_expires_at_ms,
            ),
        )

    def claim_from_resume_grant(
        self,
        grant: ResumeGrant,
        *,
        worker_id: str,
        worker_instance_id: str | None = None,
        lease_ttl_ms: int = LEASE_TTL_MS_DEFAULT,
    ) -> Handle | None:
        """Go on with the attempt that a grant is for, under the next epoch.

        Args:
            grant: As issued, or read by `ResumeGrant.parse`.
            worker_id: The worker that the grant was issued for.
            worker_instance_id: Which process of that worker, 1 to 128 bytes.
            lease_ttl_ms: 1 … 86,400,000.

        Returns:
            A handle of kind RESUMED; None where the current lease still stands, and
            the grant can be used later.

        Raises:
            InvalidInputError: An argument breaks its rule.
            InvalidGrantError: The grant is unknown, used, run out or another
                worker's.
            ExecutionNotActiveError: There is no attempt to go on with.
            StoreError: The store could not do it.
        """
        if not isinstance(grant, ResumeGrant):
            rule = "a ResumeGrant (text is read by ResumeGrant.parse)"
            raise limits.refuse("grant", grant, rule)
        lease = self._new_lease(worker_id, worker_instance_id, lease_ttl_ms)

        def resume(session: WriteSession) -> Handle | None:
            recorded = check_known(grant, _recorded_grant(session, grant))
            loaded = load_existing(session, recorded.execution_id)
            # Another worker may have used it before the execution was locked.
            recorded = check_known(grant, _recorded_grant(session, grant))
            clock_at_ms = session.now_ms()
            now_ms = loaded.now_ms(clock_at_ms)
            check_grant(recorded, worker_id=worker_id, now_ms=now_ms)
            executions.check_active(loaded.execution)
            resumed = transitions.resume(
                loaded.current_attempt(),
                lease,
                grant_id=grant.grant_id,
                now_ms=now_ms,
            )
            if resumed is None:
                return None
            record(session, loaded, (resumed,), clock_at_ms=clock_at_ms)
            return self._handle(HandleKind.RESUMED, resumed)

        with Call(self._meter, "claim_from_resume_grant", grant.execution_id) as call:
            return self._store.transact(call, resume)

    def sweep(self, limit: int = 1000) -> SweepReport:
        """Record what has come due in all lanes, longest due first.

        A claim records what is due in its own lane; a sweep is for lanes that nobody
        claims from, and for dashboards that should not wait for the next claim.

        Args:
            limit: 1 … 1,000,000; at most so many of each kind.

        Raises:
            InvalidInputError: The limit is out of bounds.
            StoreError: The store could not do it.
        """
        limits.page(limit)
        counts = dict.fromkeys(Due, 0)

        def record_all(session: WriteSession) -> None:
            now_ms = session.query_now_ms()
            asked = [
                due_in_lane(lane_id, now_ms=now_ms, most=limit)
                for (lane_id,) in session.fetch_all("lanes")
            ]
            due = sorted(
                (row for rows in session.fetch_each(*asked) for row in rows),
                key=_longest,
            )
            for kind in Due:
                of_kind = [row for row in due if row[0] == kind][:limit]
                counts[kind] = record_due(
                    session, kind, of_kind, cause=LeaseCause.SWEEP
                )

        with Call(self._meter, "sweep") as call:
            self._store.transact(call, record_all)
        return SweepReport(
            leases_expired=counts[Due.LEASE],
            delays_due=counts[Due.DELAY],
            deadlines_passed=counts[Due.DEADLINE],
        )


def _longest(row: Collection[object]) -> tuple[object, object]:
    _, execution_id, due_at_ms = row
    return due_at_ms, execution_id


def _recorded_grant(session: ReadSession, grant: ResumeGrant) -> RecordedGrant | None:
    row = session.fetch_one("grant_by_id", grant_id=str(grant.grant_id))
    if row is None:
        return None
    return RecordedGrant(
        grant_id=UUID(row[0]),
        execution_id=UUID(row[1]),
        worker_id=row[2],
        expires_at_ms=row[3],
        used_at_ms=row[4],
    )
