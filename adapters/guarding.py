"""Letting a worker's write through the guard, and recording it where it is refused."""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final, Generic, NamedTuple, TypeVar, cast

from leasehold.adapters.commands import Commands, check_known, load_existing
from leasehold.adapters.metering import Call
from leasehold.adapters.recording import Loaded, load, load_each, loaded_of, record
from leasehold.adapters.store import Row, WriteSession
from leasehold.domain.attempts import Attempt
from leasehold.domain.errors import (
    ContentionError,
    LeaseholdError,
    NotFoundError,
    StoreError,
)
from leasehold.domain.executions import Execution
from leasehold.domain.guard import check_guard
from leasehold.domain.handles import Handle, Lease, check_handle
from leasehold.domain.refusals import (
    RECORDED_ERRORS,
    RefusalRecorded,
    cause_of,
    is_recorded,
)
from leasehold.domain.states import LeaseEventType

_log: Final = logging.getLogger("leasehold")

_HANDLES_COUNTED_MAX: Final = 10_000
_ENDS: Final = (LeaseEventType.EXPIRED, LeaseEventType.REVOKED)

Answer = TypeVar("Answer")
Refusal = TypeVar("Refusal", bound=LeaseholdError)


@dataclass(frozen=True, slots=True)
class Work:
    """An execution that a worker's call is about, in its transaction.

    Attributes:
        now_ms: The time to record, never before what is recorded already.
    """

    session: WriteSession
    loaded: Loaded
    lease: Lease
    attempt: Attempt
    clock_at_ms: int
    now_ms: int

    @property
    def execution(self) -> Execution:
        """The execution."""
        return self.loaded.execution


class Guarded(NamedTuple, Generic[Answer]):
    """A worker's write, on its way to the guard.

    Attributes:
        lease: As presented.
        act: The write.
        repeated: Answers a call that was answered before; None where it was not.
    """

    lease: Lease
    act: Callable[[Work], Answer]
    repeated: Callable[[Work], Answer | None] | None = None


