"""Opening an async ledger."""

from collections.abc import Callable
from functools import partial

from anyio import CapacityLimiter

from leasehold.adapters import opening
from leasehold.adapters.aio.entering import Opening
from leasehold.adapters.aio.ledger import AsyncLedger
from leasehold.adapters.ledger import Ledger
from leasehold.adapters.threads import Threads


def open_ledger(
    url: str = opening.URL_DEFAULT,
    *,
    clock: Callable[[], int] | None = None,
    durability: str = "full",
    read_only: bool = False,
    limiter: CapacityLimiter | None = None,
) -> Opening[AsyncLedger]:
    """Open an async ledger: `async with open(…) as ledger`, or `await open(…)`.

    Args:
        url: As for `leasehold.open`, like all that follow but the last.
        clock: Is called on worker threads.
        durability: `full` or `normal`.
        read_only: Never create, migrate or write.
        limiter: Bounds how many calls run at a time; one of 32 where none is given.

    Raises:
        InvalidInputError: When it is awaited, as for `leasehold.open`.
        StoreError: The same.
    """
    make = partial(
        opening.open_ledger,
        url,
        clock=clock,
        durability=durability,
        read_only=read_only,
    )

    async def begin() -> AsyncLedger:
        ledger = await Threads().run(make, undo=Ledger.close)
        return AsyncLedger(ledger, limiter=limiter)

    return Opening(begin)
