"""The sweeper: one thread per ledger, however many workers share it.

A claim records what is due in its own lane; a sweep is for lanes that nobody claims
from and for those who watch. So it may be rare. A process whose sweep finds nothing to
record waits twice as long until the next: where several processes sweep one store, all
but one find nothing most of the time, and soon come rarely.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from leasehold.adapters.ledger import Ledger
from leasehold.adapters.worker.pacing import Pauses
from leasehold.domain.errors import StoreError

SWEEP_LEAST_S: Final = 5.0
SWEEP_MOST_S: Final = 30.0

_log: Final = logging.getLogger("leasehold")
_lock: Final = threading.Lock()


class Sweeper:
    """Sweeps a ledger, now and then, while somebody uses it.

    Attributes:
        users: How many workers share it.
        process: The process that it runs in.
    """

    def __init__(self, ledger: Ledger, pauses: Pauses) -> None:
        """Do nothing yet."""
        self.users = 0
        self.process = os.getpid()
        self._ledger = ledger
        self._pauses = pauses
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="leasehold-sweeping", daemon=True
        )

    def start(self) -> None:
        """Begin with a pause: processes that start together do not sweep together."""
        self._thread.start()

    def stop(self) -> None:
        """Sweep no more; does not wait for a sweep that is under way."""
        self._stopped.set()

    def sweep(self) -> None:
        """Sweep once, and tell the pauses what came of it."""
        try:
            report = self._ledger.sweep()
        except StoreError as error:
            _log.warning("a worker could not sweep: %s", error)
            return
        if report.leases_expired or report.delays_due or report.deadlines_passed:
            self._pauses.reset()

    def _run(self) -> None:
        while not self._stopped.wait(self._pauses.next_s()):
            self.sweep()


_sweepers: Final[dict[Ledger, Sweeper]] = {}


@contextmanager
def sweeping(ledger: Ledger) -> Iterator[None]:
    """Have a ledger swept while the block runs, by one thread for all such blocks."""
    with _lock:
        sweeper = _sweepers.get(ledger)
        if sweeper is None or sweeper.process != os.getpid():
            sweeper = Sweeper(ledger, Pauses(SWEEP_LEAST_S, SWEEP_MOST_S))
            sweeper.start()
            _sweepers[ledger] = sweeper
        sweeper.users += 1
    try:
        yield
    finally:
        with _lock:
            sweeper.users -= 1
            if not sweeper.users:
                sweeper.stop()
                _sweepers.pop(ledger, None)