class RefusalCounts:
    """Count how often each handle was refused in this process.

    Remembers the 10,000 handles that were refused last. A forked child begins anew.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.forget()

    def forget(self) -> None:
        """Begin anew, with a lock that nobody holds."""
        self._counts: OrderedDict[Lease, int] = OrderedDict()
        self._lock = Lock()

    def count(self, lease: Lease) -> int:
        """Count one more refusal and return how many there are."""
        with self._lock:
            count = self._counts.pop(lease, 0) + 1
            self._counts[lease] = count
            if len(self._counts) > _HANDLES_COUNTED_MAX:
                self._counts.popitem(last=False)
            return count


REFUSAL_COUNTS: Final = RefusalCounts()
"""Of this process, over all ledgers that it has open."""

os.register_at_fork(after_in_child=REFUSAL_COUNTS.forget)


class GuardedCommands(Commands):
    """Commands that a worker calls with a handle."""

    def _guarded(
        self,
        handle: Handle,
        operation: str,
        act: Callable[[Work], Answer],
        *,
        repeated: Callable[[Work], Answer | None] | None = None,
    ) -> Answer:
        """Run a worker's write behind the guard, in one transaction.

        Args:
            handle: As presented.
            operation: The method's name, for the record of a refusal.
            act: The write.
            repeated: Answers a call that was answered before; None where it was not.
        """
        lease = check_handle(handle, self._store.backend)
        refusal: ContentionError | None = None
        has_acted = False

        def run(session: WriteSession) -> Answer:
            nonlocal refusal, has_acted
            work = _open_work(session, lease)
            if repeated is not None:
                answer = repeated(work)
                if answer is not None:
                    return answer
            refusal = _refused(work)
            if refusal is None:
                has_acted = True
                return act(work)
            _record_refusal(work, operation, refusal)
            return cast("Answer", None)

        with Call(self._meter, operation, lease.execution_id) as call:
            try:
                answer = self._store.transact(call, run)
            except Exception as error:
                if refusal is None:
                    if isinstance(error, StoreError) and not has_acted:
                        self._check_in_sight(lease, repeated, error)
                    raise
                # Whatever goes wrong with the record is no affair of the caller's.
                _log.warning("a refused %s was not recorded", operation, exc_info=True)
            if refusal is not None:
                try:
                    raise refusal
                finally:
                    refusal = None  # It refers to this frame.
            return answer

    def _guarded_each(
        self, operation: str, asked: Sequence[Guarded[Answer]]
    ) -> list[Answer | LeaseholdError]:
        """Run several workers' writes behind the guard, in one transaction.

        Returns:
            The answers in the order in which they were asked for; in the place of one
            that was refused the error that it would have raised.
        """
        if not asked:
            return []

        def run(session: WriteSession) -> list[Answer | LeaseholdError]:
            loaded = load_each(session, (one.lease.execution_id for one in asked))
            answers: list[Answer | LeaseholdError] = []
            for one in asked:
                execution_id = one.lease.execution_id
                if execution_id in loaded:
                    found = loaded.pop(execution_id)
                else:
                    # It came before, and may have been changed.
                    found = load(session, execution_id)
                answer = _answer(session, operation, one, found)
                answers.append(answer)
            return answers

        with Call(self._meter, operation) as call:
            answers = self._store.transact(call, run)
            call.refuse(
                answer for answer in answers if isinstance(answer, LeaseholdError)
            )
        return answers

    def _check_in_sight(
        self,
        lease: Lease,
        repeated: Callable[[Work], object] | None,
        error: StoreError,
    ) -> None:
        """Refuse a call that could not begin to write, if it is seen to be too late.

        A store that takes no writes may still be read, and who has lost the lease need
        not try again. Nothing happens where the call would be let through or answered
        as before, where nothing is to be seen, and where the store is gone.

        Raises:
            ContentionError: What the guard would have said.
        """
        may_be_read = error.code == "store_busy" or (
            error.code == "store_unavailable" and not error.retryable
        )
        if may_be_read and not self._store.read_only:
            refusal = self._refusal_in_sight(lease, repeated)
            if refusal is not None:
                raise refusal from error

    def _refusal_in_sight(
        self, lease: Lease, repeated: Callable[[Work], object] | None
    ) -> ContentionError | None:
        try:
            with self._store.read() as session:
                row = session.fetch_one(
                    "seen_execution", execution_id=str(lease.execution_id)
                )
                if row is None:
                    return None
                # It only reads: the guard, and who asks for an earlier answer.
                work = _work(cast("WriteSession", session), loaded_of(row), lease)
                if repeated is not None and repeated(work) is not None:
                    return None
                return _refused(work)
        except LeaseholdError:
            return None


def _answer(
    session: WriteSession,
    operation: str,
    asked: Guarded[Answer],
    loaded: Loaded | None,
) -> Answer | LeaseholdError:
    """Let a write through the guard, one of several in a transaction."""
    lease = asked.lease
    try:
        work = _work(session, check_known(loaded, lease.execution_id), lease)
    except NotFoundError as error:
        return _bare(error)
    if asked.repeated is not None:
        answer = asked.repeated(work)
        if answer is not None:
            return answer
    refusal = _refused(work)
    if refusal is None:
        return asked.act(work)
    _record_refusal(work, operation, refusal, is_alone=False)
    return refusal


def _record_refusal(
    work: Work, operation: str, error: ContentionError, *, is_alone: bool = True
) -> None:
    """Record a refusal, one of the first and of ever fewer of a handle.

    Args:
        work: What was refused.
        operation: The method's name.
        error: Why.
        is_alone: Whether nothing else is written in the transaction.
    """
    refused_count = REFUSAL_COUNTS.count(work.lease)
    if is_recorded(refused_count):
        if is_alone:
            work.session.be_brief()
        refused = _refusal(work, operation, error, refused_count)
        record(work.session, work.loaded, (refused,), clock_at_ms=work.clock_at_ms)


def _open_work(session: WriteSession, lease: Lease) -> Work:
    return _work(session, load_existing(session, lease.execution_id), lease)


def _work(session: WriteSession, loaded: Loaded, lease: Lease) -> Work:
    clock_at_ms = session.now_ms()
    if loaded.attempt is None or lease.attempt_index > loaded.attempt.attempt_index:
        message = (
            f"attempt {lease.attempt_index} of execution {lease.execution_id} is not "
            "in this store; the handle may have been issued by another one"
        )
        raise NotFoundError(message)
    now_ms = loaded.now_ms(clock_at_ms)
    return Work(session, loaded, lease, loaded.attempt, clock_at_ms, now_ms)


def _refused(work: Work) -> ContentionError | None:
    """Return why the guard refuses; None where it lets the write through."""
    try:
        check_guard(work.execution, work.attempt, work.lease, now_ms=work.now_ms)
    except RECORDED_ERRORS as error:
        return _bare(error)
    return None


def _bare(error: Refusal) -> Refusal:
    """Return an error as if it had not been raised yet.

    It may be another thread that raises it, for which the stack and what this one is
    handling mean nothing.
    """
    error.__context__ = None
    return error.with_traceback(None)


def _refusal(
    work: Work, operation: str, error: ContentionError, refused_count: int
) -> RefusalRecorded:
    rows = work.session.fetch_all(
        "presented_lease",
        execution_id=str(work.lease.execution_id),
        lease_id=str(work.lease.lease_id),
        lease_epoch=work.lease.lease_epoch,
    )
    worker_id, worker_instance_id, late_ms = None, None, None
    if rows:
        _, worker_id, worker_instance_id, _, _ = rows[0]
        ends = [row for row in rows if row[0] in _ENDS]
        lapse_ms = min(_lapse_ms(row) for row in ends or rows[:1])
        late_ms = max(0, work.now_ms - lapse_ms)
    return RefusalRecorded(
        execution_id=work.lease.execution_id,
        occurred_at_ms=work.now_ms,
        attempt_index=work.lease.attempt_index,
        lease_id=work.lease.lease_id,
        lease_epoch=work.lease.lease_epoch,
        worker_id=worker_id,
        worker_instance_id=worker_instance_id,
        cause=cause_of(error),
        operation=operation,
        late_ms=late_ms,
        refused_count=refused_count,
        current_lease_epoch=work.attempt.lease_epoch,
    )


def _lapse_ms(row: Row) -> int:
    """Return when a lease was at its end, by one of the last two rows about it."""
    event_type: str = row[0]
    expires_at_ms: int | None = row[3]
    occurred_at_ms: int = row[4]
    if expires_at_ms is None:
        return occurred_at_ms
    if event_type == LeaseEventType.REVOKED:
        return min(occurred_at_ms, expires_at_ms)
    return expires_at_ms
