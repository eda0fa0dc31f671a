"""The guard: what every write of a worker must pass, in one function.

The rule is that of fencing tokens: a store that takes writes from lease holders must
itself check the number of the lease, because a holder may have been paused between
its own check and its write (Martin Kleppmann, "How to do distributed locking", 2016;
the sequencers of Mike Burrows, "The Chubby lock service", OSDI 2006). Here the fence
compares a random lease id as well, so that a guessed epoch opens nothing.
"""

from leasehold.domain.attempts import Attempt, LeaseState
from leasehold.domain.errors import (
    LeaseConflictError,
    LeaseExpiredError,
    LeaseRevokedError,
)
from leasehold.domain.executions import Execution, check_active
from leasehold.domain.handles import Lease
from leasehold.domain.states import LifecyclePhase

_STOP = "stop the work and claim again"


def check_guard(
    execution: Execution, attempt: Attempt, lease: Lease, *, now_ms: int
) -> None:
    """Let a worker's write through, or say why not.

    Args:
        execution: As it stands.
        attempt: The last one that was started.
        lease: As presented.
        now_ms: Read after the store's lock was taken.

    Raises:
        ExecutionNotActiveError: Nobody has the execution.
        LeaseRevokedError: An operator took the current lease away.
        LeaseConflictError: Lease id, attempt or epoch is not the current one.
        LeaseExpiredError: The lease is the current one and ran out.
    """
    if execution.lifecycle_phase is not LifecyclePhase.ACTIVE:
        last_lease = f"; {_current(attempt)} {_lapse(attempt, now_ms=now_ms)}"
        check_active(execution, last_lease=last_lease)
    if attempt.lease_state is LeaseState.REVOKED:
        message = (
            f"{_current(attempt)} was revoked by an operator at "
            f"{attempt.lease_ended_at_ms} ms; {_STOP}"
        )
        raise LeaseRevokedError(message)
    if not _is_current(attempt, lease):
        message = (
            f"the handle presents epoch {lease.lease_epoch} of attempt "
            f"{lease.attempt_index}, but {_current(attempt)} is the current one and "
            f"{_lapse(attempt, now_ms=now_ms)}; {_STOP}"
        )
        raise LeaseConflictError(message)
    if attempt.has_run_out(now_ms=now_ms):
        message = (
            f"{_current(attempt)} {_lapse(attempt, now_ms=now_ms)}; the work may be "
            f"taken over at any time: {_STOP}, or ask for a resume grant"
        )
        raise LeaseExpiredError(message)


def _is_current(attempt: Attempt, lease: Lease) -> bool:
    return (
        lease.lease_id == attempt.lease_id
        and lease.attempt_index == attempt.attempt_index
        and lease.lease_epoch == attempt.lease_epoch
    )


def _current(attempt: Attempt) -> str:
    return (
        f"the lease of epoch {attempt.lease_epoch} on attempt {attempt.attempt_index}, "
        f"held by worker {attempt.worker_id!r},"
    )


def _lapse(attempt: Attempt, *, now_ms: int) -> str:
    if attempt.lease_expires_at_ms is None:
        verb = "ran out" if attempt.lease_state is LeaseState.EXPIRED else "ended"
        return f"{verb} at {attempt.lease_ended_at_ms} ms (now {now_ms} ms)"
    verb = "runs out" if now_ms < attempt.lease_expires_at_ms else "ran out"
    return f"{verb} at {attempt.lease_expires_at_ms} ms (now {now_ms} ms)"
