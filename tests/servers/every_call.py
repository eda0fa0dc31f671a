"""Every operation of a ledger and everything that can be asked of it, ready to be made.

Each operation is prepared on a ledger with a clock that the test moves; what it gives
back makes the one call that the test is about.
"""

from __future__ import annotations

import io
import itertools
from contextlib import closing
from typing import TYPE_CHECKING, Any

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NUMBERS = itertools.count(1)


def keyed() -> dict[str, Any]:
    """Name what is to be created once: by a key that nobody else has."""
    return {"idempotency_key": f"order-{next(NUMBERS)}", "payload": b"x"}


def worked(ledger: Any, ttl: int = 30_000) -> leasehold.Handle:
    """Create an execution and claim it."""
    ledger.create_execution()
    return ledger.claim(worker_id="w", lease_ttl_ms=ttl)


def create_anonymous(ledger, clock):
    return ledger.create_execution


def create_keyed(ledger, clock):
    named = keyed()
    return lambda: ledger.create_execution(**named)


def create_batch(ledger, clock):
    specs = [{"priority": 1}, keyed()]
    return lambda: ledger.create_executions(specs)


def claim(ledger, clock):
    ledger.create_execution()
    return lambda: ledger.claim(worker_id="w")


def take_over(ledger, clock):
    worked(ledger, ttl=1_000)
    clock.advance(2_000)
    return lambda: ledger.claim(worker_id="w2")


def renew(ledger, clock):
    handle = worked(ledger)
    clock.advance(1_000)
    return lambda: ledger.renew(handle)


def progress(ledger, clock):
    handle = worked(ledger)
    return lambda: ledger.progress(handle, 50, "half")


def frame(ledger, clock, mode=None):
    handle = worked(ledger)
    sent = leasehold.Frame(b'{"a":1}', mode=mode or leasehold.Durable())
    return lambda: ledger.append_frame(handle, sent)


def summary(ledger, clock):
    return frame(ledger, clock, leasehold.Summary())


def best_effort(ledger, clock):
    mode = leasehold.BestEffort(maxlen_floor=1, maxlen_ceiling=1)
    make = frame(ledger, clock, mode)
    make()
    return make


def complete(ledger, clock):
    handle = worked(ledger)
    return lambda: ledger.complete(handle, b"done")


def fail_for_good(ledger, clock):
    handle = worked(ledger)
    return lambda: ledger.fail(handle, "broke", leasehold.FailureClass.PERMANENT)


def fail_to_retry(ledger, clock):
    handle = worked(ledger)
    return lambda: ledger.fail(handle, "broke", leasehold.FailureClass.TRANSIENT)


def grant(ledger, clock):
    one = worked(ledger).execution_id
    return lambda: ledger.issue_resume_grant(one, worker_id="w")


def resume(ledger, clock):
    one = worked(ledger, ttl=1_000).execution_id
    issued = ledger.issue_resume_grant(one, worker_id="w")
    clock.advance(2_000)
    return lambda: ledger.claim_from_resume_grant(issued, worker_id="w")


def sweep(ledger, clock):
    worked(ledger, ttl=1_000)
    clock.advance(2_000)
    return ledger.sweep


def revoke(ledger, clock):
    one = worked(ledger).execution_id
    return lambda: ledger.revoke_lease(one, actor="ann", reason="late")


def cancel(ledger, clock):
    one = ledger.create_execution()
    return lambda: ledger.cancel_execution(one, actor="ann", reason="no use")


def reprioritise(ledger, clock):
    one = ledger.create_execution()
    return lambda: ledger.change_priority(one, 9, actor="ann")


def replay(ledger, clock):
    handle = worked(ledger)
    ledger.complete(handle)
    one = handle.execution_id
    return lambda: ledger.replay_execution(one, actor="ann", reason="again")


