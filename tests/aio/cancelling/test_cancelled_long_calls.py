"""Long calls, blocks and iterations that are cancelled: ended early, and left whole."""

import io
from contextlib import contextmanager

import anyio
import pytest
from event_loops import until
from store_wholeness import check_whole

import leasehold
import leasehold.aio

pytestmark = pytest.mark.anyio


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


async def test_an_earlier_time_that_nobody_got_is_left(shared, cancelled):
    left = []

    @contextmanager
    def as_of(*args, **kwargs):
        cancelled.cancel_from_thread()
        try:
            yield shared._wrapped.read
        finally:
            left.append(True)

    shared._wrapped.as_of = as_of

    async def work():
        async with shared.as_of():
            pytest.fail("it was entered")

    assert await cancelled.run(work)
    assert left == [True]


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
