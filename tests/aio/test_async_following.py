"""Following the log from an event loop."""

import anyio
import pytest

import leasehold

pytestmark = pytest.mark.anyio

COUNT = "CREATE TABLE IF NOT EXISTS counted (n INTEGER)"


class Counting:
    """A projection that counts events."""

    def create(self, execute):
        execute(COUNT)

    def apply(self, recorded, execute):
        execute(f"INSERT INTO counted VALUES ({recorded.position})")


class Failing(Counting):
    def apply(self, recorded, execute):
        raise ValueError("not this one")


async def test_events_as_they_are_committed(aledger):
    first = await aledger.create_execution()
    seen = []

    async def follow(subscription):
        async for event in subscription:
            seen.append(event.event.execution_id)
            if len(seen) == 3:
                break

    async with anyio.create_task_group() as group:
        group.start_soon(follow, aledger.subscribe(after=0))
        await anyio.wait_all_tasks_blocked()
        second = await aledger.create_execution()
        third = await aledger.create_execution()
    assert seen == [first, second, third]


async def test_from_now_on_is_from_when_it_is_entered(aledger):
    subscription = aledger.subscribe()
    assert subscription.position is None
    await aledger.create_execution()
    async with subscription as events:
        begun = events.position
        assert begun == await aledger.read.settled_position()
        later = await aledger.create_execution()
        event = await anext(events)
        assert event.event.execution_id == later
        assert events.position == event.position > begun
    assert [event async for event in subscription] == []


async def test_pages_and_positions(aledger):
    for _ in range(5):
        await aledger.create_execution()
    everything = await aledger.read.events()
    async with aledger.subscribe(after=0) as subscription:
        assert await anext(subscription) == everything[0]
        assert subscription.position == everything[0].position
        assert await subscription.next_events() == everything[1:]
        assert subscription.position == everything[-1].position
        assert await subscription.next_events(0) == []
        with pytest.raises(leasehold.InvalidInputError):
            await subscription.next_events("soon")
    topics = ["execution.created"]
    chosen = everything[2].event.execution_id
    async with aledger.subscribe(0, topics, chosen) as subscription:
        assert await subscription.next_events() == everything[2:3]


async def test_a_task_stops_what_another_one_waits_in(aledger):
    subscription = aledger.subscribe(after=0)
    ended = []

    async def follow():
        async for _ in subscription:
            pytest.fail("there is no event")
        ended.append(await subscription.next_events())

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            subscription.stop()
    assert ended == [[]]
    stopped = aledger.subscribe()
    stopped.stop()
    assert [event async for event in stopped] == []
    await stopped.aclose()


async def test_a_cancellation_closes_it_and_loses_nothing(aledger):
    first = await aledger.create_execution()
    seen = []
    subscription = aledger.subscribe(after=0)
    with anyio.move_on_after(0.05) as scope:
        async for event in subscription:
            seen.append(event.event.execution_id)  # noqa: PERF401 - up to the end
    assert scope.cancelled_caught
    assert seen == [first]
    assert subscription._subscription._feed._watch is None
    assert [event async for event in subscription] == []
    second = await aledger.create_execution()
    async with aledger.subscribe(subscription.position) as again:
        assert (await anext(again)).event.execution_id == second


async def test_a_task_that_does_not_wait_can_be_cancelled_too(aledger):
    for _ in range(20):
        await aledger.create_execution()
    seen = []
    with anyio.CancelScope() as scope:
        async with aledger.subscribe(after=0) as events:
            async for event in events:
                seen.append(event)
                if len(seen) == 3:
                    scope.cancel()
    assert scope.cancelled_caught
    assert len(seen) == 3
    assert events.position == seen[-1].position


async def test_waiting_subscriptions_hold_no_token(open_async, file_url):
    limiter = anyio.CapacityLimiter(1)
    async with open_async(file_url, limiter=limiter) as ledger:

        async def follow():
            async for _ in ledger.subscribe(after=0):
                return

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            await ledger.create_execution()


async def test_an_argument_that_breaks_its_rule_is_told_when_it_begins(aledger):
    with pytest.raises(leasehold.InvalidInputError):
        await anext(aledger.subscribe(topics=["nothing"]))


async def test_a_projection_is_caught_up_and_kept_up(aledger):
    await aledger.create_execution()
    running = await aledger.run_projection(Counting(), "counting")
    assert running.name == "counting"
    assert running.position == await aledger.read.settled_position()
    await aledger.create_execution()
    assert await running.catch_up() == 1
    async with aledger.run_projection(Counting(), "counting") as kept_up:
        await aledger.create_execution()
        position = await aledger.read.settled_position()
        assert await kept_up.wait_until(position, 60)
        assert not await kept_up.wait_until(position + 1_000, 0)


async def test_a_projection_that_fails_is_told_when_it_is_left(aledger):
    running = await aledger.run_projection(Failing(), "failing")
    await running.__aenter__()
    await aledger.create_execution()
    for failing in (running.wait_until(1, 60), running.__aexit__(None, None, None)):
        with pytest.raises(leasehold.StoreError, match="not this one"):
            await failing
