"""Holding a lease in an event loop: the body is cancelled when the lease is lost."""

import asyncio
import threading
from functools import partial

import anyio
import anyio.lowlevel
import pytest

import leasehold
from leasehold.adapters.holding.entering import Hold
from leasehold.adapters.holding.renewing import HoldTimes

WITHIN_S = 20
NEVER = leasehold.RenewOn.PROGRESS
"""For bodies that report nothing, while time is moved by hand."""


@pytest.fixture(params=["asyncio", "trio"])
def run(request):
    """Run an async function in an event loop; give up on it after a while."""

    async def within(function):
        with anyio.fail_after(WITHIN_S):
            return await function()

    return lambda function: anyio.run(within, function, backend=request.param)


def lose(ledger, handle, lease):
    """Have an operator take the lease, and a renewal notice it."""
    ledger.revoke_lease(handle.execution_id, actor="dora", reason="it hangs")
    with pytest.raises(leasehold.LeaseRevokedError):
        lease.held.renew()


def attempt_of(ledger, handle):
    return ledger.read.attempt(handle.execution_id, 0)


def test_a_body_works_and_completes(ledger, start, run):
    handle = start()

    async def body():
        async with ledger.hold(handle) as lease:
            assert isinstance(lease, leasehold.AsyncHeldLease)
            assert lease.handle == handle
            assert lease.execution_id == handle.execution_id
            assert (lease.attempt_index, lease.lease_epoch) == (0, 1)
            assert 20_000 < lease.remaining_ms() < 30_000
            assert not lease.is_lost
            assert lease.lost_because is None
            lease.check()
            lease.beat()
            await lease.progress(50, "half")
            outcome = await lease.append_frame(leasehold.Frame(b"line"))
            assert outcome.frame_count == 1
            assert (await lease.renew()).lease_epoch == 1
            await lease.complete(b"done")

    run(body)
    row = ledger.read.execution(handle.execution_id)
    assert (row.public_state, row.result) == ("completed", b"done")
    assert row.raw_fields["progress_message"] == "half"


def test_a_body_may_say_that_it_failed(ledger, start, run):
    handle = start()

    async def body():
        async with ledger.hold(handle) as lease:
            return await lease.fail("it broke", leasehold.FailureClass.PERMANENT)

    assert run(body) == leasehold.TerminalFailed("not_retryable")


def test_a_lost_lease_cancels_the_body_and_raises_its_error(ledger, start, run):
    handle = start()
    ends = []

    async def body():
        async with ledger.hold(handle) as lease:
            await anyio.to_thread.run_sync(partial(lose, ledger, handle, lease))
            try:
                await anyio.sleep_forever()
            finally:
                ends.append(lease.is_lost)

    with pytest.raises(leasehold.LeaseRevokedError):
        run(body)
    assert ends == [True]
    assert attempt_of(ledger, handle).outcome is None


def test_a_lease_that_runs_out_cancels_the_body(ledger, start, run):
    handle = start()
    now_ns = [0]
    ledger._keeper.times = HoldTimes(now_ns=lambda: now_ns[0])

    async def body():
        async with ledger.hold(handle, renew_on=NEVER):
            now_ns[0] = 27_000_000_000
            ledger._keeper.declare_losses()
            await anyio.sleep_forever()

    with pytest.raises(leasehold.LeaseExpiredError):
        run(body)
    assert attempt_of(ledger, handle).outcome is None


def test_the_tasks_of_the_body_are_cancelled_too(ledger, start, run):
    handle = start()
    ended = []

    async def child():
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(1)

    async def body():
        async with ledger.hold(handle) as lease, anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            tasks.start_soon(child)
            await anyio.to_thread.run_sync(partial(lose, ledger, handle, lease))
            await anyio.sleep_forever()

    with pytest.raises(leasehold.LeaseRevokedError):
        run(body)
    assert ended == [1, 1]


def test_the_error_of_a_lost_lease_comes_from_what_the_body_raised(ledger, start, run):
    handle = start()

    async def body():
        async with ledger.hold(handle) as lease:
            await anyio.to_thread.run_sync(partial(lose, ledger, handle, lease))
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("while cleaning up")

    with pytest.raises(leasehold.LeaseRevokedError) as raised:
        run(body)
    assert isinstance(raised.value.__cause__, ValueError)


def test_an_exception_fails_the_attempt_and_goes_on(ledger, start, run):
    handle = start()

    async def body():
        async with ledger.hold(handle):
            await anyio.lowlevel.checkpoint()
            raise ValueError("no such film")

    with pytest.raises(ValueError, match="no such film"):
        run(body)
    row = attempt_of(ledger, handle)
    assert (row.outcome, row.failure_class) == ("retry", "transient")
    assert row.failure_message == "ValueError: no such film"


