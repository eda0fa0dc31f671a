"""Submission, the passing of time, and claims, as the contract states them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger_model.records import TERMINAL, Attempt, Execution, Lease, Presented, Refused

if TYPE_CHECKING:
    from uuid import UUID

KINDS_DUE = ("deadlines", "delays", "leases")


class Model:
    """The ledger as a dictionary of executions and a clock that may step back."""

    def __init__(self, clock_ms: int) -> None:
        """Start empty at the given time."""
        self.clock_ms = clock_ms
        self.executions: dict[UUID, Execution] = {}
        self.keys: dict[tuple[str, str], UUID] = {}
        self.refusals: dict[Presented, int] = {}

    def now(self, execution: Execution) -> int:
        """Return the clock, never before the execution's last recorded time."""
        return max(self.clock_ms, execution.last_ms)

    def write(self, execution: Execution, now_ms: int, *topics: str) -> None:
        """Note events recorded at a time."""
        execution.last_ms = now_ms
        execution.topics += topics

    def existing(self, execution_id: UUID) -> Execution:
        """Return the execution or refuse."""
        if execution_id not in self.executions:
            raise Refused("not_found")
        return self.executions[execution_id]

    def known(self, spec: dict[str, Any]) -> UUID | None:
        """Return the execution that this specification made before, if any."""
        key = (spec["namespace"], spec["idempotency_key"])
        by_key = self.keys.get(key) if spec["idempotency_key"] is not None else None
        given = spec["execution_id"]
        found = by_key or (given if given in self.executions else None)
        if found is None:
            return None
        first = self.executions[found]
        same = {**first.spec, "execution_id": None} == {**spec, "execution_id": None}
        if not same or given not in (None, found):
            raise Refused("conflict")
        return found

    def add(self, spec: dict[str, Any], execution_id: UUID) -> None:
        """Create the execution."""
        now_ms, until = self.clock_ms, spec["delay_until_ms"]
        delayed = until is not None and until > now_ms
        self.executions[execution_id] = Execution(
            execution_id=execution_id,
            spec=spec,
            created_at_ms=now_ms,
            last_ms=now_ms,
            situation="delayed" if delayed else "due",
            eligible_at_ms=until if delayed else now_ms,
            deadline_at_ms=spec["deadline_at_ms"],
            priority=spec["priority"],
            topics=["execution.created"],
        )
        if spec["idempotency_key"] is not None:
            self.keys[spec["namespace"], spec["idempotency_key"]] = execution_id

    def create_all(self, specs: list[dict[str, Any]]) -> list[UUID]:
        """Create executions that name their ids: all of them, or none."""
        before = (dict(self.executions), dict(self.keys))
        made = []
        try:
            for spec in specs:
                known = self.known(spec)
                if known is None:
                    self.add(spec, spec["execution_id"])
                made.append(known or spec["execution_id"])
        except Refused:
            self.executions, self.keys = before
            raise
        return made

    def come_due(self, kind: str, lane_id: str | None) -> list[Execution]:
        """Return what the clock itself has passed, longest due first."""
        found = []
        for execution in self.executions.values():
            if lane_id not in (None, execution.spec["lane_id"]):
                continue
            due_at_ms = self.due_at(kind, execution)
            if due_at_ms is not None and due_at_ms <= self.clock_ms:
                found.append((due_at_ms, execution.execution_id, execution))
        return [execution for _, _, execution in sorted(found, key=lambda it: it[:2])]

    def due_at(self, kind: str, execution: Execution) -> int | None:
        """Return when this kind of change comes due for the execution, if ever."""
        if kind == "deadlines" and execution.situation not in TERMINAL:
            return execution.deadline_at_ms
        if kind == "delays" and execution.situation == "delayed":
            return execution.eligible_at_ms
        if kind == "leases" and execution.situation == "leased":
            return execution.leases[-1].expires_at_ms
        return None

    def sweep(
        self, limit: int, lane_id: str | None = None, cause: str = "sweep"
    ) -> tuple[int, int, int]:
        """Record what came due; return leases, delays and deadlines recorded."""
        counts = []
        for kind in KINDS_DUE:
            chosen = self.come_due(kind, lane_id)[:limit]
            counts.append(len(chosen))
            for execution in chosen:
                now_ms = self.now(execution)
                if kind == "deadlines":
                    self.pass_deadline(execution)
                elif kind == "delays":
                    execution.situation = "due"
                    self.write(execution, now_ms, "execution.became_eligible")
                else:
                    self.lapse(execution, now_ms, cause)
        deadlines, delays, leases = counts
        return leases, delays, deadlines

    def lapse(self, execution: Execution, now_ms: int, cause: str) -> None:
        """Record that the lease ran out."""
        execution.situation = "lapsed"
        self.write(execution, now_ms, "attempt.lease_expired")
        self.lease_row(execution, "expired", cause)

    def lease_row(self, execution: Execution, event_type: str, cause: str) -> None:
        """Note a row of `lease_event` about the current lease."""
        lease = execution.leases[-1]
        row = (lease.attempt_index, lease.epoch, event_type, cause)
        execution.lease_rows.append(row)

    def pass_deadline(self, execution: Execution) -> None:
        """End an execution at its deadline."""
        self.end(execution, "expired", "attempt.deadline_passed", "deadline")

    def end(self, execution: Execution, outcome: str, topic: str, cause: str) -> None:
        """End an execution from outside: cancelled, or past its deadline."""
        now_ms, active = self.now(execution), execution.active
        execution.index_when_ended = execution.attempt_index
        if active:
            attempt = execution.attempts[-1]
            attempt.outcome, attempt.terminal_at_ms = outcome, now_ms
            self.write(execution, now_ms, topic)
            self.lease_row(execution, "revoked", cause)
        self.write(execution, now_ms, f"execution.{outcome}")
        execution.situation, execution.terminal_at_ms = outcome, now_ms

    def claim(
        self,
        lane_id: str,
        capabilities: tuple[str, ...],
        worker: tuple[str, str | None],
        ttl_ms: int,
    ) -> tuple[Execution, Lease, str] | None:
        """Record what came due, then take the best execution that it serves."""
        self.sweep(100, lane_id, "claim")
        while True:
            waiting = [
                execution
                for execution in self.executions.values()
                if execution.spec["lane_id"] == lane_id
                and execution.situation in ("due", "lapsed", "revoked")
                and set(execution.spec["capabilities"]) <= set(capabilities)
            ]
            if not waiting:
                return None
            best = min(
                waiting,
                key=lambda it: (-it.priority, it.created_at_ms, it.execution_id),
            )
            deadline = best.deadline_at_ms
            if deadline is not None and deadline <= self.now(best):
                self.pass_deadline(best)
            elif best.situation == "due":
                return best, self.start(best, worker, ttl_ms, "acquired"), "FRESH"
            elif self.interrupt(best):
                return best, self.start(best, worker, ttl_ms, "reclaimed"), "RECLAIMED"

    def interrupt(self, execution: Execution) -> bool:
        """Close the attempt under way; say whether another may be started."""
        now_ms, attempt = self.now(execution), execution.attempts[-1]
        attempt.outcome, attempt.terminal_at_ms = "interrupted_reclaimed", now_ms
        self.write(execution, now_ms, "attempt.interrupted")
        if execution.reclaims + 1 > execution.spec["max_reclaim_count"]:
            execution.index_when_ended = execution.attempt_index
            execution.situation, execution.terminal_at_ms = "failed", now_ms
            execution.terminal_cause = "reclaims_exhausted"
            self.write(execution, now_ms, "execution.failed")
            return False
        execution.reclaims += 1
        return True

    def start(
        self,
        execution: Execution,
        worker: tuple[str, str | None],
        ttl_ms: int,
        event_type: str,
    ) -> Lease:
        """Start the next attempt under a new lease."""
        now_ms = self.now(execution)
        lease = self.grant_lease(execution, len(execution.attempts), worker, ttl_ms)
        execution.attempts.append(Attempt(lease, now_ms))
        if execution.started_at_ms is None:
            execution.started_at_ms = now_ms
        self.write(execution, now_ms, "execution.claimed", "attempt.started")
        self.lease_row(execution, event_type, "claim")
        return lease

    def grant_lease(
        self,
        execution: Execution,
        attempt_index: int,
        worker: tuple[str, str | None],
        ttl_ms: int,
    ) -> Lease:
        """Give out the next epoch."""
        execution.epoch += 1
        execution.situation = "leased"
        expires_at_ms = self.now(execution) + ttl_ms
        epoch = execution.epoch
        lease = Lease(attempt_index, epoch, *worker, ttl_ms, expires_at_ms)
        execution.leases.append(lease)
        return lease
