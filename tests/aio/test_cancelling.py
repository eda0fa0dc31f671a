"""Cancelled calls: never half a transaction, never a lease that nobody has.

At every point: before the call begins, while it waits for a token, in the middle of its
transaction, after its commit; by anyio's scopes and by asyncio's own cancellations.
"""

import asyncio
import io
import threading

import anyio
import pytest
from anyio import from_thread
from event_loops import until

import leasehold
import leasehold.aio
from leasehold.adapters.aio import giving_back

pytestmark = pytest.mark.anyio

START_MS = 1_700_000_000_000
KEYED = {"idempotency_key": "order-7", "payload": b"x"}


class Cancelled:
    """A task to be cancelled, from its loop or from its threads."""

    def __init__(self, how):
        self.how = how
        self.is_over = False
        self.cancel_in_loop = None

    async def run(self, work):
        """Run something; say whether a cancellation ended it."""
        if self.how == "scope":
            with anyio.CancelScope() as scope:
                self.cancel_in_loop = scope.cancel
                await work()
            self.is_over = True
            return scope.cancelled_caught
        task = asyncio.ensure_future(work())
        self.cancel_in_loop = task.cancel
        await asyncio.wait([task])
        self.is_over = True
        if not task.cancelled():
            task.result()
        return task.cancelled()

    def cancel_from_thread(self):
        """Cancel it from one of its own threads, and wait until that is done."""
        from_thread.run_sync(self.cancel_in_loop)
        if self.how == "task":
            # What the loop is to do then it does in its next rounds.
            for _ in range(5):
                from_thread.run_sync(int)


@pytest.fixture(
    params=[("asyncio", "scope"), ("asyncio", "task"), ("trio", "scope")],
    ids="-".join,
)
def backend_and_how(request):
    return request.param


@pytest.fixture
def anyio_backend(backend_and_how):
    return backend_and_how[0]


@pytest.fixture
def cancelled(backend_and_how):
    return Cancelled(backend_and_how[1])


class Hook:
    """A clock that does something when it is read the next time."""

    def __init__(self):
        self.now_ms = START_MS
        self.act = None

    def __call__(self):
        act, self.act = self.act, None
        if act is not None:
            act()
        return self.now_ms


@pytest.fixture
def clock():
    return Hook()


@pytest.fixture
def other(shared_url, clock):
    """Open the same store a second time."""
    with leasehold.open(shared_url, clock=clock, durability="normal") as opened:
        yield opened


@pytest.fixture
async def shared(shared_url, open_async, other):
    async with open_async(shared_url) as opened:
        yield opened


def check_writable(ledger, other):
    """Check that no transaction is open: both ledgers can write, at once."""
    for either in (other, ledger._wrapped):
        one = either.create_execution(lane_id="x")
        either.cancel_execution(one, actor="a", reason="")


def check_whole(ledger, other):
    """Check that no transaction is open, and that none was done by half."""
    check_writable(ledger, other)
    assert other.verify().ok
    assert other.audit().ok


def nobody_holds(other, job):
    """Say whether a worker could claim it now."""
    tenures = other.read.tenures(job)
    return not tenures or tenures[-1].ended_at_ms is not None


async def test_a_call_that_has_not_begun_never_will(shared, other, cancelled):
    async def work():
        cancelled.cancel_in_loop()
        await shared.create_execution()

    assert await cancelled.run(work)
    assert other.read.executions() == []
    check_whole(shared, other)


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


async def test_a_claim_after_its_commit_is_given_back(shared, other, clock, cancelled):
    job = other.create_execution(
        retry_policy=leasehold.RetryPolicy(max_retries=0), max_reclaim_count=1
    )
    sync_claim = shared._wrapped.claim

    def then_cancel(*args, **kwargs):
        handle = sync_claim(*args, **kwargs)
        cancelled.cancel_from_thread()
        return handle

    shared._wrapped.claim = then_cancel
    assert await cancelled.run(lambda: shared.claim(worker_id="w1"))
    (tenure,) = other.read.tenures(job)
    assert (tenure.worker_id, tenure.ended_by) == ("w1", "operator")
    revoked = other.read.history(job)[-1].event
    assert (revoked.actor, revoked.reason) == ("w1", giving_back.REASON)
    # At once, and without a retry that the execution has not got.
    taken = other.claim(worker_id="w2")
    assert taken.kind == leasehold.HandleKind.RECLAIMED
    other.complete(taken)
    check_whole(shared, other)


async def test_a_resumed_attempt_is_given_back_too(shared, other, clock, cancelled):
    job = other.create_execution()
    other.claim(worker_id="w1", lease_ttl_ms=1_000)
    grant = other.issue_resume_grant(job, worker_id="w1")
    clock.now_ms += 1_000

    async def work():
        clock.act = cancelled.cancel_from_thread
        await shared.claim_from_resume_grant(grant, worker_id="w1")

    assert await cancelled.run(work)
    assert other.read.tenures(job)[-1].acquired_by == "resume_grant"
    assert nobody_holds(other, job)
    check_whole(shared, other)