CALLS = [
    create_anonymous,
    create_keyed,
    create_batch,
    claim,
    take_over,
    renew,
    progress,
    frame,
    summary,
    complete,
    fail_for_good,
    fail_to_retry,
    grant,
    resume,
    sweep,
    revoke,
    cancel,
    reprioritise,
    replay,
]
"""Those that store events."""


def refuse(ledger, clock):
    handle = worked(ledger).replace(lease_epoch=999)

    def call():
        try:
            ledger.renew(handle)
        except leasehold.LeaseConflictError as error:
            return error

    return call


def every_operation(ledger: Any, clock: Any) -> Iterator[tuple[str, Any]]:
    """Do everything that writes, each on an execution of its own."""
    for prepare in (*CALLS, best_effort, refuse):
        yield prepare.__name__, prepare(ledger, clock)()
        empty(ledger)


def empty(ledger: Any) -> None:
    """End all that is left, so that the next claim finds its own."""
    for row in ledger.read.executions(limit=1_000):
        if row.lifecycle_phase != "terminal":
            ledger.cancel_execution(row.execution_id, actor="ann", reason="done")


def bundled(ledger: Any) -> bytes:
    """Export everything."""
    file = io.BytesIO()
    ledger.export(file)
    return file.getvalue()


def first_of(ledger: Any) -> Any:
    """Follow the log up to its first event."""
    with closing(ledger.subscribe(after=0)) as subscription:
        return next(subscription)


def counted_as_of(ledger: Any) -> Any:
    """Read the state of an earlier time."""
    with ledger.as_of(position=2) as reader:
        return reader.counts()


READS: dict[str, Callable[[Any, Any], Any]] = {
    "execution": lambda ledger, one: ledger.read.execution(one),
    "executions": lambda ledger, one: ledger.read.executions(),
    "executions of a lane": lambda ledger, one: ledger.read.executions("default"),
    "attempts": lambda ledger, one: ledger.read.attempts(one),
    "attempt": lambda ledger, one: ledger.read.attempt(one, 0),
    "lease events": lambda ledger, one: ledger.read.lease_events(),
    "lease events of one": lambda ledger, one: ledger.read.lease_events(one),
    "lease events of a worker": (
        lambda ledger, one: ledger.read.lease_events(worker_id="w")
    ),
    "tenures": lambda ledger, one: ledger.read.tenures(),
    "tenures of one": lambda ledger, one: ledger.read.tenures(one),
    "tenures of a worker": lambda ledger, one: ledger.read.tenures(worker_id="w"),
    "tenures of a lane": (
        lambda ledger, one: ledger.read.tenures(lane_id="default", since_ms=1)
    ),
    "summary": lambda ledger, one: ledger.read.summary(one, 0),
    "frames": lambda ledger, one: ledger.read.frames(one, 0),
    "frames as they come": (
        lambda ledger, one: ledger.read.tail_frames(one, 0, None, 10)
    ),
    "expired leases": lambda ledger, one: ledger.read.expired_leases(),
    "oldest orphan": lambda ledger, one: ledger.read.oldest_orphan(),
    "lanes": lambda ledger, one: ledger.read.lanes(),
    "counts": lambda ledger, one: ledger.read.counts(),
    "history": lambda ledger, one: ledger.read.history(one),
    "events": lambda ledger, one: ledger.read.events(),
    "events of topics": (
        lambda ledger, one: ledger.read.events(topics=["execution.created"])
    ),
    "settled position": lambda ledger, one: ledger.read.settled_position(),
    "facts": lambda ledger, one: dict(ledger.read.store_facts()),
    "as of": lambda ledger, one: counted_as_of(ledger),
    "diff": lambda ledger, one: ledger.diff(0, 3),
    "why": lambda ledger, one: ledger.why(one, "public_state"),
    "verify": lambda ledger, one: ledger.verify().ok,
    "checkpoint": lambda ledger, one: ledger.checkpoint(),
    "export": lambda ledger, one: bundled(ledger),
    "subscribe": lambda ledger, one: first_of(ledger),
}
