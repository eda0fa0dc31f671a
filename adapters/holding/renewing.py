"""Renewing all leases that one ledger holds, and declaring lost what runs out.

Two daemon threads, which are there while a lease is held and a second longer. One
renews, and may be stuck in a call of the store. So the other one watches the time: it
never calls the store, and tells of a loss also when the first cannot.
"""

import logging
import os
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakSet

from leasehold.adapters.holding.elapsing import elapsed_ns
from leasehold.adapters.holding.keeping import Kept, OnRenewed, RenewalAnswer
from leasehold.adapters.holding.remaining import Trust
from leasehold.adapters.worker_calls import LeaseRenewal
from leasehold.domain.errors import LeaseholdError, StoreError

LOOK_AGAIN_S: Final = 1.0
"""The longest wait: other than the clock of leases, it does not count a suspend."""

_log: Final = logging.getLogger("leasehold")

_BATCH_MAX: Final = 500
_LINGER_S: Final = 1.0
_NS_IN_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class HoldTimes:
    """Where times and draws come from; tests put their own in.

    Attributes:
        now_ns: The clock that leases are counted by.
        draw: Evenly from [0, 1).
    """

    now_ns: Callable[[], int] = elapsed_ns
    draw: Callable[[], float] = random.random


class Keeper:
    """Keeps the leases that the bodies of one ledger hold.

    A lease that its body has forgotten, without leaving the block, is kept no longer.

    Attributes:
        lock: Guards the leases; not held during a call of the store. Reentrant: a
            signal handler may come in between.
    """

    def __init__(self, times: HoldTimes | None = None) -> None:
        """Begin with none, and no thread."""
        self.times = times or HoldTimes()
        self.lock = threading.RLock()
        self._renewal_due = threading.Condition(self.lock)
        self._loss_due = threading.Condition(self.lock)
        self._quiet = threading.Condition(self.lock)
        self._all_kept: WeakSet[Kept] = WeakSet()
        self._threads: dict[str, threading.Thread] = {}
        self._is_closed = False
        self._process = os.getpid()

    def keep(self, kept: Kept) -> None:
        """Renew a lease from now on, if it is not let go of already.

        Raises:
            StoreError: The ledger is closed.
        """
        with self.lock:
            if self._is_closed:
                raise _closed()
            if kept.is_over:
                # The task that was entering the block has been cancelled meanwhile.
                return
            self._all_kept.add(kept)
            try:
                self._start("leasehold-renewing", self._run_renewals)
                self._start("leasehold-watching", self._run_losses)
            except BaseException:
                self._all_kept.discard(kept)
                raise
            self._renewal_due.notify()
            self._loss_due.notify()

    def let_go(self, kept: Kept) -> None:
        """Keep a lease no longer; a second call does nothing."""
        with self.lock:
            kept.end()
            self._all_kept.discard(kept)
            self._quiet.notify_all()

    def follow(self, kept: Kept, renewed: OnRenewed, lost: Callable[[], None]) -> Trust:
        """Have what becomes of a lease told; return what is proved by now.

        Raises:
            LeaseholdError: It is lost already.
        """
        with self.lock:
            kept.check()
            kept.on_renewed = renewed
            kept.hooks.append(lost)
            return kept.trust

    def forgo(self, kept: Kept, reason: LeaseholdError) -> None:
        """Keep a lease no longer, and tell its body that it is lost."""
        with self.lock:
            kept.lose(reason)
            self._all_kept.discard(kept)
            self._quiet.notify_all()

    def beat(self, kept: Kept) -> None:
        """Note that the body of a lease is alive."""
        if kept.beat():
            with self.lock:
                self._renewal_due.notify()

    def close(self) -> None:
        """Declare all leases lost, and end the threads; a second call does nothing."""
        if os.getpid() != self._process:
            return
        with self.lock:
            self._is_closed = True
            for kept in list(self._all_kept):
                kept.lose(_closed())
            self._all_kept.clear()
            for condition in (self._renewal_due, self._loss_due, self._quiet):
                condition.notify_all()

    def renew_due(self) -> None:
        """Renew what is due, and with it what soon will be: one call of the store."""
        with self.lock:
            chosen = self._choose(self.times.now_ns())
            for kept in chosen:
                kept.in_flight += 1
        if chosen:
            self._renew(chosen)

    def renew_now(self, kept: Kept) -> LeaseRenewal:
        """Renew a lease at once.

        Raises:
            LeaseholdError: The lease is lost, or the store could not do it.
        """
        with self.lock:
            self._await_quiet(kept, has_turn=lambda: not kept.is_ending)
            kept.check()
            kept.in_flight += 1
        answer = self._renew([kept])[0]
        if not isinstance(answer, LeaseRenewal):
            raise answer
        # It may have come too late.
        kept.check()
        return answer

    def begin_ending(self, kept: Kept) -> None:
        """Hold renewals off for a call that ends the attempt, and wait for them.

        One that came after the end would be refused, and recorded as a late write.

        Raises:
            LeaseholdError: The lease is lost.
        """
        with self.lock:
            self.await_quiet(kept)
            if not kept.is_over:
                kept.check()
            kept.is_ending = True

    def finish_ending(self, kept: Kept, *, has_ended: bool) -> None:
        """Go on renewing after a call that was to end the attempt, if it did not."""
        with self.lock:
            kept.is_ending = False
            if has_ended:
                self.let_go(kept)
            kept.settle()
            self._quiet.notify_all()
            self._renewal_due.notify()
            self._loss_due.notify()

    def await_quiet(self, kept: Kept) -> None:
        """Wait until no call on a lease is under way, or it is lost or over."""
        self._await_quiet(kept, lambda: not kept.in_flight and not kept.is_ending)

    def declare_losses(self) -> None:
        """Declare lost what has run out; calls nothing of the store."""
        with self.lock:
            for kept in list(self._all_kept):
                if kept.settle():
                    self._all_kept.discard(kept)
            self._quiet.notify_all()

    def _await_quiet(self, kept: Kept, has_turn: Callable[[], bool]) -> None:
        with self.lock:
            while not (has_turn() or kept.is_over or kept.is_lost):
                self._quiet.wait(self._seconds_until(kept.trust.until_ns))

    def _choose(self, now_ns: int) -> list[Kept]:
        wanted = [
            (due_ns, kept)
            for kept in list(self._all_kept)
            if (due_ns := kept.next_ns()) is not None and not kept.settle()
        ]
        if not any(due_ns <= now_ns for due_ns, _ in wanted):
            return []
        chosen = [
            (due_ns, kept)
            for due_ns, kept in wanted
            if due_ns - kept.trust.company_ns <= now_ns
        ]
        chosen.sort(key=_due)
        return [kept for _, kept in chosen[:_BATCH_MAX]]

    def _renew(self, chosen: Sequence[Kept]) -> Sequence[RenewalAnswer | Exception]:
        """Renew leases of which it is noted that they are in flight."""
        answers: Sequence[RenewalAnswer | Exception] = [_interrupted()] * len(chosen)
        sent_at_ns = self.times.now_ns()
        try:
            answers = chosen[0].renew_many([kept.handle for kept in chosen])
        except LeaseholdError as error:
            answers = [error] * len(chosen)
        except Exception as error:  # noqa: BLE001 - as it is in a caller's clock
            # No answer of the store: the lease may well be held.
            _log.warning("leases could not be renewed", exc_info=True)
            answers = [error] * len(chosen)
        finally:
            with self.lock:
                for kept, answer in zip(chosen, answers, strict=True):
                    kept.in_flight -= 1
                    kept.take(answer, sent_at_ns=sent_at_ns)
                self._quiet.notify_all()
        return answers

    def _start(self, name: str, run: Callable[[], None]) -> None:
        thread = self._threads.get(name)
        if thread is None or not thread.is_alive():
            thread = threading.Thread(target=run, name=name, daemon=True)
            self._threads[name] = thread
            thread.start()

    def _run_renewals(self) -> None:
        while self._await_next(self._renewal_due, Kept.next_ns):
            self.renew_due()

    def _run_losses(self) -> None:
        while self._await_next(self._loss_due, _until_ns):
            self.declare_losses()

    def _await_next(
        self, condition: threading.Condition, next_ns: Callable[[Kept], int | None]
    ) -> bool:
        """Wait until something is due; say whether the thread is to go on."""
        has_lingered = False
        with self.lock:
            while not self._is_closed:
                kept = list(self._all_kept)
                times_ns = [at for one in kept if (at := next_ns(one)) is not None]
                if times_ns and min(times_ns) <= self.times.now_ns():
                    return True
                if kept:
                    has_lingered = False
                    condition.wait(self._seconds_until(min(times_ns, default=None)))
                elif has_lingered:
                    break
                else:
                    has_lingered = not condition.wait(_LINGER_S)
            # Under the lock: who comes next starts a new thread.
            self._threads.pop(threading.current_thread().name, None)
        return False

    def _seconds_until(self, at_ns: int | None) -> float:
        if at_ns is None:
            return LOOK_AGAIN_S
        left_s = (at_ns - self.times.now_ns()) / _NS_IN_S
        return min(max(left_s, 0.0), LOOK_AGAIN_S)


def _due(chosen: tuple[int, Kept]) -> int:
    return chosen[0]


def _until_ns(kept: Kept) -> int | None:
    """Return when to declare it lost; None while a call that ends it decides."""
    return None if kept.is_ending else kept.trust.until_ns


def _closed() -> StoreError:
    return StoreError("the ledger was closed while the lease was held")


def _interrupted() -> StoreError:
    return StoreError("the renewal was interrupted")
