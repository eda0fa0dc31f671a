"""Running handlers that are plain functions: a thread of the worker for each.

The threads are daemons: one whose handler does not stop keeps no process alive.
"""

import inspect
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from leasehold.adapters.ledger import Ledger
from leasehold.adapters.worker.contexts import WorkContext
from leasehold.adapters.worker.jobs import Job, tell
from leasehold.adapters.worker.reading import read_document, read_work
from leasehold.adapters.worker.terms import WorkerTerms

Handler: TypeAlias = Callable[[WorkContext], bytes | None]
Call: TypeAlias = Callable[[Job, WorkContext], object]
"""Runs the handler of a job to its end, wherever, and returns what it returned."""


class HandlerThreads:
    """Starts a thread for each job."""

    def __init__(
        self,
        ledger: Ledger,
        terms: WorkerTerms,
        call: Call,
        is_stopping: Callable[[], bool],
    ) -> None:
        """Belong to a worker."""
        self._ledger = ledger
        self._terms = terms
        self._call = call
        self._is_stopping = is_stopping

    def __call__(self, job: Job, done: Callable[[], None], /) -> None:
        """Start the handler of a job."""

        def run() -> None:
            try:
                self._hold(job)
            except BaseException as error:  # noqa: BLE001 - a handler ends no worker
                tell(job, error)
            finally:
                done()

        name = f"leasehold-handler-{job.execution_id}"
        threading.Thread(target=run, name=name, daemon=True).start()

    def _hold(self, job: Job) -> None:
        with self._ledger.hold(
            job.handle,
            renew_on=self._terms.renew_on,
            failure_classes=self._terms.failure_classes,
            sent_at_s=job.sent_at_s,
        ) as lease:
            try:
                job.begin(lease)
                work = read_work(self._ledger, job)
                context = WorkContext(
                    job,
                    work,
                    partial(read_document, self._ledger, job.execution_id),
                    self._is_stopping,
                )
                result = self._call(job, context)
                if inspect.iscoroutine(result):
                    result.close()
                job.succeed(result)
            except BaseException as error:
                if lease.is_lost:
                    raise
                job.fail(error)
