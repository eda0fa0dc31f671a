"""Submitting work: `create_execution` and `create_executions`."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from leasehold.adapters.commands import Commands, names_of_creation
from leasehold.adapters.metering import Call
from leasehold.adapters.recording import record
from leasehold.adapters.store import WriteSession
from leasehold.domain import limits
from leasehold.domain.errors import ConflictError, InvalidInputError
from leasehold.domain.executions import ExecutionCreated
from leasehold.domain.merge_patch import canonical_json
from leasehold.domain.retries import RetryPolicy
from leasehold.projections.exec_core import policy_json

RECLAIMS_DEFAULT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The checked arguments of one creation."""

    lane_id: str
    payload: bytes
    capabilities: tuple[str, ...]
    priority: int
    execution_id: UUID | None
    idempotency_key: str | None
    delay_until_ms: int | None
    deadline_at_ms: int | None
    retry_policy: RetryPolicy
    max_reclaim_count: int
    namespace: str
    tags: dict[str, str]
    actor: str | None

    def names(self) -> list[str]:
        """Return under what the creation may be repeated: its id and its key."""
        return names_of_creation(
            self.execution_id, self.namespace, self.idempotency_key
        )

    def digest(self) -> str:
        """Return what a repeated creation is compared by: all but the id, in hex."""
        compared = {
            "lane_id": self.lane_id,
            "payload": hashlib.sha256(self.payload).hexdigest(),
            "capabilities": self.capabilities,
            "priority": self.priority,
            "idempotency_key": self.idempotency_key,
            "delay_until_ms": self.delay_until_ms,
            "deadline_at_ms": self.deadline_at_ms,
            "retry_policy": policy_json(self.retry_policy),
            "max_reclaim_count": self.max_reclaim_count,
            "namespace": self.namespace,
            "tags": self.tags,
            "actor": self.actor,
        }
        return hashlib.sha256(canonical_json(compared).encode()).hexdigest()


def _optional_time(field: str, value: int | None) -> int | None:
    return None if value is None else limits.time_ms(field, value)


def _optional_key(field: str, value: str | None) -> str | None:
    if value is None:
        return None
    return limits.text(field, value, bytes_min=1, bytes_max=limits.KEY_BYTES_MAX)


def _check_policy(policy: RetryPolicy) -> RetryPolicy:
    if not isinstance(policy, RetryPolicy):
        raise limits.refuse("retry_policy", policy, "a RetryPolicy")
    return policy


def check_submission(  # noqa: PLR0913 - the arguments of create_execution
    *,
    lane_id: str = "default",
    payload: bytes = b"",
    capabilities: Iterable[str] = (),
    priority: int = 0,
    execution_id: UUID | None = None,
    idempotency_key: str | None = None,
    delay_until_ms: int | None = None,
    deadline_at_ms: int | None = None,
    retry_policy: RetryPolicy = RetryPolicy(),  # noqa: B008 - immutable
    max_reclaim_count: int = RECLAIMS_DEFAULT,
    namespace: str = "default",
    tags: Mapping[str, str] | None = None,
    actor: str | None = None,
) -> Submission:
    """Check the arguments of a creation, one by one.

    Raises:
        InvalidInputError: One of them breaks its rule.
    """
    if execution_id is not None:
        limits.identifier("execution_id", execution_id)
    most = limits.PRIORITY_MAX
    return Submission(
        lane_id=limits.name("lane_id", lane_id),
        payload=limits.bytes_of("payload", payload, bytes_max=limits.PAYLOAD_BYTES_MAX),
        capabilities=limits.capabilities("capabilities", capabilities),
        priority=limits.integer("priority", priority, least=-most, most=most),
        execution_id=execution_id,
        idempotency_key=_optional_key("idempotency_key", idempotency_key),
        delay_until_ms=_optional_time("delay_until_ms", delay_until_ms),
        deadline_at_ms=_optional_time("deadline_at_ms", deadline_at_ms),
        retry_policy=_check_policy(retry_policy),
        max_reclaim_count=limits.integer(
            "max_reclaim_count", max_reclaim_count, least=0, most=limits.COUNT_MAX
        ),
        namespace=limits.name("namespace", namespace),
        tags=limits.tags("tags", tags),
        actor=_optional_key("actor", actor),
    )


def _check_spec(number: int, spec: Mapping[str, Any]) -> Submission:
    if not isinstance(spec, Mapping):
        rule = "a mapping of create_execution's keyword arguments"
        raise limits.refuse(f"specs[{number}]", spec, rule)
    try:
        return check_submission(**spec)
    except (TypeError, InvalidInputError) as error:
        message = f"specs[{number}]: {error}".replace("check_submission()", "it")
        raise InvalidInputError(message) from None


