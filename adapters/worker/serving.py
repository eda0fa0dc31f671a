"""The loop of a worker: look for work, start it, and drain when told to stop.

Everything that happens comes through one queue, which may be written to by signal
handlers, too. What is decided is decided by the one thread that reads it.
"""

import logging
import queue
import time
from collections.abc import Callable, Collection
from typing import Final, Protocol

from leasehold.adapters.ledger import Ledger
from leasehold.adapters.worker.jobs import Job, tell
from leasehold.adapters.worker.lanes import LaneTurns
from leasehold.adapters.worker.pacing import Agenda, Pauses
from leasehold.adapters.worker.sweeping import sweeping
from leasehold.adapters.worker.terms import WorkerTerms
from leasehold.adapters.worker.waking import Waker
from leasehold.domain.errors import LeaseholdError, StoreError
from leasehold.domain.states import FailureClass

_log: Final = logging.getLogger("leasehold")

_TROUBLE_S: Final = (0.1, 10.0)
_KILLED_S: Final = 5.0
GIVING_UP_S: Final = 1.0


class StartJob(Protocol):
    """Starts the handler of a job, and does not wait for it."""

    def __call__(self, job: Job, done: Callable[[], None], /) -> None:
        """Start it; `done` is called when it has ended.

        Raises:
            RuntimeError: There is no thread for it.
        """
        ...


class Service:
    """A worker at work.

    Attributes:
        is_stopping: Whether it was told to stop.
    """

    def __init__(self, ledger: Ledger, terms: WorkerTerms) -> None:
        """Do nothing yet."""
        self.is_stopping = False
        self._ledger = ledger
        self._terms = terms
        self._grace_s = terms.grace_s
        self._turns = LaneTurns(terms.lanes)
        self._agenda = Agenda(Pauses(*terms.poll_s), Pauses(*_TROUBLE_S))
        # How many seconds later there may be work; None says that something ended.
        self._told: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self._running: set[Job] = set()

    def stop(self, grace_s: float | None = None) -> None:
        """Take no more, and end; may be called from anywhere, also again."""
        if grace_s is not None:
            self._grace_s = grace_s
        self.is_stopping = True
        self._told.put(None)

    def run(self, start: StartJob) -> None:
        """Work until it is told to stop, and drain.

        Args:
            start: Starts a job.
        """
        waker = Waker(self._ledger, self._terms.lanes, self._told.put)
        try:
            if self._terms.sweep:
                with sweeping(self._ledger):
                    self._serve(start, waker)
            else:
                self._serve(start, waker)
        finally:
            self.is_stopping = True
            self._drain()

    def _serve(self, start: StartJob, waker: Waker) -> None:
        waker.start()
        try:
            while not self.is_stopping:
                now_s = time.monotonic()
                free = self._terms.concurrency - len(self._running)
                if not free:
                    waker.follow(wanted=False)
                    self._listen(None)
                elif now_s < self._agenda.next_s:
                    self._listen(self._agenda.next_s - now_s)
                else:
                    is_idle = self._look(free, start)
                    waker.follow(wanted=is_idle)
        finally:
            waker.stop()

    def _look(self, free: int, start: StartJob) -> bool:
        """Take what there is, at most as much as is free; say whether that was all."""
        agenda = self._agenda
        agenda.begin(time.monotonic())
        instance_id = self._terms.instance_id

        def take(lane_id: str, most: int) -> int:
            sent_at_s = time.monotonic()
            handles = self._ledger.claim_many(
                most,
                lane_id,
                capabilities=self._terms.capabilities,
                worker_id=self._terms.worker_id,
                worker_instance_id=instance_id,
                lease_ttl_ms=self._terms.lease_ttl_ms,
            )
            for handle in handles:
                job = Job(
                    self._ledger,
                    handle,
                    lane_id=lane_id,
                    sent_at_s=sent_at_s,
                    failure_classes=self._terms.failure_classes,
                )
                self._start(job, start)
            return len(handles)

        try:
            taken = self._turns.take(free, take)
        except StoreError as error:
            pause_s = agenda.failed(time.monotonic())
            _log.warning(
                "a worker could not claim, and tries again in %.1f s: %s",
                pause_s,
                error,
            )
            return False
        if taken == free:
            agenda.found_more()
            return False
        agenda.found_all(time.monotonic(), taken)
        return True

    def _start(self, job: Job, start: StartJob) -> None:
        def done() -> None:
            self._running.discard(job)
            self._told.put(None)

        self._running.add(job)
        try:
            start(job, done)
        except RuntimeError as error:
            self._running.discard(job)
            reason = f"the worker could not start it: {error}"
            try:
                self._ledger.fail(job.handle, reason, FailureClass.INFRA_CRASH)
            except LeaseholdError as failed:
                tell(job, failed)

    def _listen(self, timeout_s: float | None) -> None:
        """Wait until something is told or for so long, and note all that was told."""
        try:
            told = self._told.get(timeout=timeout_s)
            while True:
                now_s = time.monotonic()
                if told == 0:
                    self._agenda.tell(now_s)
                elif told is not None:
                    self._agenda.expect(now_s + told)
                told = self._told.get_nowait()
        except queue.Empty:
            return

    def _drain(self) -> None:
        """Let what runs finish within the grace, and fail the rest."""
        began_s = time.monotonic()
        if self._running:
            _log.info(
                "a worker stops: %d executions may finish within %.1f s",
                len(self._running),
                self._grace_s,
            )
        while self._running:
            left_s = began_s + self._grace_s - time.monotonic()
            if left_s <= 0:
                break
            self._listen(left_s)
        rest = list(self._running)
        for job in rest:
            job.is_given_up = True
        self._kill(rest)
        is_told, until_s = True, time.monotonic() + GIVING_UP_S
        for job in list(self._running):
            if is_told:
                is_told = give_up(job, until_s)
            if not is_told:
                job.let_run_out()
            if job.cancel is not None:
                job.cancel()

    def _kill(self, rest: Collection[Job]) -> None:
        """Kill what can be killed, and wait until its attempts are ended for that.

        So nobody takes over work that is not over; but a store that hangs is not
        waited for.
        """
        killed = {job for job in rest if job.kill is not None}
        for job in killed:
            if job.kill is not None:
                job.kill()
        until_s = time.monotonic() + _KILLED_S
        while killed & self._running and (left_s := until_s - time.monotonic()) > 0:
            self._listen(left_s)


def give_up(job: Job, until_s: float) -> bool:
    """Take a job from its handler; say whether the store can be asked for others.

    Args:
        job: The job.
        until_s: Until when to wait for a call that ends it, by `time.monotonic`.
    """
    try:
        if not job.give_up(max(0.0, until_s - time.monotonic())):
            _log.warning("execution %s is left to run out", job.execution_id)
    except StoreError as error:
        _log.warning("what a worker leaves is left to run out: %s", error)
        return False
    except LeaseholdError as error:
        tell(job, error)
    return True
