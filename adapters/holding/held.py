"""The lease in the hands of the body that it is held for."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID

from leasehold.adapters.frame_calls import AppendFrameOutcome
from leasehold.adapters.holding.keeping import Kept, OnRenewed
from leasehold.adapters.holding.remaining import Trust
from leasehold.adapters.holding.renewing import LOOK_AGAIN_S, Keeper
from leasehold.adapters.worker_calls import (
    FailureReason,
    LeaseRenewal,
    RetryScheduled,
    TerminalFailed,
)
from leasehold.domain.errors import ContentionError, LeaseholdError, NotFoundError
from leasehold.domain.frames import Frame
from leasehold.domain.handles import Handle
from leasehold.domain.states import FailureClass

_NS_IN_S = 1_000_000_000


class LeaseCalls(Protocol):
    """What a ledger offers to the holder of a lease."""

    def renew(self, handle: Handle) -> LeaseRenewal:
        """Extend the lease."""
        ...

    def progress(
        self, handle: Handle, percent: float | None = None, message: str | None = None
    ) -> None:
        """Report how far the work is."""
        ...

    def append_frame(self, handle: Handle, frame: Frame) -> AppendFrameOutcome:
        """Append a frame."""
        ...

    def complete(self, handle: Handle, result: bytes | None = None) -> None:
        """Finish the work."""
        ...

    def fail(
        self,
        handle: Handle,
        reason: str | FailureReason,
        failure_class: FailureClass,
    ) -> RetryScheduled | TerminalFailed:
        """Report that the try failed."""
        ...


class LostLease:
    """The event that a held lease is lost; it comes by time, whatever hangs."""

    def __init__(self, kept: Kept) -> None:
        """Belong to a lease."""
        self._kept = kept

    def is_set(self) -> bool:
        """Say whether the lease is lost."""
        return self._kept.is_lost

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the lease is lost, and say whether it is.

        Args:
            timeout: In seconds; None waits as long as the lease is held.

        Returns:
            False after the timeout, and when the lease is held no longer because the
            attempt has ended or the block was left.
        """
        kept = self._kept
        until_s = None if timeout is None else time.monotonic() + timeout
        while not kept.is_lost and not kept.is_over:
            wait_s = min(kept.trusted_ns / _NS_IN_S, LOOK_AGAIN_S)
            if until_s is not None:
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    break
                wait_s = min(wait_s, left_s)
            kept.changed.wait(wait_s)
        return kept.is_lost


class HeldLease:
    """A lease that is held while the block of `Ledger.hold` runs.

    Any thread of the body may use it. What it says is computed from the clock at that
    moment, and not from what a thread has noticed.

    The calls are those of the ledger without the handle. Each but `beat` first checks
    that the lease is not lost, and then raises the reason without calling the store.

    Attributes:
        lost: The event that the lease is lost: `is_set()`, `wait(timeout)`.
    """

    def __init__(self, keeper: Keeper, kept: Kept, calls: LeaseCalls) -> None:
        """Hold a lease that is kept."""
        self.lost = LostLease(kept)
        self._keeper = keeper
        self._kept = kept
        self._calls = calls

    @property
    def handle(self) -> Handle:
        """The handle, as it was issued."""
        return self._kept.handle

    @property
    def execution_id(self) -> UUID:
        """The execution."""
        return self.handle.execution_id

    @property
    def attempt_index(self) -> int:
        """The attempt, from 0."""
        return self.handle.attempt_index

    @property
    def lease_epoch(self) -> int:
        """The fencing number of the lease, for systems that compare it."""
        return self.handle.lease_epoch

    @property
    def is_lost(self) -> bool:
        """Whether the lease is lost; once it is, it stays so."""
        return self._kept.is_lost

    @property
    def lost_because(self) -> LeaseholdError | None:
        """Why the lease is lost; None while it is not.

        A `LeaseExpiredError` when its time ran out, else what the store answered to a
        renewal or another call; a `StoreError` in a forked child and when the ledger
        was closed.
        """
        return self._kept.lost_because

    def remaining_ms(self) -> int:
        """Return how much longer the lease can be relied on, in ms.

        Never longer than it runs in the store. It grows with each renewal. 0 when the
        lease is lost or held no longer.
        """
        return self._kept.remaining_ms

    def check(self) -> None:
        """Do nothing while the lease is not lost.

        Raises:
            LeaseholdError: Why it is lost.
        """
        self._kept.check()

    def follow(self, renewed: OnRenewed, lost: Callable[[], None]) -> Trust:
        """Have a copy of the lease in another process kept up; not for bodies.

        Args:
            renewed: Called with each renewal from now on, by the thread that learns of
                it, under the lock of all leases: short, and never waiting.
            lost: Called when it is lost, in the same way.

        Returns:
            What is proved by now.

        Raises:
            LeaseholdError: It is lost already.
        """
        return self._keeper.follow(self._kept, renewed, lost)

    def forgo(self, reason: LeaseholdError) -> None:
        """Count it as lost from now on, for this reason: it is renewed no more."""
        self._keeper.forgo(self._kept, reason)

    def beat(self) -> None:
        """Tell that the body is alive, with `renew_on="progress"`; writes nothing."""
        self._keeper.beat(self._kept)

    def progress(
        self, percent: float | None = None, message: str | None = None
    ) -> None:
        """Report how far the work is; see `Ledger.progress`."""
        self.beat()
        with self._checked():
            self._calls.progress(self.handle, percent, message)

    def append_frame(self, frame: Frame) -> AppendFrameOutcome:
        """Append a frame to the attempt; see `Ledger.append_frame`."""
        self.beat()
        with self._checked():
            return self._calls.append_frame(self.handle, frame)

    def renew(self) -> LeaseRenewal:
        """Renew the lease at once; see `Ledger.renew`.

        Before work that must not be interrupted for a while. Otherwise it is renewed
        in time without.
        """
        kept = self._kept
        if kept.is_inherited:
            # The lock may be held by a thread that this process does not have.
            kept.check()
        if kept.is_over:
            return self._calls.renew(self.handle)
        return self._keeper.renew_now(kept)

    def complete(self, result: bytes | None = None) -> None:
        """Finish the work; see `Ledger.complete`. The lease is held no longer then."""
        with self._ending():
            self._calls.complete(self.handle, result)

    def fail(
        self, reason: str | FailureReason, failure_class: FailureClass
    ) -> RetryScheduled | TerminalFailed:
        """End the attempt as failed; see `Ledger.fail`.

        The lease is held no longer then.
        """
        with self._ending():
            return self._calls.fail(self.handle, reason, failure_class)

    @contextmanager
    def _checked(self) -> Iterator[None]:
        if not self._kept.is_over:
            self.check()
        try:
            yield
        except (ContentionError, NotFoundError) as error:
            self._kept.lose(error)
            raise

    @contextmanager
    def _ending(self) -> Iterator[None]:
        kept, has_ended = self._kept, False
        if kept.is_inherited:
            kept.check()
        self._keeper.begin_ending(kept)
        try:
            yield
            has_ended = True
        except (ContentionError, NotFoundError) as error:
            kept.lose(error)
            raise
        finally:
            self._keeper.finish_ending(kept, has_ended=has_ended)


OnLost = Callable[[HeldLease], object]
"""What a caller has done when a lease is lost."""