async def test_a_lease_that_is_lost_already_is_left_alone(
    shared, other, clock, cancelled
):
    job = other.create_execution()
    sync_claim = shared._wrapped.claim

    def then_lose_it(*args, **kwargs):
        handle = sync_claim(*args, **kwargs)
        clock.now_ms = handle.lease_expires_at_ms
        assert other.claim(worker_id="w2")
        cancelled.cancel_from_thread()
        return handle

    shared._wrapped.claim = then_lose_it
    assert await cancelled.run(lambda: shared.claim(worker_id="w1"))
    ends = [tenure.ended_by for tenure in other.read.tenures(job)]
    assert ends == ["expired", None]


async def test_what_cannot_be_given_back_runs_out_and_is_logged(
    shared, other, clock, cancelled, caplog
):
    other.create_execution()

    def then_close(*args, **kwargs):
        handle = leasehold.Ledger.claim(shared._wrapped, *args, **kwargs)
        cancelled.cancel_from_thread()
        shared._wrapped.close()
        return handle

    shared._wrapped.claim = then_close
    assert await cancelled.run(lambda: shared.claim(worker_id="w1"))
    (record,) = [one for one in caplog.records if one.name == "leasehold"]
    assert "not taken back" in record.message
    assert "closed" in str(record.exc_info[1])


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


def long_calls(ledger, bundle, progress):
    return {
        "verify": lambda: ledger.verify(progress=progress),
        "audit": lambda: ledger.audit(progress=progress),
        "rebuild": lambda: ledger.rebuild(progress),
        "export": lambda: ledger.export(io.BytesIO(), progress=progress),
        "import": lambda: ledger.import_bundle(io.BytesIO(bundle), progress=progress),
    }


@pytest.mark.parametrize("name", ["verify", "audit", "rebuild", "export", "import"])
async def test_a_long_call_ends_early(
    shared, other, shared_url, another_url, open_async, cancelled, name
):
    file = io.BytesIO()
    with leasehold.open(another_url) as source:
        source.create_executions([{}] * 50)
        source.export(file)
    if name != "import":
        other.import_bundle(io.BytesIO(file.getvalue()))
    before = other.read.events()
    told = []

    def tell(done, of):
        told.append(done)
        if len(told) == 1:
            cancelled.cancel_from_thread()

    assert await cancelled.run(long_calls(shared, file.getvalue(), tell)[name])
    assert len(told) == 1
    assert other.read.events() == before
    check_whole(shared, other)


async def test_reading_an_earlier_time_can_be_cancelled(shared, other, cancelled):
    other.create_executions([{}] * 50)
    told = []

    def tell(done, of):
        told.append(done)
        if len(told) == 1:
            cancelled.cancel_from_thread()

    async def work():
        async with shared.as_of(progress=tell) as then:
            await then.counts()

    assert await cancelled.run(work)
    assert len(told) == 1
    check_whole(shared, other)


async def test_entering_an_earlier_time_can_be_cancelled(shared, cancelled):
    async def work():
        cancelled.cancel_in_loop()
        async with shared.as_of():
            pytest.fail("it was entered")

    assert await cancelled.run(work)


async def test_opening_is_undone(shared_url, cancelled, clock, monkeypatch):
    opened = []

    def open_and_cancel(*args, **kwargs):
        opened.append(leasehold.open(*args, **kwargs))
        cancelled.cancel_from_thread()
        return opened[0]

    monkeypatch.setattr("leasehold.adapters.opening.open_ledger", open_and_cancel)

    async def work():
        async with leasehold.aio.open(shared_url):
            pytest.fail("it was entered")

    assert await cancelled.run(work)
    with pytest.raises(leasehold.StoreError, match="closed"):
        opened[0].create_execution()


async def test_leaving_the_block_closes_it_also_when_it_is_cancelled(
    shared_url, cancelled
):
    kept = []

    async def work():
        async with leasehold.aio.open(shared_url) as ledger:
            kept.append(ledger)
            cancelled.cancel_in_loop()
            await anyio.sleep_forever()

    assert await cancelled.run(work)
    with pytest.raises(leasehold.StoreError, match="closed"):
        await kept[0].create_execution()


async def test_closing_is_done_also_when_it_is_cancelled(shared, cancelled):
    async def work():
        cancelled.cancel_in_loop()
        await shared.close()

    assert await cancelled.run(work)
    with pytest.raises(leasehold.StoreError, match="closed"):
        shared._wrapped.create_execution()


async def test_a_following_task_that_is_cancelled_is_closed(shared, cancelled):
    subscription = shared.subscribe(after=0)

    async def work():
        async for _ in subscription:
            pytest.fail("there is no event")

    async def cancel():
        await until(lambda: subscription._subscription is not None)
        cancelled.cancel_in_loop()

    async with anyio.create_task_group() as group:
        group.start_soon(cancel)
        assert await cancelled.run(work)
    assert [event async for event in subscription] == []
    assert subscription._subscription._feed._watch is None
