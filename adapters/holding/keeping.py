"""One lease that is held: what is known of it, and what each answer changes."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

from leasehold.adapters.holding.remaining import NS_IN_MS, Trust
from leasehold.adapters.worker_calls import LeaseRenewal
from leasehold.domain.errors import LeaseExpiredError, LeaseholdError, StoreError
from leasehold.domain.handles import Handle

_log: Final = logging.getLogger("leasehold")

RenewalAnswer: TypeAlias = LeaseRenewal | LeaseholdError
"""What became of one renewal among several."""

RenewMany: TypeAlias = Callable[[Sequence[Handle]], Sequence[RenewalAnswer]]
"""Renew leases together; answer for each, in their order."""

OnRenewed: TypeAlias = Callable[[LeaseRenewal, int], None]
"""What is told of a renewal: its answer, and when it was sent, as `elapsed_ns`."""


class RenewOn(StrEnum):
    """Tell what a held lease is renewed for.

    Attributes:
        ALWAYS: As long as the block goes on.
        PROGRESS: Only if the body has reported something since the last renewal, so
            that a body that hangs loses its lease.
    """

    ALWAYS = "always"
    PROGRESS = "progress"


class Times(Protocol):
    """Where times and draws come from."""

    @property
    def now_ns(self) -> Callable[[], int]:
        """Read the clock that leases are counted by."""
        ...

    @property
    def draw(self) -> Callable[[], float]:
        """Draw evenly from [0, 1)."""
        ...


class Kept:
    """One lease that is held.

    What changes is changed under `lock`, which all leases of a ledger share and which
    is never held during a call of the store. What is read by a single look is read
    without it: a body may ask at any time and does not wait for the answer.

    A lease that was once found to be lost is never held again.

    Attributes:
        trust: What its renewals proved.
        due_ns: When to renew it next.
        beat_ns: When the body last reported something; None for not yet.
        reason: Why it was lost; None while it is not known to be.
        is_over: Whether it is held no longer, because the block was left or the
            attempt has ended.
        is_ending: Whether a call that ends the attempt is under way.
        in_flight: How many renewals are under way.
        changed: Set when it is lost or over.
        hooks: Called when it is lost, under the lock: short, and never waiting.
        on_renewed: Called when it was renewed, in the same way.
        on_lost: Called when it is lost, by a thread of its own.
    """

    def __init__(  # noqa: PLR0913 - what a held lease is made of
        self,
        handle: Handle,
        trust: Trust,
        times: Times,
        renew_many: RenewMany,
        *,
        lock: threading.RLock,
        renew_on: RenewOn = RenewOn.ALWAYS,
    ) -> None:
        """Begin with what the claim or the first renewal proved."""
        self.handle = handle
        self.trust = trust
        self.renew_many = renew_many
        self.renew_on = renew_on
        self.due_ns = trust.due_ns(times.draw())
        self.beat_ns: int | None = None
        self.reason: LeaseholdError | None = None
        self.is_over = False
        self.is_ending = False
        self.in_flight = 0
        self.changed = threading.Event()
        self.hooks: list[Callable[[], None]] = []
        self.on_renewed: OnRenewed | None = None
        self.on_lost: Callable[[], None] | None = None
        self._times = times
        self._lock = lock
        self._failures = 0
        self._last_failure: BaseException | None = None
        self._process = os.getpid()

    @property
    def is_lost(self) -> bool:
        """Whether it can no longer be relied on, by the clock of now."""
        if self.is_inherited or self.reason is not None:
            return True
        if self.is_over or not self.trust.has_run_out(self._times.now_ns()):
            return False
        if self.is_ending:
            return True
        return self.settle()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child of the process that holds it."""
        return os.getpid() != self._process

    @property
    def remaining_ms(self) -> int:
        """How much longer it can be relied on, rounded down; 0 when no more."""
        if self.is_inherited or self.reason is not None or self.is_over:
            return 0
        return self.trust.remaining_ns(self._times.now_ns()) // NS_IN_MS

    @property
    def trusted_ns(self) -> int:
        """How long to wait at most before its time runs out."""
        return self.trust.remaining_ns(self._times.now_ns())

    @property
    def lost_because(self) -> LeaseholdError | None:
        """Why it is lost; None while it is not."""
        if self.is_inherited:
            return StoreError(
                "the lease is held in another process and this one was forked from "
                "it; claim here what is to be worked on here"
            )
        if self.is_lost and self.reason is None:
            return self._run_out()
        return self.reason

    def check(self) -> None:
        """Raise why it is lost, if it is."""
        reason = self.lost_because
        if reason is not None:
            raise fresh(reason) from reason

    def beat(self) -> bool:
        """Note that the body is alive; say whether a renewal has waited for that."""
        self.beat_ns = self._times.now_ns()
        return (
            self.renew_on is RenewOn.PROGRESS
            and self.beat_ns >= self.due_ns
            and not self.is_inherited
        )

    def next_ns(self) -> int | None:
        """Return when to renew it; None while nothing asks for that."""
        if self.is_over or self.is_ending or self.in_flight or self.reason is not None:
            return None
        if self.renew_on is RenewOn.PROGRESS and (
            self.beat_ns is None or self.beat_ns < self.trust.sent_at_ns
        ):
            return None
        return self.due_ns

    def settle(self) -> bool:
        """Declare it lost if its time has run out; say whether it is lost."""
        with self._lock:
            if (
                self.reason is None
                and not self.is_over
                and not self.is_ending
                and self.trust.has_run_out(self._times.now_ns())
            ):
                self.lose(self._run_out())
            return self.reason is not None

    def take(self, answer: RenewalAnswer | Exception, *, sent_at_ns: int) -> None:
        """Learn from the answer to a renewal, however late it is."""
        with self._lock:
            if self.is_over or self.is_ending or self.settle():
                return
            if isinstance(answer, LeaseRenewal):
                self.trust = self.trust.renewed(sent_at_ns=sent_at_ns)
                self.due_ns = self.trust.due_ns(self._times.draw())
                self._failures = 0
                self._last_failure = None
                if self.on_renewed is not None:
                    self.on_renewed(answer, sent_at_ns)
            elif isinstance(answer, LeaseholdError) and not isinstance(
                answer, StoreError
            ):
                self.lose(answer)
            else:
                self._failures += 1
                self._last_failure = answer
                now_ns = self._times.now_ns()
                draw = self._times.draw()
                pause_ns = self.trust.pause_ns(self._failures, now_ns, draw)
                self.due_ns = now_ns + pause_ns

    def lose(self, reason: LeaseholdError) -> None:
        """Declare it lost; the first reason counts."""
        with self._lock:
            if self.reason is not None or self.is_over:
                return
            self.reason = reason
            self.changed.set()
            for hook in self.hooks:
                try:
                    hook()
                except RuntimeError:
                    # Its event loop is closed: there is no body left to stop.
                    _log.warning("a lost lease could not be told of", exc_info=True)
            if self.on_lost is not None:
                _tell(self.on_lost)

    def end(self) -> None:
        """Hold it no longer."""
        with self._lock:
            self.is_over = True
            self.changed.set()

    def _run_out(self) -> LeaseExpiredError:
        age_ms = (self._times.now_ns() - self.trust.sent_at_ns) // NS_IN_MS
        failed = "" if self._last_failure is None else f" ({self._last_failure})"
        lease = self.handle.lease
        error = LeaseExpiredError(
            f"the lease of epoch {lease.lease_epoch} on attempt {lease.attempt_index} "
            f"of execution {lease.execution_id} can no longer be relied on: its last "
            f"renewal that succeeded was sent {age_ms} ms ago{failed}, it runs for "
            f"{self.trust.ttl_ns // NS_IN_MS} ms, and of that "
            f"{self.trust.margin_ns // NS_IN_MS} ms are kept as a margin; stop the "
            "work and claim again"
        )
        error.__cause__ = self._last_failure
        return error


def fresh(error: LeaseholdError) -> LeaseholdError:
    """Copy an error, so that raising it again does not lengthen its traceback."""
    return copy(error)


def _tell(on_lost: Callable[[], None]) -> None:
    """Call a caller's function by a thread, so that it may take its time."""

    def call() -> None:
        try:
            on_lost()
        except Exception:  # noqa: BLE001 - whatever the caller has done
            _log.exception("the on_lost of a lease failed")

    thread = threading.Thread(target=call, name="leasehold-lost", daemon=True)
    with suppress(RuntimeError):
        thread.start()
        return
    _log.error("no thread could be started for the on_lost of a lease")
