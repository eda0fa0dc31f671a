"""What the holder of a lease calls: renew, progress, complete and fail."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from leasehold.adapters import codec
from leasehold.adapters.guarding import Guarded, GuardedCommands, Work
from leasehold.adapters.recording import record
from leasehold.domain import attempts, limits, streams, transitions
from leasehold.domain.attempts import AttemptFailed, AttemptSucceeded
from leasehold.domain.errors import LeaseholdError
from leasehold.domain.events import DomainEvent
from leasehold.domain.executions import ExecutionRetryScheduled
from leasehold.domain.handles import Handle, check_handle
from leasehold.domain.states import FailureClass, TerminalCause
from leasehold.domain.transitions import FailureReport, digest_of

PERCENT_MAX = 100
_PAIR: Final = 2

Done = Literal[True]


@dataclass(frozen=True, slots=True)
class LeaseRenewal:
    """Say how long a renewed lease runs.

    Attributes:
        expires_at_ms: The new expiry, ms since the Unix epoch.
        lease_epoch: The same as before.
    """

    expires_at_ms: int
    lease_epoch: int


@dataclass(frozen=True, slots=True)
class FailureReason:
    """Say what went wrong.

    Attributes:
        message: For people, at most 4096 bytes.
        detail: A stack trace or the like, at most 64 KiB; None for none.
    """

    message: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """Say that the execution will be tried again.

    Attributes:
        attempt_index: The next attempt.
        delay_until_ms: From when it can be claimed, ms since the Unix epoch.
    """

    attempt_index: int
    delay_until_ms: int


@dataclass(frozen=True, slots=True)
class TerminalFailed:
    """Say that the execution failed for good.

    Attributes:
        cause: `retries_exhausted` or `not_retryable`.
    """

    cause: TerminalCause


class WorkerCommands(GuardedCommands):
    """The operations of the holder of a lease.

    All raise, in this order: `InvalidInputError` for an argument, a handle that does
    not decode or one of another backend; `NotFoundError`; `ExecutionNotActiveError`;
    `LeaseRevokedError`; `LeaseConflictError`; `LeaseExpiredError`. What is refused
    changes nothing, and is itself recorded.
    """

    def renew(self, handle: Handle) -> LeaseRenewal:
        """Extend the lease by its ttl, counted from now.

        Returns:
            The new expiry, strictly later than before, and the same epoch.

        Raises:
            LeaseholdError: See the class.
        """
        return self._guarded(handle, "renew", _renew)

    def renew_many(
        self, handles: Iterable[Handle]
    ) -> list[LeaseRenewal | LeaseholdError]:
        """Extend several leases in one transaction.

        One that is refused does not keep the others from being renewed.

        Args:
            handles: At most 10,000.

        Returns:
            For each, in their order, what `renew` returns, or the error that it would
            have raised.

        Raises:
            InvalidInputError: One of them is no handle of this store, or there are too
                many; nothing was written.
            StoreError: The store could not do it; nothing was written.
        """
        backend = self._store.backend
        asked = [
            Guarded(check_handle(handle, backend), _renew)
            for handle in limits.several("handles", handles)
        ]
        return self._guarded_each("renew", asked)

    def progress(
        self,
        handle: Handle,
        percent: float | None = None,
        message: str | None = None,
    ) -> None:
        """Report how far the work is; a field that is not given keeps its value.

        Args:
            handle: The lease.
            percent: 0 to 100.
            message: At most 4096 bytes.

        Raises:
            LeaseholdError: See the class.
        """
        if percent is not None:
            _check_percent(percent)
        if message is not None:
            limits.text("message", message, bytes_max=limits.TEXT_BYTES_MAX)

        def act(work: Work) -> None:
            events = attempts.progress(
                work.attempt, percent=percent, message=message, now_ms=work.now_ms
            )
            _record(work, events)

        self._guarded(handle, "progress", act)

    def complete(self, handle: Handle, result: bytes | None = None) -> None:
        """Finish the work; repeated with the same result it does nothing.

        Args:
            handle: The lease.
            result: At most 16 MiB.

        Raises:
            LeaseholdError: See the class.
        """
        done = _completion(result)
        self._guarded(handle, "complete", done.act, repeated=done.repeated)

    def complete_many(
        self, completions: Iterable[tuple[Handle, bytes | None]]
    ) -> list[LeaseholdError | None]:
        """Finish several pieces of work in one transaction.

        One that is refused does not keep the others from being completed.

        Args:
            completions: At most 10,000 handles, each with its result.

        Returns:
            For each, in their order, None, or the error that `complete` would have
            raised.

        Raises:
            InvalidInputError: One of them breaks a rule of `complete`, or there are too
                many; nothing was written.
            StoreError: The store could not do it; nothing was written.
        """
        asked = []
        for completion in limits.several("completions", completions):
            if not isinstance(completion, tuple) or len(completion) != _PAIR:
                rule = "pairs of a handle and a result"
                raise limits.refuse("completions", completion, rule)
            handle, result = completion
            done = _completion(result)
            lease = check_handle(handle, self._store.backend)
            asked.append(Guarded(lease, done.act, done.repeated))
        answers = self._guarded_each("complete", asked)
        return [None if answer is True else answer for answer in answers]

    def fail(
        self,
        handle: Handle,
        reason: str | FailureReason,
        failure_class: FailureClass,
    ) -> RetryScheduled | TerminalFailed:
        """Report that the try failed; repeated alike it answers as the first did.

        Args:
            handle: The lease.
            reason: Text, or a `FailureReason` with a detail.
            failure_class: TRANSIENT and INFRA_CRASH are retried while the policy
                has retries left, the others are not.

        Returns:
            What follows: a retry, or the end.

        Raises:
            LeaseholdError: See the class.
        """
        report = _check_report(reason, failure_class)
        jitter_draw = self._draws.jitter()

        def act(work: Work) -> RetryScheduled | TerminalFailed:
            failed, settled = transitions.fail(
                work.execution,
                work.attempt,
                report,
                jitter_draw=jitter_draw,
                now_ms=work.now_ms,
            )
            _record(work, (failed, settled))
            if isinstance(settled, ExecutionRetryScheduled):
                return RetryScheduled(settled.attempt_index, settled.eligible_at_ms)
            return TerminalFailed(settled.cause)

        def repeated(work: Work) -> RetryScheduled | TerminalFailed | None:
            end = _earlier_end(work)
            if not isinstance(end, AttemptFailed) or report != FailureReport(
                failure_class=end.failure_class,
                message=end.failure_message,
                detail=end.failure_detail,
            ):
                return None
            return _answer_of(end)

        return self._guarded(handle, "fail", act, repeated=repeated)


class _Completion:
    """A completion with a result, for whatever lease."""

    def __init__(self, result: bytes | None) -> None:
        self._result = result

    def act(self, work: Work) -> Done:
        events = transitions.complete(
            work.execution, work.attempt, result=self._result, now_ms=work.now_ms
        )
        _record(work, events)
        return True

    def repeated(self, work: Work) -> Done | None:
        end = _earlier_end(work)
        if not isinstance(end, AttemptSucceeded):
            return None
        return True if end.result_sha256 == digest_of(self._result) else None


def _completion(result: bytes | None) -> _Completion:
    if result is None:
        return _Completion(None)
    most = limits.PAYLOAD_BYTES_MAX
    return _Completion(limits.bytes_of("result", result, bytes_max=most))


def _renew(work: Work) -> LeaseRenewal:
    renewed = attempts.renew(work.attempt, now_ms=work.now_ms)
    _record(work, (renewed,))
    return LeaseRenewal(renewed.lease_expires_at_ms, renewed.lease_epoch)


def _record(work: Work, events: tuple[DomainEvent, ...]) -> None:
    record(work.session, work.loaded, events, clock_at_ms=work.clock_at_ms)


def _check_percent(percent: float) -> None:
    if (
        isinstance(percent, bool)
        or not isinstance(percent, int | float)
        or not 0 <= percent <= PERCENT_MAX
    ):
        raise limits.refuse("percent", percent, f"a number from 0 to {PERCENT_MAX}")


def _check_report(
    reason: str | FailureReason, failure_class: FailureClass
) -> FailureReport:
    given = reason if isinstance(reason, FailureReason) else FailureReason(reason)
    if not isinstance(given.message, str):
        raise limits.refuse("reason", reason, "text or a FailureReason")
    limits.text("reason", given.message, bytes_max=limits.TEXT_BYTES_MAX)
    if given.detail is not None:
        limits.text("reason.detail", given.detail, bytes_max=limits.DETAIL_BYTES_MAX)
    try:
        known = FailureClass(failure_class)
    except ValueError:
        names = ", ".join(f"FailureClass.{known.name}" for known in FailureClass)
        raise limits.refuse("failure_class", failure_class, f"one of {names}") from None
    return FailureReport(
        failure_class=known, message=given.message, detail=given.detail
    )


def _earlier_end(work: Work) -> DomainEvent | None:
    """Return the event by which the presented lease ended its attempt, if it did."""
    if (
        work.lease.attempt_index == work.attempt.attempt_index
        and work.attempt.outcome is None
    ):
        return None
    row = work.session.fetch_one(
        "attempt_end",
        stream_id=streams.of_attempt(work.lease.execution_id, work.lease.attempt_index),
        execution_id=str(work.lease.execution_id),
        attempt_index=work.lease.attempt_index,
        lease_id=str(work.lease.lease_id),
        lease_epoch=work.lease.lease_epoch,
    )
    return None if row is None else codec.decode(*row).event


def _answer_of(end: AttemptFailed) -> RetryScheduled | TerminalFailed:
    if end.retry_at_ms is not None:
        return RetryScheduled(end.attempt_index + 1, end.retry_at_ms)
    if end.terminal_cause is None:
        message = f"{end.TOPIC} of {end.execution_id} tells neither a retry nor an end"
        raise ValueError(message)
    return TerminalFailed(end.terminal_cause)
