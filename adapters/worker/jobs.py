"""One execution in the hands of a worker: how its attempt ends, once.

The handler's return, its exception and the end of the grace may come at the same time.
A lock decides: the first one ends the attempt, and the others write nothing.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final, TypeGuard
from uuid import UUID

from leasehold.adapters.holding.failing import failure_class_of, reason_of
from leasehold.adapters.holding.held import HeldLease, LeaseCalls
from leasehold.adapters.worker.pacing import Pauses
from leasehold.adapters.worker_calls import FailureReason, RetryScheduled
from leasehold.domain.errors import (
    ExecutionNotActiveError,
    InvalidInputError,
    LeaseholdError,
    StoreError,
)
from leasehold.domain.handles import Handle
from leasehold.domain.states import FailureClass, LifecyclePhase, PublicState

STOPPED: Final = "the worker was stopped, and its grace ran out"

_log: Final = logging.getLogger("leasehold")

_PASSING: Final = ("store_busy", "store_unavailable")
_AGAIN_S: Final = (0.05, 1.0)


class HandlerError(Exception):
    """Say what a handler in another process was left by.

    Attributes:
        reason: What the attempt is failed with.
        failure_class: Its class.
    """

    def __init__(self, reason: FailureReason, failure_class: FailureClass) -> None:
        super().__init__(reason.message)
        self.reason = reason
        self.failure_class = failure_class


class Job:
    """An execution that was claimed.

    Attributes:
        handle: The lease, as it was issued.
        lane_id: The lane that it was taken from.
        sent_at_s: `time.monotonic()` of before the claim.
        is_given_up: Whether the worker has taken it from the handler.
        cancel: Stops the handler where that can be done; called from any thread.
        kill: Ends the handler at once where that can be done, in the same way; what
            began the handler ends the attempt then.
    """

    def __init__(
        self,
        ledger: LeaseCalls,
        handle: Handle,
        *,
        lane_id: str,
        sent_at_s: float,
        failure_classes: Mapping[type[BaseException], FailureClass],
    ) -> None:
        """Begin with a claim."""
        self._ledger = ledger
        self.handle = handle
        self.lane_id = lane_id
        self.sent_at_s = sent_at_s
        self.is_given_up = False
        self.cancel: Callable[[], object] | None = None
        self.kill: Callable[[], object] | None = None
        self._failure_classes = failure_classes
        self._lock = threading.Lock()
        self._lease: HeldLease | None = None
        self._is_terminal = False

    @property
    def execution_id(self) -> UUID:
        """The execution."""
        return self.handle.execution_id

    @property
    def lease(self) -> HeldLease:
        """The lease, once it is held.

        Raises:
            StoreError: It is not held yet.
        """
        if self._lease is None:
            raise StoreError("the lease is not held yet")
        return self._lease

    def begin(self, lease: HeldLease) -> None:
        """Take the lease into the hands.

        Raises:
            ExecutionNotActiveError: The worker has given the execution up meanwhile.
        """
        self._lease = lease
        self.check()

    def check(self) -> None:
        """Do nothing while the worker has not given the execution up.

        Raises:
            ExecutionNotActiveError: It has.
        """
        if self.is_given_up:
            # Nearly always there is a pause before the retry.
            phase, state = LifecyclePhase.RUNNABLE, PublicState.DELAYED
            if self._is_terminal:
                phase, state = LifecyclePhase.TERMINAL, PublicState.FAILED
            raise ExecutionNotActiveError(
                f"execution {self.execution_id} was given up: {STOPPED}; stop the work",
                lifecycle_phase=phase,
                public_state=state,
            )

    def succeed(self, result: object) -> None:
        """Complete the work with what the handler returned.

        What is neither bytes nor None, or too long, fails the attempt for good.

        Raises:
            LeaseholdError: The lease is lost, or the store could not do it.
        """

        def end(lease: HeldLease) -> None:
            if not is_result(result):
                _fail_for_good(lease, wrong_result(result))
                return
            try:
                lease.complete(None if result is None else bytes(result))
            except InvalidInputError as error:
                _fail_for_good(lease, f"what the handler returned: {error}")

        self._end(end)

    def fail(self, error: BaseException) -> None:
        """Fail the attempt for the exception that the handler was left by.

        Raises:
            LeaseholdError: The lease is lost, or the store could not do it.
        """
        if isinstance(error, HandlerError):
            reason, failure_class = error.reason, error.failure_class
        else:
            reason = reason_of(error)
            failure_class = failure_class_of(error, self._failure_classes)

        def end(lease: HeldLease) -> None:
            lease.fail(reason, failure_class)
            _log.warning(
                "execution %s, attempt %d: the handler failed (%s): %s",
                self.execution_id,
                self.handle.attempt_index,
                failure_class,
                reason.message,
            )

        self._end(end)

    def give_up(self, within_s: float) -> bool:
        """Fail the attempt as INFRA_CRASH if it has not ended; say whether it has.

        Args:
            within_s: How long to wait for a call that is about to end it.

        Raises:
            LeaseholdError: The lease is lost, or the store could not do it.
        """
        self.is_given_up = True
        # A call that ends it may hang; then it is that call which decides.
        if not self._lock.acquire(timeout=within_s):
            return False
        try:
            if self._lease is None:
                # Who begins with it now does the same once more, which is nothing.
                self._ledger.fail(self.handle, STOPPED, FailureClass.INFRA_CRASH)
            elif not _has_ended(self._lease):
                self._give_up(self._lease)
            return True
        finally:
            self._lock.release()

    def let_run_out(self) -> None:
        """Tell the handler to stop, and renew no more: the store cannot be told."""
        if self._lease is not None:
            message = f"{STOPPED}, and the store could not be told; stop the work"
            self._lease.forgo(StoreError(message))

    def _give_up(self, lease: HeldLease) -> None:
        answer = lease.fail(STOPPED, FailureClass.INFRA_CRASH)
        self._is_terminal = not isinstance(answer, RetryScheduled)

    def _end(self, end: Callable[[HeldLease], None]) -> None:
        """End the attempt; while the lease is held, try again what the store could not.

        A call whose answer was lost is answered as the first one when repeated. What
        the worker has given up is failed for that, whatever became of it.
        """
        lease, pauses = self.lease, Pauses(*_AGAIN_S)
        while True:
            try:
                with self._lock:
                    if not _has_ended(lease):
                        (self._give_up if self.is_given_up else end)(lease)
                    return
            except StoreError as error:
                if lease.is_lost or error.code not in _PASSING:
                    raise
                _log.warning(
                    "execution %s could not be ended, and it is tried again: %s",
                    self.execution_id,
                    error,
                )
            lease.lost.wait(pauses.next_s())


def tell(job: Job, error: BaseException) -> None:
    """Log what an execution was left by, where nothing was written for it."""
    is_known = isinstance(error, LeaseholdError)
    _log.warning(
        "execution %s, attempt %d %s: %s: %s",
        job.execution_id,
        job.handle.attempt_index,
        "was given up" if is_known else "ended",
        type(error).__name__,
        error,
        exc_info=None if is_known else error,
    )


def _has_ended(lease: HeldLease) -> bool:
    """Say whether the attempt was ended under this lease, also by the handler."""
    return lease.remaining_ms() == 0 and not lease.is_lost


def _fail_for_good(lease: HeldLease, message: str) -> None:
    _log.warning("execution %s: %s", lease.execution_id, message)
    lease.fail(message, FailureClass.PERMANENT)


def is_result(
    result: object,
) -> TypeGuard[bytes | bytearray | memoryview | None]:
    """Say whether a handler may return this."""
    return isinstance(result, bytes | bytearray | memoryview | None)


def wrong_result(result: object) -> str:
    """Say what is wrong with what a handler returned."""
    return (
        f"the handler returned {type(result).__name__}; it must return bytes, the "
        "result, or None"
    )
