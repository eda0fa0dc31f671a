"""The guard of the worker calls, and its order."""

from dataclasses import replace

import pytest
from event_samples import (
    EXECUTION,
    EXPIRY,
    LEASE,
    NEXT_LEASE,
    attempt_after,
    execution_after,
    make,
)

from leasehold.domain.attempts import (
    AttemptLeaseExpired,
    AttemptLeaseReclaimed,
    AttemptLeaseRenewed,
    AttemptLeaseRevoked,
    AttemptStarted,
    AttemptSucceeded,
)
from leasehold.domain.errors import (
    ExecutionNotActiveError,
    LeaseConflictError,
    LeaseExpiredError,
    LeaseRevokedError,
)
from leasehold.domain.executions import (
    ExecutionClaimed,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionRetryScheduled,
)
from leasehold.domain.guard import check_guard
from leasehold.domain.handles import Lease

CREATED = make(ExecutionCreated)
ACTIVE = execution_after(CREATED, make(ExecutionClaimed))
RUNNABLE = execution_after(
    CREATED, make(ExecutionClaimed), make(ExecutionRetryScheduled)
)
TERMINAL = execution_after(CREATED, make(ExecutionClaimed), make(ExecutionCompleted))
STARTED = make(AttemptStarted)
HELD = attempt_after(STARTED)
REVOKED = attempt_after(STARTED, make(AttemptLeaseRevoked, occurred_at_ms=1_234))
EXPIRED = attempt_after(STARTED, make(AttemptLeaseExpired))
RESUMED = attempt_after(STARTED, make(AttemptLeaseReclaimed))
PRESENTED = Lease(
    execution_id=EXECUTION,
    attempt_index=0,
    lease_epoch=1,
    lease_id=LEASE,
    expires_at_ms=EXPIRY,
)
FORGED = replace(PRESENTED, lease_id=NEXT_LEASE, lease_epoch=999)
IN_TIME = EXPIRY - 1


def test_the_current_lease_passes_until_its_last_millisecond() -> None:
    check_guard(ACTIVE, HELD, PRESENTED, now_ms=IN_TIME)


def test_the_expiry_in_the_handle_has_no_say() -> None:
    renewed = attempt_after(STARTED, make(AttemptLeaseRenewed))
    check_guard(ACTIVE, renewed, PRESENTED, now_ms=EXPIRY)
    check_guard(ACTIVE, HELD, replace(PRESENTED, expires_at_ms=0), now_ms=IN_TIME)


ORDER = {
    "not active, revoked, forged, late": (
        (TERMINAL, REVOKED, FORGED, EXPIRY),
        ExecutionNotActiveError,
    ),
    "runnable, forged, late": (
        (RUNNABLE, HELD, FORGED, EXPIRY),
        ExecutionNotActiveError,
    ),
    "revoked, forged, late": ((ACTIVE, REVOKED, FORGED, EXPIRY), LeaseRevokedError),
    "revoked": ((ACTIVE, REVOKED, PRESENTED, IN_TIME), LeaseRevokedError),
    "forged, late": ((ACTIVE, HELD, FORGED, EXPIRY), LeaseConflictError),
    "forged": ((ACTIVE, HELD, FORGED, IN_TIME), LeaseConflictError),
    "forged, expiry recorded": ((ACTIVE, EXPIRED, FORGED, 0), LeaseConflictError),
    "late": ((ACTIVE, HELD, PRESENTED, EXPIRY), LeaseExpiredError),
    "late, expiry recorded": ((ACTIVE, EXPIRED, PRESENTED, 0), LeaseExpiredError),
}


@pytest.mark.parametrize("case", ORDER)
def test_the_guard_refuses_in_the_order_of_the_contract(case) -> None:
    (execution, attempt, lease, now_ms), error = ORDER[case]
    with pytest.raises(error) as raised:
        check_guard(execution, attempt, lease, now_ms=now_ms)
    assert raised.type is error


@pytest.mark.parametrize(
    "field", [{"lease_id": NEXT_LEASE}, {"attempt_index": 1}, {"lease_epoch": 2}]
)
def test_each_part_of_the_fence_counts(field) -> None:
    with pytest.raises(LeaseConflictError):
        check_guard(ACTIVE, HELD, replace(PRESENTED, **field), now_ms=IN_TIME)


def test_a_lease_that_was_resumed_by_another_conflicts() -> None:
    with pytest.raises(LeaseConflictError) as raised:
        check_guard(ACTIVE, RESUMED, PRESENTED, now_ms=2_000)
    told = str(raised.value)
    for fact in ("epoch 1", "epoch 2", "'worker-2'", "2400", "claim again"):
        assert fact in told


def test_a_late_holder_is_told_the_lapse_the_epoch_the_holder_and_what_to_do() -> None:
    with pytest.raises(LeaseExpiredError) as raised:
        check_guard(ACTIVE, HELD, PRESENTED, now_ms=EXPIRY + 7)
    told = str(raised.value)
    for fact in (f"ran out at {EXPIRY}", "epoch 1", "'worker-1'", "claim again"):
        assert fact in told


def test_a_holder_whose_expiry_was_recorded_is_told_the_same_lapse() -> None:
    with pytest.raises(LeaseExpiredError, match=f"ran out at {EXPIRY} ms"):
        check_guard(ACTIVE, EXPIRED, PRESENTED, now_ms=EXPIRY + 7)


def test_a_revoked_holder_is_told_when() -> None:
    with pytest.raises(LeaseRevokedError, match="by an operator at 1234 ms"):
        check_guard(ACTIVE, REVOKED, PRESENTED, now_ms=IN_TIME)


@pytest.mark.parametrize(
    ("execution", "phase", "state"),
    [(RUNNABLE, "runnable", "delayed"), (TERMINAL, "terminal", "completed")],
)
def test_a_holder_of_what_is_not_active_is_told_the_state(
    execution, phase, state
) -> None:
    ended = attempt_after(STARTED, make(AttemptSucceeded))
    with pytest.raises(ExecutionNotActiveError, match=f"is {state}") as raised:
        check_guard(execution, ended, PRESENTED, now_ms=IN_TIME)
    assert raised.value.lifecycle_phase == phase
    assert raised.value.public_state == state


LAPSES = {
    "ended": (attempt_after(STARTED, make(AttemptSucceeded)), 0, "ended at "),
    "expiry recorded": (EXPIRED, 0, f"ran out at {EXPIRY} ms"),
    "held": (HELD, IN_TIME, f"runs out at {EXPIRY} ms"),
    "held until now": (HELD, EXPIRY, f"ran out at {EXPIRY} ms"),
}


@pytest.mark.parametrize("case", LAPSES)
def test_who_is_refused_is_told_what_became_of_the_last_lease(case) -> None:
    attempt, now_ms, lapse = LAPSES[case]
    for execution, error in (
        (TERMINAL, ExecutionNotActiveError),
        (ACTIVE, LeaseConflictError),
    ):
        with pytest.raises(error) as raised:
            check_guard(execution, attempt, FORGED, now_ms=now_ms)
        told = str(raised.value)
        for fact in (f" {lapse}", f"(now {now_ms} ms)", "epoch 1", "'worker-1'"):
            assert fact in told
