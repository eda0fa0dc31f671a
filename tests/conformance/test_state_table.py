"""Row by row: what each event leaves in exec_core and the attempt."""

import pytest

import leasehold

COLUMNS = (
    "lifecycle_phase",
    "ownership_state",
    "eligibility_state",
    "public_state",
    "attempt_state",
)
NOW = ("runnable", "unowned", "eligible_now", "pending")
LATER = ("runnable", "unowned", "not_eligible_until_time", "delayed")
HELD = ("active", "leased", "not_applicable", "running", "running_attempt")
LOST = ("active", "lease_expired_reclaimable", "not_applicable", "running")
REVOKED = ("active", "lease_revoked", "not_applicable", "running")
OVER = ("terminal", "unowned", "not_applicable")
NEVER_STARTED = "never started"
TRANSIENT = leasehold.FailureClass.TRANSIENT
PERMANENT = leasehold.FailureClass.PERMANENT
BY = {"actor": "ann", "reason": "because"}


@pytest.fixture
def states(core, sql):
    """Read the five columns, and the outcome of the last attempt started."""

    def read(execution_id):
        row = core(execution_id)
        attempts = sql(
            "SELECT outcome FROM attempt WHERE execution_id = ?"
            " ORDER BY attempt_index DESC",
            execution_id,
        )
        outcome = attempts[0]["outcome"] if attempts else NEVER_STARTED
        return (*(row[column] for column in COLUMNS), outcome)

    return read


def test_created_due(ledger, states) -> None:
    assert states(ledger.create_execution()) == (*NOW, "initial", NEVER_STARTED)


def test_created_delayed(ledger, clock, states) -> None:
    execution_id = ledger.create_execution(delay_until_ms=clock() + 10)
    assert states(execution_id) == (*LATER, "initial", NEVER_STARTED)
    clock.advance(10)
    ledger.sweep()
    assert states(execution_id) == (*NOW, "initial", NEVER_STARTED)


def test_claimed(start, states) -> None:
    assert states(start().execution_id) == (*HELD, None)


def test_renewed_and_reported_stays_claimed(ledger, start, states) -> None:
    handle = start()
    ledger.renew(handle)
    ledger.progress(handle, 1)
    ledger.append_frame(handle, leasehold.Frame(b"x"))
    assert states(handle.execution_id) == (*HELD, None)


def test_resumed(ledger, clock, start, states) -> None:
    handle = start(ttl=10)
    clock.advance(10)
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w")
    assert states(handle.execution_id) == (*HELD, None)  # Nothing recorded yet.
    ledger.claim_from_resume_grant(grant, worker_id="w")
    assert states(handle.execution_id) == (*HELD, None)


def test_reclaimed(ledger, clock, start, states, attempt_row) -> None:
    handle = start(ttl=10)
    clock.advance(10)
    ledger.claim(worker_id="w")
    assert states(handle.execution_id) == (*HELD, None)
    assert attempt_row(handle.execution_id, 0)["outcome"] == "interrupted_reclaimed"


def test_lease_expiry_recorded(ledger, clock, start, states) -> None:
    handle = start(ttl=10)
    clock.advance(10)
    ledger.sweep()
    assert states(handle.execution_id) == (*LOST, "attempt_interrupted", None)


def test_lease_revoked_by_an_operator(ledger, start, states) -> None:
    handle = start()
    ledger.revoke_lease(handle.execution_id, **BY)
    assert states(handle.execution_id) == (*REVOKED, "attempt_interrupted", None)


def test_retry_due_at_once(ledger, start, states, core) -> None:
    policy = leasehold.RetryPolicy(backoff=leasehold.Fixed(0))
    handle = start(retry_policy=policy)
    ledger.fail(handle, "flaky", TRANSIENT)
    assert states(handle.execution_id) == (*NOW, "pending_retry_attempt", "retry")
    assert core(handle.execution_id)["attempt_index"] == 1


def test_retry_delayed(ledger, clock, start, states, core) -> None:
    handle = start()
    ledger.fail(handle, "flaky", TRANSIENT)
    assert states(handle.execution_id) == (*LATER, "pending_retry_attempt", "retry")
    assert core(handle.execution_id)["attempt_index"] == 1
    clock.advance(1_000)
    ledger.sweep()
    assert states(handle.execution_id) == (*NOW, "pending_retry_attempt", "retry")
    ledger.claim(worker_id="w")
    assert states(handle.execution_id) == (*HELD, None)


