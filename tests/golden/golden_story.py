"""A story in which every event happens, told through the public API.

The clock and the ids are made up, so that it comes out the same every time.
"""

from collections.abc import Callable
from itertools import count
from uuid import UUID

import leasehold
from leasehold import (
    Durable,
    Exponential,
    FailureClass,
    FailureReason,
    Fixed,
    Frame,
    FrameKind,
    Handle,
    Ledger,
    RetryPolicy,
    Summary,
)
from leasehold.adapters.commands import Draws

START_MS = 1_700_000_000_000


class StoryClock:
    """A clock that the story moves, in ms."""

    def __init__(self) -> None:
        """Begin at the start."""
        self.now_ms = START_MS

    def __call__(self) -> int:
        """Return now."""
        return self.now_ms

    def advance(self, ms: int) -> None:
        """Move, backwards where negative."""
        self.now_ms += ms


def made_up_ids(form: str) -> Callable[[], UUID]:
    """Return a source of ids that are counted."""
    numbers = count(1)
    return lambda: UUID(form.format(next(numbers)))


def story_draws() -> Draws:
    """Return ids that are counted and jitter that is a quarter."""
    return Draws(
        execution_id=made_up_ids("018bcfe5-6800-7000-8000-{:012x}"),
        lease_id=made_up_ids("1ea5e000-0000-4000-8000-{:012x}"),
        grant_id=made_up_ids("96a27000-0000-4000-8000-{:012x}"),
        jitter=lambda: 0.25,
    )


def tell_story(ledger: Ledger, clock: StoryClock) -> None:
    """Let every event happen."""
    resumed_and_completed(ledger, clock)
    retried_taken_over_and_failed(ledger, clock)
    taken_over_too_often(ledger, clock)
    cancelled(ledger, clock)
    past_their_deadlines(ledger, clock)


def claimed(ledger: Ledger, lane_id: str, worker_id: str, ttl_ms: int) -> Handle:
    """Claim what is sure to be there."""
    handle = ledger.claim(
        lane_id,
        capabilities=["cpu", "gpu/a100", "größe"],
        worker_id=worker_id,
        worker_instance_id=f"{worker_id}:4711",
        lease_ttl_ms=ttl_ms,
    )
    assert handle is not None
    return handle


def refused(call: Callable[[], object]) -> None:
    """Make a call that the guard refuses."""
    try:
        call()
    except leasehold.ContentionError:
        return
    raise AssertionError("the guard let it pass")


def resumed_and_completed(ledger: Ledger, clock: StoryClock) -> None:
    """Tell of a delay, frames, an expiry, a grant, a stepping clock and a replay."""
    execution_id = ledger.create_execution(
        lane_id="renders",
        payload=b"\x00\xff payload",
        capabilities=["größe", "gpu/a100"],
        priority=-5,
        idempotency_key="order/1 ✓",
        delay_until_ms=clock() + 2_000,
        deadline_at_ms=clock() + 3_600_000,
        retry_policy=RetryPolicy(2, Exponential(500, 1.5, 20_000, 0.5)),
        max_reclaim_count=4,
        namespace="studio",
        tags={"title": "Übergröße \U0001f680", "a b": ""},
        actor="ann@studio",
    )
    ledger.change_priority(execution_id, 9_000, actor="bob")
    clock.advance(2_500)
    handle = claimed(ledger, "renders", "worker-1", 10_000)
    ledger.progress(handle, 12.5, "läuft")
    clock.advance(4_000)
    ledger.renew(handle)
    line = Frame(b"\x1b[1mline\n", FrameKind.STDERR, "log", "call-1", Durable())
    ledger.append_frame(handle, line)
    ledger.append_frame(handle, Frame(b'{"a":{"b":1},"c":[1]}', mode=Summary()))
    patch = b'{"a":{"b":"__ff_null__"},"c":null,"d":"\xc3\xa9"}'
    ledger.append_frame(handle, Frame(patch, FrameKind.EVENT, mode=Summary()))
    grant = ledger.issue_resume_grant(
        execution_id, worker_id="worker-2", ttl_ms=60_000, actor="bob"
    )
    clock.advance(11_000)
    ledger.sweep()
    refused(lambda: ledger.renew(handle))
    resumed = ledger.claim_from_resume_grant(
        grant, worker_id="worker-2", lease_ttl_ms=20_000
    )
    assert resumed is not None
    clock.advance(-3_000)
    ledger.progress(resumed, 75)
    clock.advance(5_000)
    ledger.complete(resumed, b"\x89result")
    refused(lambda: ledger.append_frame(handle, line))
    ledger.replay_execution(execution_id, actor="ann", reason="colours were wrong")


