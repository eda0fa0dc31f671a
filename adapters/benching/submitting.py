"""A submitter process that may be killed at any time, also in the midst of a call.

Execution number n has the idempotency key n. Killed, it is started anew behind the last
number that it told of; what it was creating then, it creates again under the same keys.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from leasehold.adapters.benching.children import (
    given_order,
    lines_of_parent,
    open_store,
    tell,
)
from leasehold.adapters.ledger import Ledger
from leasehold.domain.errors import StoreError
from leasehold.domain.retries import Fixed, RetryPolicy

MODULE: Final = "leasehold.adapters.benching.submitting"

_BATCH: Final = 10
_REPEATED: Final = 0.05
_LAST: Final = 500
_POLL_S: Final = 0.02
_PAUSE_S: Final = 0.1
_PASSING: Final = ("store_busy", "store_unavailable")
_POLICY: Final = RetryPolicy(max_retries=10_000, backoff=Fixed(50))


@dataclass(frozen=True, slots=True)
class SubmitOrder:
    """What a submitter process is to do.

    Attributes:
        first: The number to begin with.
        durability: As of `leasehold.open`.
        draws: What its chance begins with.
    """

    first: int
    durability: str
    draws: str


class _Target:
    """Up to which number to create, as the parent says on standard input."""

    def __init__(self) -> None:
        self.number = 0
        self.has_ended = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in lines_of_parent():
            self.number = int(line)
        self.has_ended.set()


def specs(numbers: range) -> list[dict[str, Any]]:
    """Return how executions are created: the same for the same number."""
    return [
        {
            "payload": b"%d" % number,
            "idempotency_key": str(number),
            "priority": number % 3,
            "retry_policy": _POLICY,
            "max_reclaim_count": 10_000,
        }
        for number in numbers
    ]


def submit(ledger: Ledger, order: SubmitOrder, target: _Target) -> None:
    """Create what the parent asks for, and now and then once more what is there."""
    chance = random.Random(order.draws)  # noqa: S311 - no secret
    number = order.first
    while not target.has_ended.is_set():
        left = target.number - number
        if left <= 0:
            target.has_ended.wait(_POLL_S)
            continue
        batch = range(number, number + min(left, chance.randint(1, _BATCH)))
        _create(ledger, batch)
        number = batch.stop
        if chance.random() < _REPEATED:
            again = chance.randrange(max(0, number - _LAST), number)
            _create(ledger, range(again, again + 1))


def _create(ledger: Ledger, numbers: range) -> None:
    ids = _again(lambda: ledger.create_executions(specs(numbers)))
    tell("created", numbers.start, [str(execution_id) for execution_id in ids])


def _again(call: Callable[[], list[UUID]]) -> list[UUID]:
    """Make a call until it is answered: whether it was done before makes no odds."""
    while True:
        try:
            return call()
        except StoreError as error:
            tell("trouble", error.code)
            if error.code not in _PASSING:
                raise
        time.sleep(_PAUSE_S)


def main() -> None:
    """Create executions until standard input ends."""
    order = SubmitOrder(**given_order())
    target = _Target()
    with open_store(order.durability) as ledger:
        submit(ledger, order, target)


if __name__ == "__main__":
    main()