def test_completed(ledger, start, states) -> None:
    handle = start()
    ledger.complete(handle)
    terminal = (*OVER, "completed", "attempt_terminal", "success")
    assert states(handle.execution_id) == terminal


def test_failed(ledger, start, states) -> None:
    handle = start()
    ledger.fail(handle, "broken", PERMANENT)
    assert states(handle.execution_id) == (
        *OVER,
        "failed",
        "attempt_terminal",
        "failed",
    )


def test_failed_past_the_reclaim_cap(ledger, clock, start, states) -> None:
    handle = start(ttl=10, max_reclaim_count=0)
    clock.advance(10)
    ledger.claim(worker_id="w")
    assert states(handle.execution_id) == (
        *OVER,
        "failed",
        "attempt_terminal",
        "interrupted_reclaimed",
    )


CANCELLED = (*OVER, "cancelled", "attempt_terminal")
EXPIRED = (*OVER, "expired", "attempt_terminal")


@pytest.mark.parametrize("held", ["held", "run out", "expiry recorded", "revoked"])
@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_cancelled_or_expired_while_active(
    held, end, ledger, clock, start, states
) -> None:
    handle = start(ttl=10, deadline_at_ms=clock() + 1_000)
    execution_id = handle.execution_id
    if held == "revoked":
        ledger.revoke_lease(execution_id, **BY)
    if held in {"run out", "expiry recorded"}:
        clock.advance(10)
    if held == "expiry recorded":
        ledger.sweep()
    if end == "cancelled":
        ledger.cancel_execution(execution_id, **BY)
        assert states(execution_id) == (*CANCELLED, "cancelled")
        return
    clock.advance(1_000)
    ledger.sweep()
    assert states(execution_id) == (*EXPIRED, "expired")


@pytest.mark.parametrize("delay_ms", [0, 500])
def test_cancelled_while_runnable(delay_ms, ledger, clock, states) -> None:
    execution_id = ledger.create_execution(delay_until_ms=clock() + delay_ms)
    ledger.cancel_execution(execution_id, **BY)
    assert states(execution_id) == (*CANCELLED, NEVER_STARTED)


@pytest.mark.parametrize("delay_ms", [0, 500])
def test_expired_while_runnable(delay_ms, ledger, clock, states) -> None:
    execution_id = ledger.create_execution(
        delay_until_ms=clock() + delay_ms, deadline_at_ms=clock() + 10
    )
    clock.advance(10)
    ledger.sweep()
    assert states(execution_id) == (*EXPIRED, NEVER_STARTED)


def test_cancelled_while_waiting_for_a_retry(ledger, start, states, sql) -> None:
    handle = start()
    ledger.fail(handle, "flaky", TRANSIENT)
    ledger.cancel_execution(handle.execution_id, **BY)
    assert states(handle.execution_id) == (*CANCELLED, "retry")
    assert sql("SELECT count(*) AS n FROM attempt") == [{"n": 1}]


@pytest.mark.parametrize("end", ["success", "failed", "cancelled", "expired"])
def test_replayed_by_an_operator(end, ledger, clock, start, states, core) -> None:
    handle = start(deadline_at_ms=clock() + 1_000)
    execution_id = handle.execution_id
    if end == "success":
        ledger.complete(handle)
    elif end == "failed":
        ledger.fail(handle, "broken", PERMANENT)
    elif end == "cancelled":
        ledger.cancel_execution(execution_id, **BY)
    else:
        clock.advance(1_000)
        ledger.sweep()
    ledger.replay_execution(execution_id, **BY)
    assert states(execution_id) == (*NOW, "pending_replay_attempt", end)
    assert core(execution_id)["attempt_index"] == 1
    ledger.claim(worker_id="w")
    assert states(execution_id) == (*HELD, None)


def test_the_reader_gives_the_same_literals(ledger, start) -> None:
    row = ledger.read.execution(start().execution_id)
    assert tuple(getattr(row, column) for column in COLUMNS) == HELD
    assert row.lifecycle_phase is leasehold.LifecyclePhase.ACTIVE
    assert row.ownership_state is leasehold.OwnershipState.LEASED
    assert row.eligibility_state is leasehold.EligibilityState.NOT_APPLICABLE
    assert row.public_state is leasehold.PublicState.RUNNING
    assert row.attempt_state is leasehold.AttemptState.RUNNING_ATTEMPT
