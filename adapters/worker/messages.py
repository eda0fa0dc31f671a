"""What a worker and the processes of its handlers tell each other, by two pipes.

By `calls` the worker gives an assignment; the process asks, is answered, and in the end
reports what the handler was left by. By `news` the worker tells what becomes of the
lease, and does not wait for the process to read that.
"""

import pickle
import signal
from dataclasses import dataclass
from typing import Any, Final

from leasehold.adapters.holding.remaining import Trust
from leasehold.adapters.worker.contexts import Work
from leasehold.adapters.worker_calls import FailureReason, LeaseRenewal
from leasehold.domain.errors import LeaseholdError
from leasehold.domain.handles import Handle
from leasehold.domain.states import FailureClass

TERMINATED_S: Final = 2.0
"""How long a handler that was terminated may clean up before it is killed."""

STOPPING: Final = frozenset({signal.SIGINT, signal.SIGTERM})
"""What may be sent to all processes of a service; the worker alone heeds it."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Report that the handler is loaded."""


@dataclass(frozen=True, slots=True)
class Dismissed:
    """Have the process end: there is nothing more to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Have the handler work on an execution.

    Attributes:
        job: Counts the assignments of a process, from 1.
        handle: The lease that the worker holds.
        lane_id: The lane that it was taken from.
        work: What is to be done.
        trust: What is proved of the lease by now.
    """

    job: int
    handle: Handle
    lane_id: str
    work: Work
    trust: Trust


@dataclass(frozen=True, slots=True)
class Question:
    """Ask the worker to make a call for the handler.

    Attributes:
        job: The assignment that it belongs to.
        number: Counts the questions of a process.
        call: The name of the call.
        arguments: A tuple, pickled by itself: what cannot be read is answered so.
    """

    job: int
    number: int
    call: str
    arguments: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a question.

    Attributes:
        number: The question.
        value: What the call returned, or a `Refusal`, pickled by itself.
    """

    number: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Say what a call raised."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Returned:
    """Report what the handler returned."""

    job: int
    result: bytes | None


@dataclass(frozen=True, slots=True)
class Left:
    """Report what the handler was left by, or why it could not be loaded."""

    job: int
    reason: FailureReason
    failure_class: FailureClass


@dataclass(frozen=True, slots=True)
class Renewed:
    """Tell of a renewal, and when it was sent by the clock of held leases."""

    job: int
    renewal: LeaseRenewal
    sent_at_ns: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Tell why the lease is lost."""

    job: int
    reason: LeaseholdError


def unpack(packed: bytes) -> Any:  # noqa: ANN401 - whatever was packed
    """Unpickle what this worker, or a process that it started, has pickled."""
    return pickle.loads(packed)  # noqa: S301 - of one's own program
