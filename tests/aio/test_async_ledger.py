"""The async ledger does what the ledger does, and nothing of it is written twice."""

import inspect
import io
import subprocess
import sys
import threading

import anyio
import pytest
from event_loops import until

import leasehold
import leasehold.aio

pytestmark = pytest.mark.anyio

PAIRS = [
    (leasehold.Ledger, leasehold.aio.AsyncLedger),
    (leasehold.Reader, leasehold.aio.AsyncReader),
]

NOT_AWAITED = {"as_of", "hold", "run_projection", "subscribe"}


def public(owner):
    return {name for name in dir(owner) if not name.startswith("_")}


def parameters_of(method):
    return [
        (name, parameter.kind, parameter.default)
        for name, parameter in inspect.signature(method).parameters.items()
    ]


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS)
def test_every_operation_is_there_with_the_same_arguments(sync, asynchronous):
    assert public(sync) == public(asynchronous)
    for name in public(sync):
        ours, theirs = getattr(asynchronous, name), getattr(sync, name)
        assert parameters_of(ours) == parameters_of(theirs), name
        assert ours.__doc__


def test_opening_takes_the_same_and_a_limiter():
    *ours, limiter = parameters_of(leasehold.aio.open)
    assert ours == parameters_of(leasehold.open)
    assert limiter[0] == "limiter"


async def test_a_lifecycle(aledger, clock):
    job = await aledger.create_execution(payload=b"work")
    handle = await aledger.claim(worker_id="w", lease_ttl_ms=1_000)
    assert (await aledger.read.execution(job)).payload == b"work"
    clock.advance(500)
    assert (await aledger.renew(handle)).expires_at_ms == clock() + 1_000
    await aledger.progress(handle, 50, message="half")
    frame = leasehold.Frame(b"{}", mode=leasehold.Summary())
    assert (await aledger.append_frame(handle, frame)).summary_version == 1
    await aledger.complete(handle, b"done")
    row = await aledger.read.execution(job)
    assert (row.public_state, row.result) == ("completed", b"done")
    assert aledger.ledger.read.execution(job) == row
    assert await aledger.claim(worker_id="w") is None
    assert (await aledger.verify()).ok
    assert (await aledger.audit()).ok
    assert (await aledger.read.audit()).ok


async def test_errors_are_those_of_the_ledger(aledger):
    with pytest.raises(leasehold.InvalidInputError):
        await aledger.claim(worker_id="")
    with pytest.raises(TypeError, match="worker_id"):
        await aledger.claim()
    with pytest.raises(TypeError, match="no_such"):
        await aledger.verify(no_such=1)
    await aledger.create_execution()
    handle = await aledger.claim(worker_id="w")
    with pytest.raises(leasehold.LeaseConflictError):
        await aledger.renew(handle.replace(lease_epoch=9))


async def test_the_state_of_an_earlier_time(aledger):
    job = await aledger.create_execution()
    before = await aledger.read.settled_position()
    handle = await aledger.claim(worker_id="w")
    await aledger.complete(handle)
    told = []
    async with aledger.as_of(before, progress=lambda *at: told.append(at)) as then:
        assert (await then.execution(job)).public_state == "pending"
        assert (await then.counts())[leasehold.PublicState.COMPLETED] == 0
    assert told
    with pytest.raises(leasehold.InvalidInputError):
        async with aledger.as_of(1, at_ms=1):
            pytest.fail("it was entered")
    assert (await aledger.why(job, "public_state")).topic == "execution.completed"
    assert await aledger.diff(0, before)


async def test_long_calls_tell_how_far_they_are(aledger):
    for _ in range(3):
        await aledger.create_execution()
    told = []

    def tell(done, of):
        told.append((done, of, threading.current_thread()))

    assert (await aledger.verify(progress=tell)).ok
    assert await aledger.rebuild(tell) == []
    file = io.BytesIO()
    assert (await aledger.export(file, progress=tell)).events == 3
    assert told[-1][:2] == (3, 3)
    assert threading.main_thread() not in {thread for *_, thread in told}


