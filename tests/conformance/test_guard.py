"""The guard of the five worker calls: each refusal, and which comes first."""

import uuid

import pytest

import leasehold

OPERATIONS = ("renew", "progress", "append_frame", "complete", "fail")
VALKEY = leasehold.BackendTag.VALKEY
NAMES = {"SQLITE": "SQLite", "POSTGRES": "Postgre", "VALKEY": "Valkey"}

every_operation = pytest.mark.parametrize("operation", OPERATIONS)


def refusal(call, ledger, operation, handle):
    with pytest.raises(leasehold.LeaseholdError) as refused:
        call(ledger, operation, handle)
    return refused.value


@every_operation
def test_the_holder_is_let_through(operation, ledger, start, call, event_count) -> None:
    handle = start()
    before = event_count()
    call(ledger, operation, handle)
    assert event_count() > before


@every_operation
@pytest.mark.parametrize("damage", ["empty", "cut", "longer", "flipped", "no bytes"])
def test_a_handle_that_does_not_decode_is_corrupt(
    operation, damage, ledger, start, call, snapshot
) -> None:
    handle = start()
    damaged = {
        "empty": b"",
        "cut": handle.opaque[:-1],
        "longer": handle.opaque + b"\0",
        "flipped": bytes([handle.opaque[0] ^ 1]) + handle.opaque[1:],
        "no bytes": "text",
    }
    before = snapshot()
    with pytest.raises(leasehold.InvalidInputError) as refused:
        call(ledger, operation, handle.replace(opaque=damaged[damage]))
    assert refused.value.code == "corrupt_handle"
    assert snapshot() == before


@every_operation
def test_a_handle_of_another_backend_is_refused_by_name(
    operation, backend, ledger, start, call, snapshot
) -> None:
    handle = start()
    before = snapshot()
    for other in set(leasehold.BackendTag) - {backend}:
        named = NAMES[other.name]
        with pytest.raises(leasehold.InvalidInputError, match=named) as refused:
            call(ledger, operation, handle.replace(backend=other))
        assert refused.value.code == "handle_from_other_backend"
    assert snapshot() == before


@every_operation
@pytest.mark.parametrize("unknown", ["execution", "attempt"])
def test_an_unknown_execution_or_attempt_is_not_found(
    operation, unknown, ledger, start, call, snapshot
) -> None:
    handle = start()
    other = (
        handle.replace(execution_id=uuid.uuid4())
        if unknown == "execution"
        else handle.replace(attempt_index=1)
    )
    before = snapshot()
    error = refusal(call, ledger, operation, other)
    assert isinstance(error, leasehold.NotFoundError)
    assert error.code == "not_found"
    assert snapshot() == before


@every_operation
def test_an_execution_that_ended_is_not_active(
    operation, ledger, start, call, mismatched
) -> None:
    handle = start()
    ledger.cancel_execution(handle.execution_id, actor="ann", reason="enough")
    error = refusal(call, ledger, operation, handle)
    assert isinstance(error, leasehold.ExecutionNotActiveError)
    assert error.code == "execution_not_active"
    assert error.lifecycle_phase == "terminal"
    assert error.public_state == "cancelled"
    assert refusal(call, ledger, operation, mismatched(handle)).code == error.code


@every_operation
def test_an_execution_that_waits_for_its_retry_is_not_active(
    operation, ledger, start, call
) -> None:
    handle = start()
    ledger.fail(handle, "once", leasehold.FailureClass.TRANSIENT)
    error = refusal(call, ledger, operation, handle)
    assert isinstance(error, leasehold.ExecutionNotActiveError)
    assert error.lifecycle_phase == "runnable"
    assert error.public_state == "delayed"


@every_operation
def test_a_revoked_lease_is_refused_as_revoked(operation, ledger, start, call) -> None:
    handle = start()
    ledger.revoke_lease(handle.execution_id, actor="ann", reason="stuck")
    error = refusal(call, ledger, operation, handle)
    assert isinstance(error, leasehold.LeaseRevokedError)
    assert error.code == "lease_revoked"


@every_operation
def test_another_lease_is_a_conflict(
    operation, ledger, start, call, mismatched
) -> None:
    error = refusal(call, ledger, operation, mismatched(start()))
    assert isinstance(error, leasehold.LeaseConflictError)
    assert error.code == "lease_conflict"


