"""A worker process that may be killed and stopped at any time, and tells what it does.

It is one of two kinds. `worker` is a `leasehold.Worker`, which notices by itself that a
lease is lost. `loop` works with bare handles and never looks at a clock before it
writes, so that what it sends too late has to be refused by the store.
"""

import logging
import math
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from leasehold.adapters.benching.children import (
    end_with_parent,
    given_order,
    open_store,
    tell,
)
from leasehold.adapters.ledger import Ledger
from leasehold.adapters.worker.contexts import WorkContext
from leasehold.adapters.worker.worker import Worker
from leasehold.domain.errors import ContentionError, StoreError
from leasehold.domain.frames import Frame
from leasehold.domain.handles import Handle, HandleKind
from leasehold.domain.states import FailureClass

MODULE: Final = "leasehold.adapters.benching.working"

LATE_MARGIN_MS: Final = 100
"""How much longer than its ttl a lease must have gone unrenewed for a write to be
late: the clock of the store may be set meanwhile."""

_CONCURRENCY: Final = 2
_LONG: Final = 0.5
_IDLE_S: Final = 0.02
_PAUSE_S: Final = 0.1
_AGAIN_FOR_S: Final = 60.0
_PASSING: Final = ("store_busy", "store_unavailable")
_NS_IN_MS: Final = 1_000_000

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """What a worker process is to do.

    Attributes:
        worker: Its name.
        kind: `worker` or `loop`.
        durability: As of `leasehold.open`.
        lease_ttl_ms: Of its leases.
        work_ms: How long an execution takes that nobody lost, on the average.
        failing: What part of all attempts fails, to be retried; 0 … 1.
        draws: What its chance begins with.
    """

    worker: str
    kind: str
    durability: str
    lease_ttl_ms: int
    work_ms: int
    failing: float
    draws: str


def drawn_s(order: WorkOrder, handle: Handle, chance: random.Random) -> float:
    """Draw how long an execution takes.

    Half of those that are taken over take one to two ttls: the one who lost it comes
    back meanwhile, and writes to what another one holds.
    """
    if handle.kind is HandleKind.RECLAIMED and chance.random() < _LONG:
        return chance.uniform(1, 2) * order.lease_ttl_ms / 1000
    return chance.uniform(0, 2) * order.work_ms / 1000


class Loop:
    """Claims and writes, whatever the time is."""

    def __init__(self, ledger: Ledger, order: WorkOrder) -> None:
        """Do nothing yet."""
        self._ledger = ledger
        self._order = order
        self._chance = random.Random(order.draws)  # noqa: S311 - no secret
        self._is_ending = threading.Event()

    def run(self) -> None:
        """Work until told to end."""
        signal.signal(signal.SIGTERM, lambda *_: self._is_ending.set())
        while not self._is_ending.is_set():
            begin_ns = time.monotonic_ns()
            handle = self._next()
            if handle is None:
                self._is_ending.wait(_IDLE_S)
                continue
            at_ns = time.monotonic_ns()
            _tell_claim(handle, begin_ns, at_ns)
            self._work(Lease(self._ledger, handle, self._order.lease_ttl_ms, at_ns))

    def _next(self) -> Handle | None:
        try:
            return _again(self._claim)
        except StoreError as error:
            _check_passing(error)
            return None

    def _claim(self) -> Handle | None:
        return self._ledger.claim(
            worker_id=self._order.worker, lease_ttl_ms=self._order.lease_ttl_ms
        )

    def _work(self, lease: "Lease") -> None:
        """Write on and on, also when a write was refused: the next must be so, too."""
        ledger, handle, chance = self._ledger, lease.handle, self._chance
        writes: dict[str, Callable[[], object]] = {
            "progress": lambda: ledger.progress(handle, chance.randrange(100)),
            "append_frame": lambda: ledger.append_frame(handle, Frame(b"a line")),
            "renew": lambda: ledger.renew(handle),
        }
        names = chance.sample(sorted(writes), len(writes))
        lasting_s = drawn_s(self._order, handle, chance)
        # Long work is renewed in time, again and again.
        names *= max(1, math.ceil(2 * lasting_s / (self._order.lease_ttl_ms / 1000)))
        pause_s = lasting_s / (len(names) + 1)
        for name in names:
            time.sleep(pause_s)
            lease.write(name, writes[name])
        time.sleep(pause_s)
        if chance.random() < self._order.failing:
            reason, kind = "as drawn", FailureClass.TRANSIENT
            lease.write("fail", lambda: ledger.fail(handle, reason, kind))
        else:
            lease.write("complete", lambda: ledger.complete(handle, b"done"))


