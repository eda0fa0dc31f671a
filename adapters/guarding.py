"""Letting a worker's write through the guard, and recording it where it is refused."""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final, TypeVar

from leasehold.adapters.commands import Commands, load_existing
from leasehold.adapters.recording import Loaded, record
from leasehold.adapters.store import Row, WriteSession
from leasehold.domain.attempts import Attempt
from leasehold.domain.errors import ContentionError, NotFoundError, StoreError
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
        try:
            with self._store.write() as session:
                work = _open_work(session, lease)
                if repeated is not None:
                    answer = repeated(work)
                    if answer is not None:
                        return answer
                try:
                    check_guard(work.execution, work.attempt, lease, now_ms=work.now_ms)
                except RECORDED_ERRORS as error:
                    refusal = error
                    self._record_refusal(work, operation, error)
                else:
                    return act(work)
        except StoreError:
            if refusal is None:
                raise
            _log.warning("a refused %s was not recorded", operation, exc_info=True)
        raise refusal

    def _record_refusal(
        self, work: Work, operation: str, error: ContentionError
    ) -> None:
        refused_count = REFUSAL_COUNTS.count(work.lease)
        if is_recorded(refused_count):
            refused = _refusal(work, operation, error, refused_count)
            record(work.session, work.loaded, (refused,), clock_at_ms=work.clock_at_ms)


def _open_work(session: WriteSession, lease: Lease) -> Work:
    loaded = load_existing(session, lease.execution_id)
    clock_at_ms = session.now_ms()
    if loaded.attempt is None or lease.attempt_index > loaded.attempt.attempt_index:
        message = (
            f"attempt {lease.attempt_index} of execution {lease.execution_id} is not "
            "in this store; the handle may have been issued by another one"
        )
        raise NotFoundError(message)
    now_ms = loaded.now_ms(clock_at_ms)
    return Work(session, loaded, lease, loaded.attempt, clock_at_ms, now_ms)


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
