"""Async ledgers on every store, under asyncio and trio."""

import pytest

import leasehold.aio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
def open_async(clock, anyio_backend):
    """Open an async ledger on the clock that the test moves."""

    def make(url: str, **options):
        given = {"clock": clock, "durability": "normal", **options}
        return leasehold.aio.open(url, **given)

    return make


@pytest.fixture
async def aledger(store_url, open_async):
    """Open the store in turn."""
    async with open_async(store_url) as opened:
        yield opened