def retried_taken_over_and_failed(ledger: Ledger, clock: StoryClock) -> None:
    """Tell of a retry, a revocation, a take-over and a final failure."""
    execution_id = ledger.create_execution(
        lane_id="mails", retry_policy=RetryPolicy(1, Exponential(100, jitter=0.2))
    )
    first = claimed(ledger, "mails", "worker-1", 5_000)
    clock.advance(10)
    trace = FailureReason("connection reset", "Traceback:\n  line 1\n")
    ledger.fail(first, trace, FailureClass.TRANSIENT)
    clock.advance(200)
    second = claimed(ledger, "mails", "worker-2", 5_000)
    clock.advance(20)
    ledger.revoke_lease(execution_id, actor="bob", reason="stuck")
    refused(lambda: ledger.progress(second, 1))
    clock.advance(30)
    third = claimed(ledger, "mails", "worker-3", 5_000)
    refused(lambda: ledger.renew(second))
    ledger.fail(third, "no such recipient", FailureClass.PERMANENT)


def taken_over_too_often(ledger: Ledger, clock: StoryClock) -> None:
    """Tell of take-overs until no more is allowed, and of a last retry."""
    ledger.create_execution(lane_id="flaky", max_reclaim_count=1)
    claimed(ledger, "flaky", "worker-1", 1_000)
    clock.advance(1_000)
    claimed(ledger, "flaky", "worker-2", 1_000)
    clock.advance(1_500)
    assert ledger.claim("flaky", worker_id="worker-3") is None
    at_once = RetryPolicy(1, Fixed(0))
    ledger.create_execution(lane_id="flaky", retry_policy=at_once)
    for worker_id in ("worker-1", "worker-2"):
        handle = claimed(ledger, "flaky", worker_id, 1_000)
        ledger.fail(handle, "", FailureClass.INFRA_CRASH)


def cancelled(ledger: Ledger, clock: StoryClock) -> None:
    """Tell of cancellations while waiting and while running, and of a forgery."""
    waiting = ledger.create_execution(lane_id="later", idempotency_key="once")
    ledger.cancel_execution(waiting, actor="ann", reason="")
    running = ledger.create_execution(lane_id="doomed", payload=b"x")
    handle = claimed(ledger, "doomed", "worker-1", 60_000)
    forged = handle.replace(lease_id=UUID(int=0), lease_epoch=999)
    refused(lambda: ledger.complete(forged))
    clock.advance(1_000)
    ledger.cancel_execution(running, actor="ann", reason="superseded")
    ledger.create_execution(lane_id="doomed")
    ledger.complete(claimed(ledger, "doomed", "worker-1", 60_000))


def past_their_deadlines(ledger: Ledger, clock: StoryClock) -> None:
    """Tell of deadlines that pass while waiting and while running."""
    soon = clock() + 500
    ledger.create_execution(lane_id="urgent", deadline_at_ms=soon)
    handle = claimed(ledger, "urgent", "worker-1", 60_000)
    ledger.create_execution(lane_id="urgent", deadline_at_ms=soon)
    clock.advance(600)
    ledger.sweep()
    refused(lambda: ledger.complete(handle))
