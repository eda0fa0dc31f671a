"""Cancelled calls: never half a transaction, and nothing that goes on unseen.

At every point: before the call begins, while it waits for a token, in the middle of its
transaction, at every step of the loop; by anyio's scopes and by asyncio's own ways.
"""

import threading

import anyio
import pytest
from event_loops import Cancelled, until
from store_wholeness import check_whole, check_writable, nobody_holds

import leasehold
import leasehold.aio
from leasehold.adapters.threads import _Run

pytestmark = pytest.mark.anyio

KEYED = {"idempotency_key": "order-7", "payload": b"x"}


async def test_a_call_that_has_not_begun_never_will(shared, other, cancelled):
    async def work():
        cancelled.cancel_in_loop()
        await shared.create_execution()

    assert await cancelled.run(work)
    assert other.read.executions() == []
    check_whole(shared, other)


async def test_a_call_that_no_thread_has_begun_is_called_off(shared, cancelled):
    run = []

    async def work():
        cancelled.cancel_in_loop()
        await shared._threads._run(_Run(lambda: run.append("begun")), None)

    assert await cancelled.run(work)
    assert run == []


async def test_a_call_that_waits_for_a_token(open_async, shared_url, other, cancelled):
    limiter = anyio.CapacityLimiter(1)
    async with open_async(shared_url, limiter=limiter) as ledger:
        borrower = object()
        await limiter.acquire_on_behalf_of(borrower)

        async def cancel():
            await until(lambda: limiter.statistics().tasks_waiting == 1)
            cancelled.cancel_in_loop()

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            assert await cancelled.run(ledger.create_execution)
        limiter.release_on_behalf_of(borrower)
        assert other.read.executions() == []
        check_whole(ledger, other)
        assert await ledger.create_execution()


def claim(ledger, handle):
    return ledger.claim(worker_id="w2")


def create(ledger, handle):
    return ledger.create_execution(**KEYED)


def renew(ledger, handle):
    return ledger.renew(handle)


def complete(ledger, handle):
    return ledger.complete(handle, b"done")


def fail(ledger, handle):
    return ledger.fail(handle, "broke", leasehold.FailureClass.TRANSIENT)


def frame(ledger, handle):
    return ledger.append_frame(handle, leasehold.Frame(b"a"))


def revoke(ledger, handle):
    return ledger.revoke_lease(handle.execution_id, actor="ann", reason="late")


CALLS = [claim, create, renew, complete, fail, frame, revoke]


@pytest.mark.parametrize("call", CALLS)
async def test_in_the_middle_of_its_transaction(shared, other, clock, cancelled, call):
    """The transaction is committed, and the cancellation comes then."""
    other.create_execution()
    handle = other.claim(worker_id="w1")
    free = other.create_execution()
    before = other.read.settled_position()

    async def work():
        clock.act = cancelled.cancel_from_thread
        await call(shared, handle)
        pytest.fail("its answer was handed out")

    assert await cancelled.run(work)
    assert clock.act is None
    assert other.read.settled_position() > before
    assert nobody_holds(other, free)
    check_whole(shared, other)
    if call in (create, complete, fail):
        # What was answered to nobody is answered to who asks again.
        position = other.read.settled_position()
        assert await call(shared, handle) == call(other, handle)
        assert other.read.settled_position() == position


@pytest.mark.parametrize("call", CALLS)
async def test_at_every_step_of_the_loop(shared, other, clock, backend_and_how, call):
    """Whichever time the loop is at when the cancellation comes."""
    for steps in range(12):
        other.create_execution(lane_id="mine")
        handle = other.claim("mine", worker_id="w1")
        free = other.create_execution()
        cancelled = Cancelled(backend_and_how[1])

        async def cancel(cancelled=cancelled, steps=steps):
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            if not cancelled.is_over:
                cancelled.cancel_in_loop()

        claimed = []

        async def work(handle=handle, claimed=claimed):
            claimed.append(await call(shared, handle))

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            was_cancelled = await cancelled.run(work)
        assert was_cancelled == (not claimed)
        if call is claim:
            assert nobody_holds(other, free) == was_cancelled
        check_writable(shared, other)
        for row in other.read.executions(limit=1_000):
            if row.terminal_at_ms is None:
                other.cancel_execution(row.execution_id, actor="a", reason="")
    check_whole(shared, other)


async def test_a_call_that_fails_when_it_is_cancelled(shared, other, clock, cancelled):
    other.create_execution()
    handle = other.claim(worker_id="w1")

    async def work():
        clock.act = cancelled.cancel_from_thread
        await shared.renew(handle.replace(lease_epoch=9))

    assert await cancelled.run(work)
    check_whole(shared, other)


async def test_it_keeps_its_token_until_it_has_ended(
    open_async, shared_url, clock, cancelled
):
    limiter = anyio.CapacityLimiter(1)
    async with open_async(shared_url, limiter=limiter) as ledger:
        is_inside, go = threading.Event(), threading.Event()

        def wait():
            is_inside.set()
            assert go.wait(60)

        async def watch():
            await until(is_inside.is_set)
            for _ in range(3):
                cancelled.cancel_in_loop()
                for _ in range(10):
                    await anyio.lowlevel.checkpoint()
                assert limiter.borrowed_tokens == 1
                assert not cancelled.is_over
            go.set()

        async def work():
            clock.act = wait
            await ledger.create_execution()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            assert await cancelled.run(work)
        assert limiter.borrowed_tokens == 0
        assert len(await ledger.read.executions()) == 1
