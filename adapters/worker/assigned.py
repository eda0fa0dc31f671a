"""What a handler in a process of its own is given: a copy of the lease, and calls.

The copy is that of every held lease, without the thread that renews: the worker does
that, and tells of it. It counts by the same clock of the host, so a handler learns in
time that the lease has run out, also while the worker hangs or is stopped. What calls
the store is asked of the worker.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from leasehold.adapters.frame_calls import AppendFrameOutcome
from leasehold.adapters.holding.held import HeldLease
from leasehold.adapters.holding.keeping import Kept, RenewalAnswer
from leasehold.adapters.holding.renewing import Keeper
from leasehold.adapters.worker.contexts import WorkContext
from leasehold.adapters.worker.jobs import Job
from leasehold.adapters.worker.messages import Assignment, Lost, Renewed
from leasehold.adapters.worker_calls import (
    FailureReason,
    LeaseRenewal,
    RetryScheduled,
    TerminalFailed,
)
from leasehold.domain.errors import IllegalTransitionError
from leasehold.domain.frames import Frame
from leasehold.domain.handles import Handle
from leasehold.domain.states import FailureClass

Ask: TypeAlias = Callable[..., Any]
"""Has the worker make a call: its name and arguments; returns or raises what came."""


class Assigned:
    """An execution in the process of a handler.

    Attributes:
        number: The number of the assignment.
        context: What the handler is given.
    """

    def __init__(self, assignment: Assignment, ask: Ask) -> None:
        """Begin with what the worker told.

        Args:
            assignment: What was told.
            ask: Asks the worker, with the number of the assignment before the name.
        """
        self.number = assignment.job
        self._is_over = False
        self._ask_worker = ask
        calls = _AskedCalls(self._ask)
        self._keeper = _BeatKeeper(self._ask)
        self._kept = Kept(
            assignment.handle,
            assignment.trust,
            self._keeper.times,
            calls.renew_many,
            lock=self._keeper.lock,
        )
        job = Job(
            calls,
            assignment.handle,
            lane_id=assignment.lane_id,
            sent_at_s=0,
            failure_classes={},
        )
        job.begin(HeldLease(self._keeper, self._kept, calls))
        self.context = WorkContext(
            job,
            assignment.work,
            partial(self._ask, "summary"),
            partial(self._ask, "is_stopping"),
        )

    def learn(self, news: Renewed | Lost) -> None:
        """Note what became of the lease."""
        if isinstance(news, Lost):
            self._kept.lose(news.reason)
        else:
            self._kept.take(news.renewal, sent_at_ns=news.sent_at_ns)

    def end(self) -> None:
        """Let the handler, or what it has left behind, call nothing any more."""
        self._is_over = True
        self._keeper.let_go(self._kept)

    def _ask(self, call: str, *arguments: object) -> Any:  # noqa: ANN401 - as the call
        if self._is_over:
            raise IllegalTransitionError("the handler of this context has ended")
        return self._ask_worker(self.number, call, *arguments)


class _BeatKeeper(Keeper):
    """Tells the worker, who renews, that the handler is alive."""

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._ask = ask

    def beat(self, kept: Kept) -> None:
        if not kept.is_inherited:
            self._ask("beat")


class _AskedCalls:
    """The calls of a holder, made by the worker; it knows the handle."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def renew_many(self, handles: Sequence[Handle]) -> list[RenewalAnswer]:
        return [self.renew(handle) for handle in handles]

    def renew(self, _handle: Handle) -> LeaseRenewal:
        answer: LeaseRenewal = self._ask("renew")
        return answer

    def progress(
        self,
        _handle: Handle,
        percent: float | None = None,
        message: str | None = None,
    ) -> None:
        self._ask("progress", percent, message)

    def append_frame(self, _handle: Handle, frame: Frame) -> AppendFrameOutcome:
        answer: AppendFrameOutcome = self._ask("append_frame", frame)
        return answer

    def complete(self, _handle: Handle, result: bytes | None = None) -> None:
        self._ask("complete", result)

    def fail(
        self,
        _handle: Handle,
        reason: str | FailureReason,
        failure_class: FailureClass,
    ) -> RetryScheduled | TerminalFailed:
        answer: RetryScheduled | TerminalFailed = self._ask(
            "fail", reason, failure_class
        )
        return answer
