"""Waking an idle worker when something is written that may be work for it."""

import logging
import threading
from collections.abc import Callable, Collection
from typing import Final

from leasehold.adapters.following import Subscription
from leasehold.adapters.ledger import Ledger
from leasehold.adapters.worker.pacing import Pauses
from leasehold.domain.attempts import AttemptLeaseExpired, AttemptLeaseRevoked
from leasehold.domain.errors import StoreError
from leasehold.domain.events import DomainEvent
from leasehold.domain.executions import (
    ExecutionBecameEligible,
    ExecutionCreated,
    ExecutionReplayed,
    ExecutionRetryScheduled,
)

_log: Final = logging.getLogger("leasehold")

_TOPICS: Final = tuple(
    event_type.TOPIC
    for event_type in (
        AttemptLeaseExpired,
        AttemptLeaseRevoked,
        ExecutionBecameEligible,
        ExecutionCreated,
        ExecutionReplayed,
        ExecutionRetryScheduled,
    )
)
_LOOK_AGAIN_S: Final = 1.0
_MS_IN_S: Final = 1_000
_TROUBLE_S: Final = (0.5, 10.0)


def seconds_until_work(event: DomainEvent, lanes: Collection[str]) -> float | None:
    """Return how long after an event there may be work; None if it is of no concern."""
    if isinstance(event, ExecutionCreated) and event.lane_id not in lanes:
        return None
    if isinstance(event, ExecutionCreated | ExecutionRetryScheduled):
        left_ms = 0 if event.due else event.eligible_at_ms - event.occurred_at_ms
        return max(0, left_ms) / _MS_IN_S
    return 0.0


class Waker:
    """Follows the log by a thread of its own, while the worker is idle and only then.

    A worker that has all hands full reads nothing of the log.
    """

    def __init__(
        self, ledger: Ledger, lanes: Collection[str], wake: Callable[[float], object]
    ) -> None:
        """Do nothing yet.

        Args:
            ledger: What is followed.
            lanes: The lanes of the worker.
            wake: Called with in how many seconds there may be work.
        """
        self._ledger = ledger
        self._lanes = frozenset(lanes)
        self._wake = wake
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._subscription: Subscription | None = None
        self._thread = threading.Thread(
            target=self._run, name="leasehold-waking", daemon=True
        )

    def start(self) -> None:
        """Begin to be there."""
        self._thread.start()

    def follow(self, *, wanted: bool) -> None:
        """Follow the log from now on, or no more."""
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()

    def stop(self) -> None:
        """End, and wait for that, unless the store hangs."""
        self._stopped.set()
        self._wanted.set()
        subscription = self._subscription
        if subscription is not None:
            subscription.stop()
        self._thread.join(_LOOK_AGAIN_S)

    def _run(self) -> None:
        pauses = Pauses(*_TROUBLE_S)
        while not self._stopped.is_set():
            self._wanted.wait()
            try:
                with self._ledger.subscribe(topics=_TOPICS) as subscription:
                    self._subscription = subscription
                    # What was written before it began is not told: look once more.
                    self._wake(0.0)
                    self._follow(subscription, pauses)
            except StoreError as error:
                if not self._stopped.is_set():
                    _log.warning("a worker could not follow the log: %s", error)
                self._stopped.wait(pauses.next_s())
            finally:
                self._subscription = None

    def _follow(self, subscription: Subscription, pauses: Pauses) -> None:
        while self._wanted.is_set() and not self._stopped.is_set():
            delays_s = {
                delay_s
                for recorded in subscription.next_events(_LOOK_AGAIN_S)
                if (delay_s := seconds_until_work(recorded.event, self._lanes))
                is not None
            }
            for delay_s in delays_s:
                self._wake(delay_s)
            pauses.reset()
