"""What submitters, operators and the clock do, made on the model and on a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drawing import POLICIES, PRIORITIES, SPECS, STEPS, TTLS, WORKERS
from hypothesis import strategies as st
from ledger_model.records import DEFAULTS
from pair import Pair

import leasehold

if TYPE_CHECKING:
    import uuid

EXECUTIONS_MAX = 8


class OperatorActions(Pair):
    """One method an action; each draws what it needs."""

    def specification(self, data: st.DataObject) -> tuple[dict[str, Any], ...]:
        """Draw a specification, for the model and for the ledger."""
        given: dict[str, Any] = dict(data.draw(SPECS))
        policy = given.pop("policy")
        for field in ("delay_until_ms", "deadline_at_ms"):
            if given[field] is not None:
                given[field] += self.model.clock_ms
        modelled, real = POLICIES[policy]
        spec = {**DEFAULTS, **given, "retry_policy": modelled}
        return spec, {**given, "retry_policy": real}

    def has_room(self) -> bool:
        """Say whether the store is small enough for more."""
        return len(self.model.executions) < EXECUTIONS_MAX

    def create(self, data: st.DataObject) -> None:
        """Create an execution, with or without naming its id."""
        spec, real = self.specification(data)
        named = data.draw(st.booleans())
        if named:
            spec["execution_id"] = real["execution_id"] = self.new_id()
        answers = self.both(
            lambda: self.model.known(spec), lambda: self.ledger.create_execution(**real)
        )
        if answers is None:
            return
        known, execution_id = answers
        if known is None:
            assert execution_id == spec["execution_id"] or not named
            assert named or execution_id.version == 7
            self.model.add(spec, execution_id)
        assert known in (None, execution_id)

    def create_many(self, data: st.DataObject) -> None:
        """Create some in one transaction, perhaps one of them twice."""
        count = data.draw(st.integers(0, 3))
        pairs = [self.specification(data) for _ in range(count)]
        for spec, real in pairs:
            spec["execution_id"] = real["execution_id"] = self.new_id()
        if data.draw(st.booleans()):
            pairs += pairs[:1]
        answers = self.both(
            lambda: self.model.create_all([dict(spec) for spec, _ in pairs]),
            lambda: self.ledger.create_executions([real for _, real in pairs]),
        )
        assert answers is None or answers[0] == answers[1]

    def create_again(self, data: st.DataObject) -> None:
        """Create what is there, as it was or otherwise."""
        first = data.draw(st.sampled_from(list(self.model.executions.values())))
        spec = {**first.spec, "execution_id": first.execution_id}
        if data.draw(st.booleans()):
            spec["priority"] += 1
        policies = {id(model): real for model, real in POLICIES.values()}
        real = {**spec, "retry_policy": policies[id(spec["retry_policy"])]}
        answers = self.both(
            lambda: self.model.known(spec), lambda: self.ledger.create_execution(**real)
        )
        assert answers is None or answers[0] == answers[1]

    def issue_grant(self, data: st.DataObject) -> None:
        """Grant a worker the right to resume."""
        active = [it for it in self.model.executions.values() if it.active]
        execution_id: uuid.UUID = self.any_execution(data)
        if active and data.draw(st.integers(0, 4)) > 0:
            execution_id = data.draw(st.sampled_from(active)).execution_id
        (worker_id, _), ttl_ms = data.draw(WORKERS), data.draw(TTLS)
        answers = self.both(
            lambda: self.model.issue_resume_grant(execution_id, worker_id, ttl_ms),
            lambda: self.ledger.issue_resume_grant(
                execution_id, worker_id=worker_id, ttl_ms=ttl_ms, actor="op"
            ),
        )
        if answers is None:
            return
        expected, grant = answers
        assert grant.expires_at_ms == expected.expires_at_ms
        assert leasehold.ResumeGrant.parse(str(grant)) == grant
        self.grants.append((grant, expected))

    def revoke(self, data: st.DataObject) -> None:
        """Take a lease away."""
        execution_id = self.any_handle(data).execution_id
        self.both(
            lambda: self.model.revoke_lease(execution_id),
            lambda: self.ledger.revoke_lease(execution_id, actor="op", reason="stuck"),
        )

    def cancel(self, data: st.DataObject) -> None:
        """End an execution."""
        execution_id = self.any_execution(data)
        reason = data.draw(st.sampled_from(["unwanted", "late"]))
        self.both(
            lambda: self.model.cancel_execution(execution_id, reason),
            lambda: self.ledger.cancel_execution(
                execution_id, actor="op", reason=reason
            ),
        )

    def change_priority(self, data: st.DataObject) -> None:
        """Change the order of claims."""
        execution_id, priority = self.any_execution(data), data.draw(PRIORITIES)
        self.both(
            lambda: self.model.change_priority(execution_id, priority),
            lambda: self.ledger.change_priority(execution_id, priority, actor="op"),
        )

    def replay(self, data: st.DataObject) -> None:
        """Open an ended execution again."""
        execution_id = self.any_execution(data, ended=True)
        self.both(
            lambda: self.model.replay_execution(execution_id),
            lambda: self.ledger.replay_execution(
                execution_id, actor="op", reason="again"
            ),
        )

    def sweep(self, data: st.DataObject) -> None:
        """Record what came due: all of it, or the longest due of each kind."""
        times_ms = self.due_times_ms()
        few = len(set(times_ms)) == len(times_ms) and data.draw(st.booleans())
        limit = 1 if few else 1000
        expected = self.model.sweep(limit)
        report = self.ledger.sweep(limit)
        got = (report.leases_expired, report.delays_due, report.deadlines_passed)
        assert got == expected

    def clock_goes_on(self, data: st.DataObject) -> None:
        """Let some time pass."""
        self.model.clock_ms += data.draw(STEPS)

    def clock_comes_to_what_is_due(self, data: st.DataObject) -> None:
        """Let time pass until something comes due, to the millisecond."""
        times_ms = [it for it in self.due_times_ms() if it > self.model.clock_ms]
        if times_ms:
            beyond_ms = data.draw(st.sampled_from([-1, 0, 0, 1]))
            self.model.clock_ms = data.draw(st.sampled_from(times_ms)) + beyond_ms

    def clock_steps_back(self, data: st.DataObject) -> None:
        """Set the clock back, as a host's clock may be."""
        # A best-effort frame is no event: whether its time holds the clock is open.
        times_ms = [
            attempt.frames.last_best_effort_ms or 0
            for execution in self.model.executions.values()
            for attempt in execution.attempts
        ]
        floor_ms = max(times_ms, default=0)
        back_ms = max(floor_ms, self.model.clock_ms - data.draw(STEPS))
        self.model.clock_ms = min(self.model.clock_ms, back_ms)