async def test_a_tail_waits_in_the_loop(aledger):
    job = await aledger.create_execution()
    handle = await aledger.claim(worker_id="w")
    assert await aledger.read.tail_frames(job, 0, None, 0) == []
    assert await aledger.read.tail_frames(job, 0, None, 5) == []
    with pytest.raises(leasehold.InvalidInputError):
        await aledger.read.tail_frames(job, 0, None, -1)
    found = []

    async def tail():
        found.extend(await aledger.read.tail_frames(job, 0, None, 60_000))

    async with anyio.create_task_group() as group:
        group.start_soon(tail)
        await anyio.wait_all_tasks_blocked()
        await aledger.append_frame(handle, leasehold.Frame(b"one"))
    assert [row.payload for row in found] == [b"one"]
    with anyio.move_on_after(0.01) as scope:
        await aledger.read.tail_frames(job, 0, found[0].stream_id, 86_400_000)
    assert scope.cancelled_caught


async def test_a_held_lease(aledger):
    job = await aledger.create_execution()
    handle = await aledger.claim(worker_id="w")
    async with aledger.hold(handle) as lease:
        await lease.progress(10)
        await lease.complete(b"held")
    assert (await aledger.read.execution(job)).result == b"held"


async def test_it_is_awaited_or_entered(open_async, sqlite_url):
    opening = open_async(sqlite_url)
    ledger = await opening
    await ledger.create_execution()
    await ledger.close()
    await ledger.close()
    with pytest.raises(leasehold.StoreError, match="closed"):
        await ledger.create_execution()
    with pytest.raises(leasehold.InvalidInputError):
        async with open_async("nonsense"):
            pytest.fail("it was entered")


async def test_it_wraps_a_ledger_that_is_open(ledger, anyio_backend):
    wrapped = leasehold.aio.AsyncLedger(ledger)
    job = await wrapped.create_execution()
    assert ledger.read.execution(job) == await wrapped.read.execution(job)


async def test_sixty_four_tasks(aledger):
    done = []

    async def work(number):
        job = await aledger.create_execution(lane_id="busy")
        handle = await aledger.claim("busy", worker_id=f"w-{number}")
        await aledger.renew(handle)
        await aledger.complete(handle)
        done.append(job)

    async with anyio.create_task_group() as group:
        for number in range(64):
            group.start_soon(work, number)
    counts = await aledger.read.counts("busy")
    assert counts[leasehold.PublicState.COMPLETED] == len(set(done)) == 64
    assert (await aledger.verify()).ok
    assert (await aledger.audit()).ok


class Blocked:
    """A call that runs until it is let go, and counts how many of it do."""

    def __init__(self):
        self.go = threading.Event()
        self.lock = threading.Lock()
        self.running = self.most = 0

    def __call__(self, *args):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.go.wait(60)
        with self.lock:
            self.running -= 1


async def test_the_limiter_bounds_how_many_calls_run(open_async, file_url):
    limiter = anyio.CapacityLimiter(3)
    call = Blocked()
    async with open_async(file_url, limiter=limiter) as ledger:
        ledger._wrapped.sweep = call
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(ledger.sweep)
            await until(lambda: call.running == 3)
            await anyio.wait_all_tasks_blocked()
            assert (limiter.borrowed_tokens, call.running) == (3, 3)
            call.go.set()
        assert (limiter.borrowed_tokens, call.most) == (0, 3)


async def test_closing_waits_for_calls_under_way(file_url):
    written = []
    is_armed, is_inside, go = threading.Event(), threading.Event(), threading.Event()

    def clock():
        if is_armed.is_set():
            is_inside.set()
            assert go.wait(60)
        return 1_700_000_000_000

    opening = leasehold.aio.open(file_url, clock=clock, limiter=_one_at_a_time())
    async with opening as ledger:

        async def create():
            written.append(await ledger.create_execution())

        async with anyio.create_task_group() as group:
            is_armed.set()
            group.start_soon(create)
            await until(is_inside.is_set)
            group.start_soon(ledger.close)
            await anyio.wait_all_tasks_blocked()
            go.set()
        with pytest.raises(leasehold.StoreError, match="closed"):
            await ledger.create_execution()
    with leasehold.open(file_url) as again:
        assert again.read.execution(written[0])


def _one_at_a_time():
    return anyio.CapacityLimiter(1)


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS)
def test_methods_are_known_as_async_ones(sync, asynchronous):
    waiting = {name for name in public(sync) if name not in NOT_AWAITED}
    for name in waiting:
        assert inspect.iscoroutinefunction(getattr(asynchronous, name)), name


def test_without_the_extra_it_says_what_to_install():
    code = "import sys; sys.modules['anyio'] = None\nimport leasehold.aio"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'leasehold[aio]'" in done.stderr
