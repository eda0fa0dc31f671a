"""Workers on every store, by the store's own clock; programs importable by name."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

WITHIN_S = 60


@pytest.fixture
def ledger(store_url: str) -> Iterator[leasehold.Ledger]:
    """Open the store in turn, by its own clock: held leases live by real time."""
    with leasehold.open(store_url, durability="normal") as opened:
        yield opened


@pytest.fixture
def running(ledger: leasehold.Ledger) -> Iterator[Callable[..., leasehold.Worker]]:
    """Run a worker beside the test: `running(handler, **terms)`."""
    begun: list[tuple[leasehold.Worker, threading.Thread]] = []

    def run(handler: Any, **terms: Any) -> leasehold.Worker:
        worker = leasehold.Worker(ledger, handler, **{"worker_id": "w", **terms})
        thread = threading.Thread(target=worker.run)
        thread.start()
        begun.append((worker, thread))
        return worker

    yield run
    for worker, _ in begun:
        worker.stop()
    for _, thread in begun:
        thread.join(WITHIN_S)
        assert not thread.is_alive()


@pytest.fixture
def ended(ledger: leasehold.Ledger) -> Callable[[int], None]:
    """Wait until so many executions have ended, following the log."""
    topics = ("execution.completed", "execution.failed", "execution.cancelled")

    def wait(count: int) -> None:
        with ledger.subscribe(after=0, topics=topics) as subscription:
            while count > 0:
                events = subscription.next_events(WITHIN_S)
                assert events
                count -= len(events)
        assert count == 0

    return wait