class SubmissionCommands(Commands):
    """The operations of whoever submits work."""

    def create_execution(  # noqa: PLR0913 - the facts of a unit of work
        self,
        *,
        lane_id: str = "default",
        payload: bytes = b"",
        capabilities: Iterable[str] = (),
        priority: int = 0,
        execution_id: UUID | None = None,
        idempotency_key: str | None = None,
        delay_until_ms: int | None = None,
        deadline_at_ms: int | None = None,
        retry_policy: RetryPolicy = RetryPolicy(),  # noqa: B008 - immutable
        max_reclaim_count: int = RECLAIMS_DEFAULT,
        namespace: str = "default",
        tags: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> UUID:
        """Submit a unit of work; it can be claimed at once unless delayed.

        With an explicit id or an idempotency key the call can be repeated: with
        equal arguments it returns the earlier id and records nothing.

        Args:
            lane_id: The queue that workers claim from, 1 to 64 bytes.
            payload: At most 16 MiB.
            capabilities: What a worker must offer, all of it; at most 256 tokens.
            priority: −9000 … 9000, higher first.
            execution_id: A UUIDv7 is drawn where none is given.
            idempotency_key: 1 to 256 bytes, unique in the namespace.
            delay_until_ms: Not claimable before this time, ms since the Unix epoch.
            deadline_at_ms: Ends the execution as expired from this time on.
            retry_policy: What follows a transient failure.
            max_reclaim_count: 0 … 10,000 take-overs of a lost lease by a claim.
            namespace: Where the idempotency key is unique, 1 to 64 bytes.
            tags: At most 64 names with values of up to 256 bytes.
            actor: The person or system that submits, 1 to 256 bytes.

        Returns:
            The id of the execution.

        Raises:
            InvalidInputError: An argument breaks its rule; nothing was written.
            ConflictError: The id or the key is known with other arguments.
            StoreError: The store could not do it.
        """
        submission = check_submission(
            lane_id=lane_id,
            payload=payload,
            capabilities=capabilities,
            priority=priority,
            execution_id=execution_id,
            idempotency_key=idempotency_key,
            delay_until_ms=delay_until_ms,
            deadline_at_ms=deadline_at_ms,
            retry_policy=retry_policy,
            max_reclaim_count=max_reclaim_count,
            namespace=namespace,
            tags=tags,
            actor=actor,
        )
        digest = submission.digest()
        with Call(self._meter, "create_execution", execution_id) as call:
            (call.execution_id,) = self._create_all(call, [(submission, digest)])
            return call.execution_id

    def create_executions(self, specs: Iterable[Mapping[str, Any]]) -> list[UUID]:
        """Submit several units of work in one transaction, all or nothing.

        Args:
            specs: Mappings of the keyword arguments of `create_execution`.

        Returns:
            The ids, in the order of the specs.

        Raises:
            InvalidInputError: An argument breaks its rule; the message names the
                number of the spec, from 0.
            ConflictError: An id or a key is known with other arguments.
            StoreError: The store could not do it.
        """
        if isinstance(specs, str | bytes | Mapping) or not isinstance(specs, Iterable):
            raise limits.refuse("specs", specs, "a collection of mappings")
        submissions = [_check_spec(number, spec) for number, spec in enumerate(specs)]
        if not submissions:
            return []
        digested = [(submission, submission.digest()) for submission in submissions]
        with Call(self._meter, "create_executions") as call:
            return self._create_all(call, digested)

    def _create_all(
        self, call: Call, digested: Sequence[tuple[Submission, str]]
    ) -> list[UUID]:
        """Create what is not there yet, in one transaction; return the ids."""

        def create(session: WriteSession) -> list[UUID]:
            session.lock_names(
                [name for submission, _ in digested for name in submission.names()]
            )
            return [self._create(session, *submitted) for submitted in digested]

        return self._store.transact(call, create)

    def _create(
        self, session: WriteSession, submission: Submission, digest: str
    ) -> UUID:
        earlier = _find_earlier(session, submission, digest)
        if earlier is not None:
            return earlier
        now_ms = session.now_ms()
        execution_id = submission.execution_id or self._draws.execution_id()
        delay_until_ms = submission.delay_until_ms
        if delay_until_ms is None or delay_until_ms <= now_ms:
            delay_until_ms = now_ms
        created = ExecutionCreated(
            execution_id=execution_id,
            occurred_at_ms=now_ms,
            namespace=submission.namespace,
            lane_id=submission.lane_id,
            payload=submission.payload,
            capabilities=submission.capabilities,
            priority=submission.priority,
            idempotency_key=submission.idempotency_key,
            eligible_at_ms=delay_until_ms,
            due=delay_until_ms == now_ms,
            deadline_at_ms=submission.deadline_at_ms,
            retry_policy=submission.retry_policy,
            max_reclaim_count=submission.max_reclaim_count,
            tags=submission.tags,
            actor=submission.actor,
            arguments_sha256=digest,
        )
        record(session, None, (created,), clock_at_ms=now_ms)
        return execution_id


def _find_earlier(
    session: WriteSession, submission: Submission, digest: str
) -> UUID | None:
    found = []
    if submission.execution_id is not None:
        row = session.fetch_one(
            "created_by_id", execution_id=str(submission.execution_id)
        )
        if row is not None:
            found.append((f"execution {submission.execution_id}", row))
    if submission.idempotency_key is not None:
        row = session.fetch_one(
            "created_by_key",
            namespace=submission.namespace,
            idempotency_key=submission.idempotency_key,
        )
        if row is not None:
            key = submission.idempotency_key
            found.append((f"idempotency key {key!r}", row))
    for what, (stored_id, stored_digest) in found:
        other_id = submission.execution_id not in (None, UUID(stored_id))
        if stored_digest != digest or other_id:
            message = (
                f"{what} is known as execution {stored_id} with other arguments; "
                "repeat the call with the same ones, or use another id and key"
            )
            raise ConflictError(message)
    return UUID(found[0][1][0]) if found else None
