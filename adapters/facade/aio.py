"""The ledger for asyncio and trio (extra `aio`).

    import leasehold.aio

    async with leasehold.aio.open("sqlite:///work.db") as ledger:
        await ledger.create_execution(payload=b"...")
        handle = await ledger.claim(worker_id="worker-1")

The page docs/aio.md says what a cancelled call may have done.
"""

from importlib.util import find_spec

if find_spec("anyio") is None:
    message = "it needs the extra `aio`: pip install 'leasehold[aio]'"
    raise ImportError(message)

from leasehold.adapters.aio.following import AsyncRunningProjection, AsyncSubscription
from leasehold.adapters.aio.ledger import AsyncLedger
from leasehold.adapters.aio.opening import open_ledger as open  # noqa: A004
from leasehold.adapters.aio.reader import AsyncReader

__all__ = [
    "AsyncLedger",
    "AsyncReader",
    "AsyncRunningProjection",
    "AsyncSubscription",
    "open",
]