def test_a_group_of_a_task_group_counts_as_what_is_in_it(ledger, start, run):
    handle = start()
    classes = {KeyError: leasehold.FailureClass.PERMANENT}

    async def child():
        raise KeyError("film")

    async def body():
        async with (
            ledger.hold(handle, failure_classes=classes),
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(child)
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup):
        run(body)
    assert attempt_of(ledger, handle).failure_class == "permanent"


def test_leaving_without_an_end_is_an_error(ledger, start, run):
    handle = start()

    async def body():
        async with ledger.hold(handle):
            pass

    with pytest.raises(leasehold.IllegalTransitionError, match="without complete"):
        run(body)
    assert attempt_of(ledger, handle).outcome == "retry"


def test_a_cancellation_from_outside_fails_the_attempt_as_a_crash(ledger, start, run):
    handle = start()

    async def body():
        with anyio.CancelScope() as scope:
            async with ledger.hold(handle):
                scope.cancel()
                await anyio.sleep_forever()
        return scope.cancelled_caught

    assert run(body) is True
    row = attempt_of(ledger, handle)
    assert (row.outcome, row.failure_class) == ("retry", "infra_crash")
    assert "Cancelled" in row.failure_message


def test_a_cancellation_from_outside_goes_on_though_the_lease_is_lost(
    ledger, start, run
):
    handle = start()

    async def body():
        with anyio.CancelScope() as scope:
            async with ledger.hold(handle) as lease:
                await anyio.to_thread.run_sync(partial(lose, ledger, handle, lease))
                scope.cancel()
                await anyio.sleep_forever()
        return scope.cancelled_caught

    assert run(body) is True
    assert attempt_of(ledger, handle).outcome is None


def test_a_lost_lease_is_not_entered(ledger, start, clock, run):
    handle = start()
    clock.advance(30_000)

    async def body():
        async with ledger.hold(handle):
            pytest.fail("the block ran")

    with pytest.raises(leasehold.LeaseExpiredError):
        run(body)
    assert not list(ledger._keeper._all_kept)


