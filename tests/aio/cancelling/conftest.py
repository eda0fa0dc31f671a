"""A ledger that is opened twice, and a task to be cancelled in every way."""

import pytest
from event_loops import Cancelled

import leasehold

START_MS = 1_700_000_000_000


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
