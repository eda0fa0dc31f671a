"""The block in which a lease is held: entering and leaving it."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final

from leasehold.adapters.holding.elapsing import since_ns
from leasehold.adapters.holding.failing import failure_class_of, reason_of
from leasehold.adapters.holding.held import HeldLease, LeaseCalls, OnLost
from leasehold.adapters.holding.keeping import Kept, RenewMany, RenewOn, fresh
from leasehold.adapters.holding.remaining import NS_IN_MS, Trust, margin_of
from leasehold.adapters.holding.renewing import Keeper
from leasehold.domain import limits
from leasehold.domain.errors import (
    ContentionError,
    IllegalTransitionError,
    InvalidInputError,
    LeaseholdError,
    NotFoundError,
    StoreError,
)
from leasehold.domain.handles import Handle
from leasehold.domain.states import FailureClass

if TYPE_CHECKING:
    from leasehold.adapters.holding.awaiting import AsyncHeldLease
    from leasehold.adapters.holding.cancelling import AsyncBlock

_log: Final = logging.getLogger("leasehold")


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldTerms:
    """How a lease is to be held; `Ledger.hold` has the meaning."""

    renew_on: RenewOn
    margin_ms: int | None
    on_lost: OnLost | None
    failure_classes: Mapping[type[BaseException], FailureClass]
    sent_at_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldCalls:
    """What a block calls of the ledger.

    Attributes:
        lease_calls: The operations of a holder.
        renew_many: Renew leases together.
        lease_ttl_ms: Look up how long the lease of a handle runs from a renewal; None
            where it is not the current one.
    """

    lease_calls: LeaseCalls
    renew_many: RenewMany
    lease_ttl_ms: Callable[[Handle], int | None]


class Hold:
    """A block in which a lease is held: `with ledger.hold(handle) as lease:`.

    With `async with` (extra `aio`) it gives an `AsyncHeldLease`, and the body is
    cancelled when the lease is lost. A block is entered once.
    """

    def __init__(
        self, keeper: Keeper, calls: HoldCalls, handle: Handle, terms: HoldTerms
    ) -> None:
        """Prepare; nothing is renewed before the block is entered."""
        self._keeper = keeper
        self._calls = calls
        self._handle = handle
        self._terms = terms
        self._lock = threading.Lock()
        self._is_entered = False
        self._is_abandoned = False
        self._kept: Kept | None = None
        self._held: HeldLease | None = None
        self._block: AsyncBlock | None = None

    def __enter__(self) -> HeldLease:
        """Make sure of the lease, and begin to renew it.

        Raises:
            LeaseholdError: The lease is lost already, or the store could not tell.
        """
        return self.begin()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the holding; fail the attempt if the body has not ended it.

        Raises:
            LeaseholdError: The lease was lost; from the exception of the body, where
                it had another.
            IllegalTransitionError: The body has neither completed nor failed it.
        """
        self.leave(exc_value)

    async def __aenter__(self) -> "AsyncHeldLease":
        """Do as `__enter__`, and have the body cancelled when the lease is lost."""
        try:
            from leasehold.adapters.holding.cancelling import AsyncBlock  # noqa: PLC0415
        except ImportError as error:
            message = (
                f"`async with` needs the extra `aio` ({error}): "
                "pip install 'leasehold[aio]'"
            )
            raise StoreError(message) from error
        self._block = AsyncBlock(self)
        return await self._block.enter()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Do as `__exit__`; a cancellation for the lost lease becomes its error."""
        if self._block is None:
            return False
        return await self._block.leave(exc_value)

    def begin(self, hook: Callable[[], None] | None = None) -> HeldLease:
        """Make sure of the lease, and begin to renew it.

        Args:
            hook: Called when it is lost, by whichever thread notices: short.
        """
        with self._lock:
            if self._is_entered:
                raise InvalidInputError("a hold is entered once; call hold() again")
            self._is_entered = True
        kept = self._make_sure()
        held = HeldLease(self._keeper, kept, self._calls.lease_calls)
        if hook is not None:
            kept.hooks.append(hook)
        on_lost = self._terms.on_lost
        if on_lost is not None:
            kept.on_lost = partial(_call, on_lost, held)
        kept.check()
        with self._lock:
            if self._is_abandoned:
                raise StoreError("the task was cancelled while it entered the hold")
            self._kept, self._held = kept, held
        try:
            self._keeper.keep(kept)
        except BaseException:
            self.abandon()
            raise
        return held

    def abandon(self) -> None:
        """Keep the lease no longer, also where a thread is about to begin with it."""
        with self._lock:
            self._is_abandoned = True
            if self._kept is not None and not self._kept.is_inherited:
                self._keeper.let_go(self._kept)

    def leave(self, left_by: BaseException | None) -> None:
        """End the holding; see `__exit__`."""
        kept, held = self._kept, self._held
        if kept is None or held is None:
            return
        if kept.is_inherited:
            _raise_lost(kept, left_by)
            return
        try:
            self._keeper.await_quiet(kept)
            if kept.is_over:
                return
            if left_by is not None:
                if not kept.is_lost:
                    self._fail(kept, held, left_by)
            elif not kept.is_lost:
                left_by = _unfinished(kept.handle)
                self._fail(kept, held, left_by)
                if not kept.is_lost:
                    raise left_by
                left_by = None
            _raise_lost(kept, left_by)
        finally:
            self._keeper.let_go(kept)

    @property
    def remaining_ms(self) -> int:
        """How long the lease can be relied on."""
        return 0 if self._kept is None else self._kept.remaining_ms

    def _make_sure(self) -> Kept:
        """Return the lease with what the claim, or else a renewal, proves of it."""
        terms, handle = self._terms, self._handle
        lease_ttl_ms = self._calls.lease_ttl_ms(handle)
        if lease_ttl_ms is None:
            # Another lease is the current one: the store says so, and records it.
            self._calls.lease_calls.renew(handle)
            raise StoreError("the lease came and went; claim again", retryable=True)
        margin_ms = margin_of(lease_ttl_ms, terms.margin_ms)
        times = self._keeper.times

        def trust(sent_at_ns: int) -> Trust:
            return Trust(
                ttl_ns=lease_ttl_ms * NS_IN_MS,
                margin_ns=margin_ms * NS_IN_MS,
                sent_at_ns=sent_at_ns,
            )

        proved = None
        if terms.sent_at_s is not None:
            proved = trust(since_ns(terms.sent_at_s))
        if proved is None or proved.due_ns(0) <= times.now_ns():
            sent_at_ns = times.now_ns()
            self._calls.lease_calls.renew(handle)
            proved = trust(sent_at_ns)
        return Kept(
            handle,
            proved,
            times,
            self._calls.renew_many,
            lock=self._keeper.lock,
            renew_on=terms.renew_on,
        )

    def _fail(self, kept: Kept, held: HeldLease, error: BaseException) -> None:
        """Fail the attempt, if that can be done; the exception goes on in any case."""
        failure_class = failure_class_of(error, self._terms.failure_classes)
        try:
            held.fail(reason_of(error), failure_class)
        except (ContentionError, NotFoundError) as refusal:
            kept.lose(refusal)
        except LeaseholdError as failed:
            message = (
                f"the attempt could not be failed ({failed}): its lease runs out, and "
                "another worker takes it over"
            )
            error.add_note(message)
            _log.warning(message)


def _call(on_lost: OnLost, held: HeldLease) -> None:
    on_lost(held)


def _unfinished(handle: Handle) -> IllegalTransitionError:
    lease = handle.lease
    return IllegalTransitionError(
        f"the block was left without complete() or fail() for attempt "
        f"{lease.attempt_index} of execution {lease.execution_id}; it is "
        "failed for that: end it in the block"
    )


def _raise_lost(kept: Kept, left_by: BaseException | None) -> None:
    """Raise why the lease is lost, unless the body's exception is to go on.

    That is so where it is that error already, and where it is no `Exception`: an
    interrupt must not be taken for a lost lease.
    """
    reason = kept.lost_because
    if reason is None or left_by is reason:
        return
    if left_by is None:
        raise fresh(reason) from reason
    if left_by.__cause__ is reason and type(left_by) is type(reason):
        return
    if not isinstance(left_by, Exception):
        left_by.add_note(f"the lease was lost, too: {reason}")
        return
    raise fresh(reason) from left_by


def check_terms(
    *,
    renew_on: RenewOn | str,
    margin_ms: int | None,
    on_lost: OnLost | None,
    failure_classes: Mapping[type[BaseException], FailureClass],
    sent_at_s: float | None,
) -> HoldTerms:
    """Check how a lease is to be held.

    Raises:
        InvalidInputError: An argument breaks its rule.
    """
    try:
        known = RenewOn(renew_on)
    except ValueError:
        rule = " or ".join(repr(str(known)) for known in RenewOn)
        raise limits.refuse("renew_on", renew_on, rule) from None
    if margin_ms is not None:
        most = limits.LEASE_TTL_MS_MAX - 1
        limits.integer("margin_ms", margin_ms, least=1, most=most)
    if on_lost is not None and not callable(on_lost):
        raise limits.refuse("on_lost", on_lost, "a function of the held lease")
    if sent_at_s is not None:
        since_ns(sent_at_s)
    return HoldTerms(
        renew_on=known,
        margin_ms=margin_ms,
        on_lost=on_lost,
        failure_classes=failure_classes,
        sent_at_s=sent_at_s,
    )
