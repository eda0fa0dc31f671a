"""The worker's and the operator's calls, as the contract states them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ledger_model.claiming import Model
from ledger_model.records import (
    RETRIED,
    TERMINAL,
    Attempt,
    Execution,
    Grant,
    Lease,
    Presented,
    Refused,
    best_effort_kept,
    merge_patch,
    power_of_two,
)

if TYPE_CHECKING:
    from uuid import UUID


class WorkerModel(Model):
    """Adds what the holder of a handle may do."""

    def lease_presented(self, presented: Presented) -> Lease | None:
        """Return the lease that the handle names, if it ever existed."""
        for lease in self.executions[presented.execution_id].leases:
            known = (lease.attempt_index, lease.lease_id, lease.epoch)
            shown = (presented.attempt_index, presented.lease_id, presented.lease_epoch)
            if known == shown:
                return lease
        return None

    def verdict(self, presented: Presented) -> str | None:
        """Return the code with which the guard refuses, or nothing."""
        execution = self.executions.get(presented.execution_id)
        if execution is None or presented.attempt_index >= len(execution.attempts):
            return "not_found"
        if not execution.active:
            return "execution_not_active"
        if execution.situation == "revoked":
            return "lease_revoked"
        if self.lease_presented(presented) is not execution.leases[-1]:
            return "lease_conflict"
        if self.now(execution) >= execution.leases[-1].expires_at_ms:
            return "lease_expired"
        return None

    def guarded(self, presented: Presented) -> tuple[Execution, Attempt, int]:
        """Return the execution, its attempt and now, or record the refusal."""
        code = self.verdict(presented)
        if code is None:
            execution = self.executions[presented.execution_id]
            return execution, execution.attempts[-1], self.now(execution)
        if code != "not_found":
            self.refuse(presented, code)
        raise Refused(code)

    def refuse(self, presented: Presented, code: str) -> None:
        """Record the 1st, 2nd, 4th, 8th … refusal of a handle."""
        count = self.refusals.get(presented, 0) + 1
        self.refusals[presented] = count
        if power_of_two(count):
            execution = self.executions[presented.execution_id]
            self.write(execution, self.now(execution), "refusal.recorded")
            row = (presented.attempt_index, presented.lease_epoch, "refused", code)
            execution.lease_rows.append(row)

    def renew(self, presented: Presented) -> tuple[int, int]:
        """Move the expiry on; return it, and the epoch."""
        execution, _, now_ms = self.guarded(presented)
        lease = execution.leases[-1]
        lease.expires_at_ms = max(now_ms + lease.ttl_ms, lease.expires_at_ms + 1)
        self.write(execution, now_ms, "attempt.lease_renewed")
        self.lease_row(execution, "renewed", "renew")
        return lease.expires_at_ms, lease.epoch

    def progress(
        self, presented: Presented, percent: float | None, message: str | None
    ) -> None:
        """Keep each field until it is given again."""
        execution, _, now_ms = self.guarded(presented)
        given = {"progress_pct": percent, "progress_message": message}
        fields = {key: value for key, value in given.items() if value is not None}
        if fields:
            execution.raw_fields |= fields
            self.write(execution, now_ms, "attempt.progressed")

    def append_frame(
        self, presented: Presented, payload: bytes, mode: str
    ) -> tuple[int, int | None, int]:
        """Append a durable or a summary frame; return count, version and time."""
        execution, attempt, now_ms = self.guarded(presented)
        frames, version = attempt.frames, None
        if mode == "summary":
            frames.document = merge_patch(frames.document, json.loads(payload))
            frames.version += 1
            frames.first_applied_ms = frames.first_applied_ms or now_ms
            frames.last_updated_ms = now_ms
            version = frames.version
        frames.stored.append((mode, payload))
        self.write(execution, now_ms, "frame.appended")
        return len(frames.stored), version, now_ms

    def append_best_effort(
        self, presented: Presented, payload: bytes, mode: tuple[int, int, int, float]
    ) -> tuple[int, int | None, int]:
        """Append telemetry, which makes no event, and trim what is too old."""
        _, attempt, now_ms = self.guarded(presented)
        frames = attempt.frames
        frames.stored.append(("best_effort", payload))
        kept = best_effort_kept(frames, now_ms, mode)
        places = [
            i for i, (kind, _) in enumerate(frames.stored) if kind == "best_effort"
        ]
        for place in reversed(places[: max(0, len(places) - kept)]):
            del frames.stored[place]
        return len(frames.stored), None, now_ms

    def repeated(self, presented: Presented, call: tuple[Any, ...]) -> tuple[bool, Any]:
        """Say whether the same lease ended its attempt by the same call, and how."""
        execution = self.executions.get(presented.execution_id)
        if execution is None or presented.attempt_index >= len(execution.attempts):
            return False, None
        ended_by = execution.attempts[presented.attempt_index].ended_by
        if ended_by is None or self.lease_presented(presented) is not ended_by[0]:
            return False, None
        return ended_by[1] == call, ended_by[2]

    def complete(self, presented: Presented, result: bytes | None) -> None:
        """End the execution well."""
        call = ("complete", result)
        if self.repeated(presented, call)[0]:
            return
        execution, attempt, now_ms = self.guarded(presented)
        attempt.outcome, attempt.terminal_at_ms = "success", now_ms
        attempt.ended_by = (execution.leases[-1], call, None)
        self.write(execution, now_ms, "attempt.succeeded", "execution.completed")
        self.lease_row(execution, "revoked", "completed")
        execution.index_when_ended = execution.attempt_index
        execution.situation, execution.terminal_at_ms = "completed", now_ms
        execution.result = result

    def fail(
        self, presented: Presented, reason: tuple[str, str | None], failure_class: str
    ) -> tuple[Any, ...]:
        """End the attempt badly; return the retry, or the cause of the end."""
        call = ("fail", reason, failure_class)
        again, first = self.repeated(presented, call)
        if again:
            return tuple(first)
        execution, attempt, now_ms = self.guarded(presented)
        policy, retried = execution.spec["retry_policy"], failure_class in RETRIED
        execution.raw_fields["last_failure_message"] = reason[0]
        attempt.failure, attempt.terminal_at_ms = (failure_class, *reason), now_ms
        if retried and execution.retries < policy.max_retries:
            until_ms = now_ms + policy.delay_ms(execution.retries)
            answer: tuple[Any, ...] = ("retry", len(execution.attempts), until_ms)
            self.lease_row(execution, "revoked", "retry_scheduled")
            execution.situation = "delayed" if until_ms > now_ms else "due"
            execution.waiting_as = "pending_retry_attempt"
            execution.eligible_at_ms, execution.retries = (
                until_ms,
                execution.retries + 1,
            )
            topic, attempt.outcome = "execution.retry_scheduled", "retry"
        else:
            answer = ("failed", "retries_exhausted" if retried else "not_retryable")
            self.lease_row(execution, "revoked", "failed")
            execution.index_when_ended = execution.attempt_index
            execution.situation, execution.terminal_at_ms = "failed", now_ms
            topic, attempt.outcome = "execution.failed", "failed"
        self.write(execution, now_ms, "attempt.failed", topic)
        attempt.ended_by = (execution.leases[-1], call, answer)
        return answer


class LedgerModel(WorkerModel):
    """Adds resume grants and what an operator may do: the whole ledger."""

    def issue_resume_grant(
        self, execution_id: UUID, worker_id: str, ttl_ms: int
    ) -> Grant:
        """Give a worker the right to resume, once, until a time."""
        execution = self.existing(execution_id)
        if not execution.active:
            raise Refused("execution_not_active")
        now_ms = self.now(execution)
        self.write(execution, now_ms, "execution.resume_grant_issued")
        return Grant(execution_id, worker_id, now_ms + ttl_ms)

    def claim_from_resume_grant(
        self, grant: Grant | None, worker: tuple[str, str | None], ttl_ms: int
    ) -> Lease | None:
        """Go on with the same attempt under the next epoch."""
        if grant is None or grant.used:
            raise Refused("invalid_grant")
        execution = self.executions[grant.execution_id]
        now_ms = self.now(execution)
        if now_ms >= grant.expires_at_ms or worker[0] != grant.worker_id:
            raise Refused("invalid_grant")
        if not execution.active:
            raise Refused("execution_not_active")
        live = execution.situation == "leased"
        if live and now_ms < execution.leases[-1].expires_at_ms:
            return None
        grant.used = True
        attempt = execution.attempts[-1]
        index = len(execution.attempts) - 1
        attempt.lease = self.grant_lease(execution, index, worker, ttl_ms)
        self.write(execution, now_ms, "attempt.lease_reclaimed")
        self.lease_row(execution, "reclaimed", "resume_grant")
        return attempt.lease

    def revoke_lease(self, execution_id: UUID) -> None:
        """Take a live lease away."""
        execution = self.existing(execution_id)
        now_ms = self.now(execution)
        live = execution.situation == "leased"
        if not live or now_ms >= execution.leases[-1].expires_at_ms:
            raise Refused("illegal_transition")
        execution.situation = "revoked"
        self.write(execution, now_ms, "attempt.lease_revoked")
        self.lease_row(execution, "revoked", "operator")

    def cancel_execution(self, execution_id: UUID, reason: str) -> None:
        """End anything that has not ended."""
        execution = self.existing(execution_id)
        if execution.situation == "cancelled":
            return
        if execution.situation in TERMINAL:
            raise Refused("illegal_transition")
        execution.raw_fields["cancellation_reason"] = reason
        self.end(execution, "cancelled", "attempt.cancelled", "cancelled")

    def change_priority(self, execution_id: UUID, priority: int) -> None:
        """Change the order in which executions are claimed."""
        execution = self.existing(execution_id)
        if execution.situation in TERMINAL:
            raise Refused("illegal_transition")
        if execution.priority != priority:
            execution.priority = priority
            self.write(execution, self.now(execution), "execution.reprioritised")

    def replay_execution(self, execution_id: UUID) -> None:
        """Open an ended execution again, with the next attempt."""
        execution = self.existing(execution_id)
        if execution.situation not in TERMINAL:
            raise Refused("illegal_transition")
        now_ms = self.now(execution)
        execution.situation, execution.waiting_as = "due", "pending_replay_attempt"
        execution.eligible_at_ms, execution.terminal_at_ms = now_ms, None
        execution.result = execution.deadline_at_ms = None
        execution.reclaims = execution.retries = 0
        self.write(execution, now_ms, "execution.replayed")
