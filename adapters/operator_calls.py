"""What people do to executions: grant, revoke, cancel, reprioritise, replay."""

from collections.abc import Callable, Sequence
from uuid import UUID

from leasehold.adapters.commands import (
    Commands,
    check_actor,
    check_reason,
    load_existing,
)
from leasehold.adapters.metering import Call
from leasehold.adapters.recording import Loaded, record
from leasehold.adapters.store import WriteSession
from leasehold.domain import executions, limits, transitions
from leasehold.domain.events import DomainEvent
from leasehold.domain.grants import ResumeGrant

GRANT_TTL_MS_DEFAULT = 30_000


class OperatorCommands(Commands):
    """The operations of people, and of orchestrators on their behalf."""

    def issue_resume_grant(
        self,
        execution_id: UUID,
        *,
        worker_id: str,
        ttl_ms: int = GRANT_TTL_MS_DEFAULT,
        actor: str | None = None,
    ) -> ResumeGrant:
        """Grant a worker the right to go on with the current attempt, once.

        Args:
            execution_id: An active execution.
            worker_id: The worker that may resume it, 1 to 128 bytes.
            ttl_ms: 1 … 86,400,000; how long the grant serves.
            actor: Who grants, 1 to 256 bytes.

        Raises:
            InvalidInputError: An argument breaks its rule.
            NotFoundError: The store has no such execution.
            ExecutionNotActiveError: There is no attempt to go on with.
            StoreError: The store could not do it.
        """
        limits.identifier("execution_id", execution_id)
        limits.name("worker_id", worker_id, bytes_max=limits.WORKER_BYTES_MAX)
        limits.integer("ttl_ms", ttl_ms, least=1, most=limits.LEASE_TTL_MS_MAX)
        if actor is not None:
            check_actor(actor)
        grant_id = self._draws.grant_id()

        def decide(loaded: Loaded, now_ms: int) -> tuple[DomainEvent, ...]:
            return (
                executions.issue_resume_grant(
                    loaded.execution,
                    grant_id=grant_id,
                    worker_id=worker_id,
                    ttl_ms=ttl_ms,
                    actor=actor,
                    now_ms=now_ms,
                ),
            )

        now_ms = self._decide("issue_resume_grant", execution_id, decide)
        return ResumeGrant(grant_id, execution_id, worker_id, now_ms + ttl_ms)

    def revoke_lease(self, execution_id: UUID, *, actor: str, reason: str) -> None:
        """Take a live lease away, so that another worker can take over at once.

        Args:
            execution_id: An execution under a lease that has not run out.
            actor: Who does it, 1 to 256 bytes.
            reason: Why, at most 4096 bytes.

        Raises:
            InvalidInputError: An argument breaks its rule.
            NotFoundError: The store has no such execution.
            IllegalTransitionError: There is no live lease.
            StoreError: The store could not do it.
        """
        limits.identifier("execution_id", execution_id)
        check_actor(actor)
        check_reason(reason)

        def decide(loaded: Loaded, now_ms: int) -> tuple[DomainEvent, ...]:
            revoked = transitions.revoke(
                loaded.execution,
                loaded.attempt,
                actor=actor,
                reason=reason,
                now_ms=now_ms,
            )
            return (revoked,)

        self._decide("revoke_lease", execution_id, decide)

    def cancel_execution(self, execution_id: UUID, *, actor: str, reason: str) -> None:
        """End an execution that has not ended, also under a live lease.

        The holder's next call is refused. Repeated, it does nothing.

        Args:
            execution_id: The execution.
            actor: Who does it, 1 to 256 bytes.
            reason: Why, at most 4096 bytes.

        Raises:
            InvalidInputError: An argument breaks its rule.
            NotFoundError: The store has no such execution.
            IllegalTransitionError: It ended otherwise.
            StoreError: The store could not do it.
        """
        limits.identifier("execution_id", execution_id)
        check_actor(actor)
        check_reason(reason)

        def decide(loaded: Loaded, now_ms: int) -> tuple[DomainEvent, ...]:
            return transitions.cancel(
                loaded.execution,
                loaded.attempt,
                actor=actor,
                reason=reason,
                now_ms=now_ms,
            )

        self._decide("cancel_execution", execution_id, decide)

    def change_priority(self, execution_id: UUID, priority: int, *, actor: str) -> None:
        """Change the order in which an execution is claimed.

        Args:
            execution_id: An execution that has not ended.
            priority: −9000 … 9000, higher first.
            actor: Who does it, 1 to 256 bytes.

        Raises:
            InvalidInputError: An argument breaks its rule.
            NotFoundError: The store has no such execution.
            IllegalTransitionError: It has ended.
            StoreError: The store could not do it.
        """
        limits.identifier("execution_id", execution_id)
        check_actor(actor)
        most = limits.PRIORITY_MAX
        limits.integer("priority", priority, least=-most, most=most)

        def decide(loaded: Loaded, now_ms: int) -> tuple[DomainEvent, ...]:
            return executions.reprioritise(
                loaded.execution, priority=priority, actor=actor, now_ms=now_ms
            )

        self._decide("change_priority", execution_id, decide)

    def replay_execution(self, execution_id: UUID, *, actor: str, reason: str) -> None:
        """Reopen an execution that has ended, with the next attempt index.

        All history is kept; the deadline, the result and the counts of retries and
        take-overs are not.

        Args:
            execution_id: The execution.
            actor: Who does it, 1 to 256 bytes.
            reason: Why, at most 4096 bytes.

        Raises:
            InvalidInputError: An argument breaks its rule.
            NotFoundError: The store has no such execution.
            IllegalTransitionError: It has not ended.
            StoreError: The store could not do it.
        """
        limits.identifier("execution_id", execution_id)
        check_actor(actor)
        check_reason(reason)

        def decide(loaded: Loaded, now_ms: int) -> tuple[DomainEvent, ...]:
            reopened = executions.reopen(
                loaded.execution, actor=actor, reason=reason, now_ms=now_ms
            )
            return (reopened,)

        self._decide("replay_execution", execution_id, decide)

    def _decide(
        self,
        operation: str,
        execution_id: UUID,
        decide: Callable[[Loaded, int], Sequence[DomainEvent]],
    ) -> int:
        """Load, decide and record in one transaction; return the time recorded."""

        def run(session: WriteSession) -> int:
            loaded = load_existing(session, execution_id)
            clock_at_ms = session.now_ms()
            now_ms = loaded.now_ms(clock_at_ms)
            record(session, loaded, decide(loaded, now_ms), clock_at_ms=clock_at_ms)
            return now_ms

        with Call(self._meter, operation, execution_id) as call:
            return self._store.transact(call, run)