def test_a_task_that_is_cancelled_while_it_enters_keeps_no_lease(
    ledger, start, monkeypatch
):
    """The cancellation is asyncio's own: nothing of anyio holds it back."""
    handle = start()
    begun, may_go_on, ended = threading.Event(), threading.Event(), threading.Event()
    begin = Hold.begin

    def slowly(*given):
        begun.set()
        assert may_go_on.wait(WITHIN_S)
        try:
            return begin(*given)
        finally:
            ended.set()

    monkeypatch.setattr(Hold, "begin", slowly)

    async def enter():
        async with ledger.hold(handle):
            pytest.fail("the block ran")

    async def body():
        task = asyncio.create_task(enter())
        await asyncio.to_thread(begun.wait, WITHIN_S)
        task.cancel()
        asyncio.get_running_loop().call_later(0.01, may_go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        # Nothing goes on behind its back.
        assert ended.is_set()

    anyio.run(body)
    assert not list(ledger._keeper._all_kept)
    assert attempt_of(ledger, handle).outcome is None


def test_a_call_of_a_body_goes_on_to_its_end_when_the_task_is_cancelled(
    ledger, start, monkeypatch
):
    """As `asyncio.timeout` and `Task.cancel` do it, and the body goes on."""
    handle = start()
    begun, may_go_on, ended = threading.Event(), threading.Event(), threading.Event()
    progress = ledger.progress

    def slowly(*given):
        begun.set()
        assert may_go_on.wait(WITHIN_S)
        progress(*given)
        ended.set()

    monkeypatch.setattr(ledger, "progress", slowly)

    async def body():
        async with ledger.hold(handle) as lease:
            task = asyncio.create_task(lease.progress(50))
            await asyncio.to_thread(begun.wait, WITHIN_S)
            task.cancel()
            asyncio.get_running_loop().call_later(0.01, may_go_on.set)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ended.is_set()
            await lease.complete()

    anyio.run(body)
    row = ledger.read.execution(handle.execution_id)
    assert (row.public_state, row.raw_fields["progress_pct"]) == ("completed", 50)


def test_leaving_goes_on_to_its_end_when_the_task_is_cancelled(
    ledger, start, monkeypatch
):
    handle = start()
    begun, may_go_on = threading.Event(), threading.Event()
    fail = ledger.fail

    def slowly(*given):
        begun.set()
        assert may_go_on.wait(WITHIN_S)
        return fail(*given)

    monkeypatch.setattr(ledger, "fail", slowly)

    async def work():
        async with ledger.hold(handle):
            raise ValueError("no such film")

    async def body():
        task = asyncio.create_task(work())
        await asyncio.to_thread(begun.wait, WITHIN_S)
        task.cancel()
        asyncio.get_running_loop().call_later(0.01, task.cancel)
        asyncio.get_running_loop().call_later(0.02, may_go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        return attempt_of(ledger, handle)

    row = anyio.run(body)
    assert row.failure_message == "ValueError: no such film"


def test_bodies_that_use_up_all_threads_keep_no_lease_from_being_held(
    ledger, start, run
):
    handle = start()

    async def body():
        limiter = anyio.to_thread.current_default_thread_limiter()
        for _ in range(int(limiter.total_tokens)):
            limiter.acquire_on_behalf_of_nowait(object())
        async with ledger.hold(handle) as lease:
            await lease.progress(50)
            await lease.complete()

    run(body)
    assert ledger.read.execution(handle.execution_id).public_state == "completed"


def test_leaving_waits_for_a_call_that_a_cancelled_task_has_left_behind(
    ledger, start, monkeypatch
):
    handle = start()
    begun, may_go_on = threading.Event(), threading.Event()
    complete = ledger.complete

    def slowly(*given):
        begun.set()
        assert may_go_on.wait(WITHIN_S)
        complete(*given)

    monkeypatch.setattr(ledger, "complete", slowly)

    async def work():
        async with ledger.hold(handle) as lease:
            await lease.complete(b"done")

    async def body():
        task = asyncio.create_task(work())
        await asyncio.to_thread(begun.wait, WITHIN_S)
        task.cancel()
        asyncio.get_running_loop().call_later(0.01, may_go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task

    anyio.run(body)
    assert ledger.read.execution(handle.execution_id).public_state == "completed"


def test_a_store_that_hangs_does_not_keep_a_cancelled_task_for_ever(
    ledger, start, monkeypatch
):
    handle = start()
    now_ns = [0]
    ledger._keeper.times = HoldTimes(now_ns=lambda: now_ns[0])
    may_go_on = threading.Event()
    fail = ledger.fail

    def slowly(*given):
        assert may_go_on.wait(WITHIN_S)
        return fail(*given)

    monkeypatch.setattr(ledger, "fail", slowly)

    async def body():
        with anyio.CancelScope() as scope:
            async with ledger.hold(handle, renew_on=NEVER):
                # What remains is what leaving may take, and a second.
                now_ns[0] = 26_900_000_000
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert not may_go_on.is_set()
        may_go_on.set()

    anyio.run(body)


def test_a_store_that_hangs_longer_than_the_lease_runs_has_lost_it(
    ledger, start, monkeypatch
):
    handle = start()
    now_ns = [0]
    ledger._keeper.times = HoldTimes(now_ns=lambda: now_ns[0])
    may_go_on = threading.Event()
    fail = ledger.fail

    def slowly(*given):
        assert may_go_on.wait(WITHIN_S)
        return fail(*given)

    monkeypatch.setattr(ledger, "fail", slowly)

    def run_out():
        now_ns[0] = 27_000_000_000

    async def body():
        async with ledger.hold(handle, renew_on=NEVER):
            now_ns[0] = 26_900_000_000
            asyncio.get_running_loop().call_later(0.2, run_out)
            raise ValueError("x")

    async def then_let_go():
        try:
            await body()
        finally:
            may_go_on.set()

    with pytest.raises(leasehold.LeaseExpiredError):
        anyio.run(then_let_go)


def test_what_else_was_in_a_group_is_the_cause_of_the_error(ledger, start, run):
    handle = start()

    async def child():
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("while cleaning up")

    async def body():
        async with ledger.hold(handle) as lease, anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            await anyio.lowlevel.checkpoint()
            await anyio.to_thread.run_sync(partial(lose, ledger, handle, lease))
            await anyio.sleep_forever()

    with pytest.raises(leasehold.LeaseRevokedError) as raised:
        run(body)
    assert isinstance(raised.value.__cause__, ExceptionGroup)
    assert attempt_of(ledger, handle).outcome is None


def test_many_tasks_hold_leases_at_once(ledger, run):
    count = 64
    ledger.create_executions([{}] * count)

    async def work():
        claim = partial(ledger.claim, worker_id="w")
        handle = await anyio.to_thread.run_sync(claim)
        async with ledger.hold(handle) as lease:
            await lease.progress(50)
            await lease.complete()

    async def body():
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(work)

    run(body)
    assert ledger.read.counts()["completed"] == count
