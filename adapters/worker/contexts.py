"""What a handler is given: its work, and what it may do while it works."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from leasehold.adapters.frame_calls import AppendFrameOutcome
from leasehold.adapters.holding.awaiting import AsyncHeldLease, OnThread
from leasehold.adapters.holding.held import HeldLease
from leasehold.adapters.worker.jobs import Job
from leasehold.domain.errors import InvalidInputError
from leasehold.domain.frames import Frame, FrameKind, Summary
from leasehold.domain.states import FailureClass

DocumentOf: TypeAlias = Callable[[int], dict[str, Any]]
"""Reads the document that the summary frames of an attempt add up to."""


@dataclass(frozen=True, slots=True)
class LastFailure:
    """Say what the attempt before failed with.

    Attributes:
        failure_class: Its class.
        message: For people.
        detail: A stack trace or the like; None for none.
    """

    failure_class: FailureClass
    message: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done, as it was read when the lease was held."""

    payload: bytes
    tags: Mapping[str, str]
    last_failure: LastFailure | None


class JobLost:
    """The event that the work is to be stopped."""

    def __init__(self, job: Job) -> None:
        """Belong to a job."""
        self._job = job

    def is_set(self) -> bool:
        """Say whether the lease is lost, or the worker has given the execution up."""
        return self._job.is_given_up or self._job.lease.is_lost

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until that is so, and say whether it is.

        Args:
            timeout: In seconds; None waits as long as the lease is held.
        """
        self._job.lease.lost.wait(timeout)
        return self.is_set()


class _Context:
    """What contexts of both kinds know without asking the store.

    Attributes:
        execution_id: The execution.
        attempt_index: The attempt, from 0.
        lane_id: The lane that it was taken from.
        payload: What was submitted.
        tags: The tags that it was submitted with.
        last_failure: What the attempt before failed with; None for the first attempt,
            and where the one before was interrupted and not failed.
    """

    def __init__(
        self,
        job: Job,
        work: Work,
        document_of: DocumentOf,
        is_stopping: Callable[[], bool],
    ) -> None:
        self.execution_id: UUID = job.execution_id
        self.attempt_index: int = job.handle.attempt_index
        self.lane_id: str = job.lane_id
        self.payload: bytes = work.payload
        self.tags: Mapping[str, str] = work.tags
        self.last_failure: LastFailure | None = work.last_failure
        self._job = job
        self._document_of = document_of
        self._is_stopping = is_stopping

    @property
    def is_lost(self) -> bool:
        """Whether the work is to be stopped: nothing of it can be written any more."""
        return self._job.is_given_up or self._job.lease.is_lost

    @property
    def is_stopping(self) -> bool:
        """Whether the worker is being stopped: the grace runs."""
        return self._is_stopping()

    def check(self) -> None:
        """Do nothing while the work is to go on.

        Raises:
            LeaseholdError: Why it is to be stopped.
        """
        self._job.check()
        self._job.lease.check()

    def _progress(self, percent: float | None, message: str | None) -> None:
        self.check()
        self._job.lease.progress(percent, message)

    def _append_frame(self, frame: Frame) -> AppendFrameOutcome:
        self.check()
        return self._job.lease.append_frame(frame)

    def _summary(self, attempt_index: int | None) -> dict[str, Any]:
        index = self.attempt_index if attempt_index is None else attempt_index
        return self._document_of(index)

    def _patch_summary(self, patch: Mapping[str, Any]) -> AppendFrameOutcome:
        try:
            payload = json.dumps(dict(patch), allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            message = f"patch must be a mapping that is a JSON object: {error}"
            raise InvalidInputError(message) from error
        return self._append_frame(Frame(payload, FrameKind.EVENT, mode=Summary()))


class WorkContext(_Context):
    """What a handler that is a plain function is given.

    Any thread of the handler may use it. Each call first looks whether the work is to
    be stopped, and raises the reason then without calling the store.

    Attributes:
        lost: The event that the work is to be stopped: `is_set()`, `wait(timeout)`.
    """

    def __init__(
        self,
        job: Job,
        work: Work,
        document_of: DocumentOf,
        is_stopping: Callable[[], bool],
    ) -> None:
        """Give a handler its work."""
        super().__init__(job, work, document_of, is_stopping)
        self.lost = JobLost(job)

    @property
    def lease(self) -> HeldLease:
        """The lease."""
        return self._job.lease

    def progress(
        self, percent: float | None = None, message: str | None = None
    ) -> None:
        """Report how far the work is; see `Ledger.progress`."""
        self._progress(percent, message)

    def append_frame(self, frame: Frame) -> AppendFrameOutcome:
        """Append a frame to the attempt; see `Ledger.append_frame`."""
        return self._append_frame(frame)

    def summary(self, attempt_index: int | None = None) -> dict[str, Any]:
        """Return the document that the attempt's patches add up to so far.

        Args:
            attempt_index: An earlier attempt; None for this one.
        """
        return self._summary(attempt_index)

    def patch_summary(self, patch: Mapping[str, Any]) -> AppendFrameOutcome:
        """Apply a JSON Merge Patch to the attempt's document, by a summary frame.

        A key whose value is None is removed.
        """
        return self._patch_summary(patch)


class AsyncWorkContext(_Context):
    """What a handler that is an async function is given.

    The same as a `WorkContext`; what calls the store is awaited, on a worker thread.
    There is no event to wait for: the handler is cancelled instead.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what the other kind takes, and two more
        self,
        job: Job,
        work: Work,
        document_of: DocumentOf,
        is_stopping: Callable[[], bool],
        lease: AsyncHeldLease,
        on_thread: OnThread,
    ) -> None:
        """Give a handler its work."""
        super().__init__(job, work, document_of, is_stopping)
        self._lease = lease
        self._on_thread = on_thread

    @property
    def lease(self) -> AsyncHeldLease:
        """The lease."""
        return self._lease

    async def progress(
        self, percent: float | None = None, message: str | None = None
    ) -> None:
        """Report how far the work is; see `Ledger.progress`."""
        await self._on_thread(partial(self._progress, percent, message))

    async def append_frame(self, frame: Frame) -> AppendFrameOutcome:
        """Append a frame to the attempt; see `Ledger.append_frame`."""
        return await self._on_thread(partial(self._append_frame, frame))

    async def summary(self, attempt_index: int | None = None) -> dict[str, Any]:
        """Return the attempt's document so far; see `WorkContext.summary`."""
        return await self._on_thread(partial(self._summary, attempt_index))

    async def patch_summary(self, patch: Mapping[str, Any]) -> AppendFrameOutcome:
        """Apply a patch to the document; see `WorkContext.patch_summary`."""
        return await self._on_thread(partial(self._patch_summary, patch))