@dataclass
class Lease:
    """A lease in the hands of a loop.

    Attributes:
        granted_ns: When the claim or the last renewal was answered.
        is_refused: Whether a write was refused.
    """

    ledger: Ledger
    handle: Handle
    lease_ttl_ms: int
    granted_ns: int
    is_refused: bool = field(default=False)

    def write(self, operation: str, call: Callable[[], object]) -> None:
        """Make a call and tell what came of it."""
        sent_ns, code = time.monotonic_ns(), None
        why_late = self._why_late(sent_ns)
        try:
            _again(call)
        except ContentionError as error:
            code, self.is_refused = error.code, True
        except StoreError as error:
            # It is not known whether it was written: nothing can be told of it.
            _check_passing(error)
            code = error.code
        if operation == "renew" and not self.is_refused:
            self.granted_ns = time.monotonic_ns()
        if code not in _PASSING:
            _tell_write(self.handle, operation, sent_ns, code, why_late)

    def _why_late(self, now_ns: int) -> str | None:
        if self.is_refused:
            return "after another one had been refused"
        over_ms = (now_ns - self.granted_ns) / _NS_IN_MS - self.lease_ttl_ms
        if over_ms > LATE_MARGIN_MS:
            return f"{over_ms:.0f} ms after the lease had run out"
        return None


class Handler:
    """What a `leasehold.Worker` does with an execution."""

    def __init__(self, order: WorkOrder) -> None:
        """Do nothing yet."""
        self._order = order
        self._chance = random.Random(order.draws)  # noqa: S311 - no secret

    def __call__(self, context: WorkContext) -> bytes:
        """Report twice, and end well or badly."""
        handle = context.lease.handle
        _tell_claim(handle, None, time.monotonic_ns())
        writes: dict[str, Callable[[], object]] = {
            "progress": lambda: context.progress(50),
            "append_frame": lambda: context.append_frame(Frame(b"a line")),
        }
        pause_s = drawn_s(self._order, handle, self._chance) / (len(writes) + 1)
        for name, call in writes.items():
            context.lost.wait(pause_s)
            self._write(handle, name, call)
        context.lost.wait(pause_s)
        if self._chance.random() < self._order.failing:
            message = "as drawn"
            raise RuntimeError(message)
        return b"done"

    @staticmethod
    def _write(handle: Handle, name: str, call: Callable[[], object]) -> None:
        sent_ns = time.monotonic_ns()
        try:
            _again(call)
        except ContentionError as error:
            _tell_write(handle, name, sent_ns, error.code)
            raise
        _tell_write(handle, name, sent_ns, None)


def _again(call: Callable[[], Answer]) -> Answer:
    """Make a call again while the store cannot do it, for a minute.

    Raises:
        StoreError: It could not by then, or for a reason that does not pass.
    """
    until_s = time.monotonic() + _AGAIN_FOR_S
    while True:
        try:
            return call()
        except StoreError as error:
            tell("trouble", error.code)
            if error.code not in _PASSING or time.monotonic() > until_s:
                raise
        time.sleep(_PAUSE_S)


def _check_passing(error: StoreError) -> None:
    if error.code not in _PASSING:
        raise error


def _tell_claim(handle: Handle, begin_ns: int | None, at_ns: int) -> None:
    tell("claimed", str(handle.execution_id), handle.lease_epoch, begin_ns, at_ns)


def _tell_write(
    handle: Handle,
    operation: str,
    sent_ns: int,
    code: str | None,
    why_late: str | None = None,
) -> None:
    execution_id = str(handle.execution_id)
    tell("wrote", execution_id, handle.lease_epoch, operation, sent_ns, code, why_late)


def main() -> None:
    """Work until told to end."""
    end_with_parent()
    # What a worker logs of lost leases is what it is made to meet here.
    logging.getLogger("leasehold").setLevel(logging.CRITICAL)
    order = WorkOrder(**given_order())
    with open_store(order.durability) as ledger:
        if order.kind == "loop":
            Loop(ledger, order).run()
            return
        Worker(
            ledger,
            Handler(order),
            worker_id=order.worker,
            concurrency=_CONCURRENCY,
            lease_ttl_ms=order.lease_ttl_ms,
        ).run(handle_signals=True)


if __name__ == "__main__":
    main()