@every_operation
@pytest.mark.parametrize("field", ["lease_id", "lease_epoch"])
def test_a_guess_of_one_part_of_the_fence_opens_nothing(
    operation, field, ledger, start, call
) -> None:
    handle = start()
    guess = {"lease_id": uuid.uuid4(), "lease_epoch": 2}[field]
    error = refusal(call, ledger, operation, handle.replace(**{field: guess}))
    assert error.code == "lease_conflict"


@every_operation
def test_the_right_lease_on_an_earlier_attempt_is_a_conflict(
    operation, ledger, clock, start, call
) -> None:
    start(ttl=1_000)
    clock.advance(1_000)
    new = ledger.claim(worker_id="w2")
    assert new.attempt_index == 1
    error = refusal(call, ledger, operation, new.replace(attempt_index=0))
    assert error.code == "lease_conflict"


@every_operation
def test_the_handle_from_before_a_take_over_is_a_conflict(
    operation, ledger, clock, start, call
) -> None:
    old = start(ttl=1_000)
    clock.advance(1_000)
    new = ledger.claim(worker_id="w2")
    assert refusal(call, ledger, operation, old).code == "lease_conflict"
    ledger.complete(new)


@every_operation
def test_the_handle_from_before_a_resume_is_a_conflict(
    operation, ledger, clock, start, call
) -> None:
    old = start(ttl=1_000)
    clock.advance(1_000)
    grant = ledger.issue_resume_grant(old.execution_id, worker_id="w2")
    new = ledger.claim_from_resume_grant(grant, worker_id="w2")
    assert refusal(call, ledger, operation, old).code == "lease_conflict"
    ledger.complete(new)


@every_operation
def test_a_lease_counts_to_its_last_ms_and_not_at_its_expiry(
    operation, ledger, clock, start, call
) -> None:
    late, early = start(ttl=1_000), start(ttl=1_000)
    clock.advance(999)
    call(ledger, operation, early)
    clock.advance(1)
    error = refusal(call, ledger, operation, late)
    assert isinstance(error, leasehold.LeaseExpiredError)
    assert error.code == "lease_expired"


@every_operation
def test_a_lease_whose_expiry_was_recorded_stays_expired(
    operation, ledger, clock, start, call
) -> None:
    handle = start(ttl=1_000)
    clock.advance(5_000)
    ledger.sweep()
    assert refusal(call, ledger, operation, handle).code == "lease_expired"


def broken(handle):
    return handle.replace(opaque=handle.opaque[:-1])


@every_operation
def test_the_steps_of_the_guard_come_in_their_order(
    operation, ledger, clock, start, call, mismatched
) -> None:
    handle = start(ttl=1_000)
    gone = handle.replace(execution_id=uuid.uuid4(), backend=VALKEY)

    def code(presented):
        return refusal(call, ledger, operation, presented).code

    assert code(broken(gone)) == "corrupt_handle"
    assert code(gone) == "handle_from_other_backend"

    clock.advance(2_000)
    assert code(mismatched(handle)) == "lease_conflict"
    assert code(handle) == "lease_expired"

    new = ledger.claim(worker_id="w2", lease_ttl_ms=1_000)
    ledger.revoke_lease(new.execution_id, actor="ann", reason="stuck")
    clock.advance(2_000)
    assert code(mismatched(new)) == "lease_revoked"
    assert code(handle) == "lease_revoked"
    assert code(new) == "lease_revoked"

    ledger.cancel_execution(new.execution_id, actor="ann", reason="enough")
    assert code(new) == "execution_not_active"
    assert code(mismatched(new)) == "execution_not_active"
    assert code(new.replace(attempt_index=7)) == "not_found"


@every_operation
def test_a_refused_call_leaves_the_holder_as_it_was(
    operation, ledger, start, call, mismatched, core, attempt_row
) -> None:
    handle = start()
    before = core(handle.execution_id), attempt_row(handle.execution_id)
    refusal(call, ledger, operation, mismatched(handle))
    assert (core(handle.execution_id), attempt_row(handle.execution_id)) == before
    ledger.complete(handle)
