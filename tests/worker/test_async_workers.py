"""Handlers that are async functions, on asyncio and trio."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial

import anyio
import anyio.lowlevel
import pytest

import leasehold
from leasehold import FailureClass
from leasehold.adapters.holding.entering import Hold
from leasehold.adapters.worker.serving import Service

WITHIN_S = 60
AT_ONCE = leasehold.RetryPolicy(max_retries=1, backoff=leasehold.Fixed(0))

each_loop = pytest.mark.parametrize("loop", ["asyncio", "trio"])


def run(worker, loop):
    """Run a worker in an event loop, until it stops itself."""

    async def within():
        with anyio.fail_after(WITHIN_S):
            await worker.run_async()

    anyio.run(within, backend=loop)


def stopper(ledger, count):
    """Stop a worker by another thread when so many executions have ended."""
    topics = ("execution.completed", "execution.failed")
    workers = []

    def wait():
        left = count
        with ledger.subscribe(after=0, topics=topics) as subscription:
            while left and (events := subscription.next_events(WITHIN_S)):
                left -= len(events)
        workers[0].stop()

    threading.Thread(target=wait, daemon=True).start()
    return workers


@each_loop
def test_async_handlers_share_the_loop_within_the_bound(ledger, loop):
    now = most = 0

    async def handler(context):
        nonlocal now, most
        assert isinstance(context, leasehold.AsyncWorkContext)
        now += 1
        most = max(most, now)
        await context.progress(50, "half")
        await context.append_frame(leasehold.Frame(b"line"))
        await context.patch_summary({"pages": 1})
        assert await context.summary() == {"pages": 1}
        assert context.lease.remaining_ms() > 0
        assert not context.is_lost
        now -= 1
        return context.payload

    ids = ledger.create_executions([{"payload": b"%d" % n} for n in range(12)])
    stops = stopper(ledger, 12)
    stops.append(leasehold.Worker(ledger, handler, worker_id="w", concurrency=3))
    run(stops[0], loop)
    assert 1 <= most <= 3
    assert [ledger.read.execution(one).result for one in ids] == [
        b"%d" % n for n in range(12)
    ]
    assert ledger.audit().counts == {}


@each_loop
def test_an_exception_of_an_async_handler_fails_the_attempt(ledger, loop):
    seen = []

    async def handler(context):
        seen.append(context.last_failure)
        await anyio.lowlevel.checkpoint()
        if context.attempt_index == 0:
            async with anyio.create_task_group():
                raise ValueError("bad film")
        return 7

    ledger.create_execution(retry_policy=AT_ONCE)
    stops = stopper(ledger, 1)
    stops.append(leasehold.Worker(ledger, handler, worker_id="w"))
    run(stops[0], loop)
    assert seen[0] is None
    assert seen[1].failure_class is FailureClass.TRANSIENT
    assert "bad film" in seen[1].detail
    (row,) = ledger.read.executions()
    assert row.public_state == "failed"
    attempt = ledger.read.attempt(row.execution_id, 1)
    assert attempt.failure_message.startswith("the handler returned int")


@each_loop
def test_an_async_handler_whose_lease_is_revoked_is_cancelled(ledger, loop):
    seen = []

    async def handler(context):
        if context.attempt_index:
            return
        await anyio.to_thread.run_sync(
            partial(
                ledger.revoke_lease, context.execution_id, actor="dora", reason="why"
            )
        )
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            seen.append("cancelled")
            raise

    ledger.create_execution()
    stops = stopper(ledger, 1)
    worker = leasehold.Worker(ledger, handler, worker_id="w", lease_ttl_ms=600)
    stops.append(worker)
    run(worker, loop)
    assert seen == ["cancelled"]
    assert ledger.audit().ok


@each_loop
def test_after_the_grace_async_handlers_are_failed_and_cancelled(ledger, loop):
    seen = []

    async def handler(_):
        worker.stop(grace_s=0)
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            seen.append("cancelled")
            raise

    execution_id = ledger.create_execution()
    worker = leasehold.Worker(ledger, handler, worker_id="w")
    run(worker, loop)
    assert seen == ["cancelled"]
    row = ledger.read.attempt(execution_id, 0)
    assert row.failure_class is FailureClass.INFRA_CRASH
    assert row.failure_message == "the worker was stopped, and its grace ran out"
    assert ledger.audit().counts == {}


@each_loop
def test_a_worker_that_is_cancelled_gives_up_what_is_about_to_begin(loop, monkeypatch):
    begun, may_go_on = threading.Event(), threading.Event()
    begin, drain = Hold.begin, Service._drain

    def slowly(*given):
        begun.set()
        assert may_go_on.wait(WITHIN_S)
        return begin(*given)

    def drain_late(service):
        until_s = time.monotonic() + WITHIN_S
        while service._running and time.monotonic() < until_s:
            time.sleep(0.01)
        drain(service)

    monkeypatch.setattr(Hold, "begin", slowly)
    monkeypatch.setattr(Service, "_drain", drain_late)

    async def main(ledger):
        async def handler(_):
            pytest.fail("it began")

        worker = leasehold.Worker(ledger, handler, worker_id="w")
        with anyio.fail_after(WITHIN_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(worker.run_async)
                await anyio.to_thread.run_sync(begun.wait, WITHIN_S)
                tasks.cancel_scope.cancel()
                may_go_on.set()

    with leasehold.open("sqlite://") as ledger:
        execution_id = ledger.create_execution()
        anyio.run(main, ledger, backend=loop)
        row = ledger.read.attempt(execution_id, 0)
        assert row.failure_class is FailureClass.INFRA_CRASH
        assert ledger.audit().counts == {}


@each_loop
def test_a_worker_that_is_cancelled_leaves_nothing_held(ledger, loop):
    ledger.create_executions([{}] * 5)

    async def main():
        all_began = anyio.Event()
        began = 0

        async def handler(_):
            nonlocal began
            began += 1
            if began == 5:
                all_began.set()
            await anyio.sleep_forever()

        worker = leasehold.Worker(ledger, handler, worker_id="w", concurrency=5)
        with anyio.fail_after(WITHIN_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(worker.run_async)
                await all_began.wait()
                tasks.cancel_scope.cancel()

    anyio.run(main, backend=loop)
    assert ledger.read.counts()["running"] == 0
    for row in ledger.read.executions():
        attempt = ledger.read.attempt(row.execution_id, 0)
        assert attempt.failure_class is FailureClass.INFRA_CRASH
    assert ledger.audit().counts == {}


def test_a_worker_whose_task_is_cancelled_has_ended_by_then(monkeypatch):
    """As asyncio's own cancellations do it, which wait for no thread by themselves."""
    drain, drained = Service._drain, []

    def slowly(service):
        drain(service)
        time.sleep(0.05)
        drained.append(service)

    monkeypatch.setattr(Service, "_drain", slowly)

    async def main(ledger):
        began = asyncio.Event()

        async def handler(_):
            began.set()
            await anyio.sleep_forever()

        worker = leasehold.Worker(ledger, handler, worker_id="w")
        task = asyncio.create_task(worker.run_async())
        await asyncio.wait_for(began.wait(), WITHIN_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(drained) == 1

    with leasehold.open("sqlite://") as ledger:
        execution_id = ledger.create_execution()
        asyncio.run(main(ledger))
        row = ledger.read.attempt(execution_id, 0)
        assert row.failure_class is FailureClass.INFRA_CRASH
        assert ledger.audit().counts == {}


def test_a_handler_is_run_the_way_it_is_made():
    async def handler(_):
        """Do nothing."""

    class AsyncCall:
        async def __call__(self, _):
            """Do nothing."""

    with leasehold.open("sqlite://") as ledger:
        for made in (handler, AsyncCall()):
            with pytest.raises(leasehold.InvalidInputError, match="run_async"):
                leasehold.Worker(ledger, made, worker_id="w").run()
        worker = leasehold.Worker(ledger, print, worker_id="w")
        with pytest.raises(leasehold.InvalidInputError, match=r"call run\(\)"):
            anyio.run(worker.run_async)
