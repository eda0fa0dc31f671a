"""The tree of errors, their codes, and what their words tell."""

import datetime as dt
import pickle
import uuid

import pytest

import leasehold

TREE = {
    "InvalidInputError": ("LeaseholdError", ValueError, "invalid_input"),
    "NotFoundError": ("LeaseholdError", LookupError, "not_found"),
    "ConflictError": ("LeaseholdError", Exception, "conflict"),
    "ContentionError": ("LeaseholdError", Exception, None),
    "LeaseConflictError": ("ContentionError", Exception, "lease_conflict"),
    "LeaseExpiredError": ("ContentionError", Exception, "lease_expired"),
    "LeaseRevokedError": ("ContentionError", Exception, "lease_revoked"),
    "ExecutionNotActiveError": ("ContentionError", Exception, "execution_not_active"),
    "InvalidGrantError": ("ContentionError", Exception, "invalid_grant"),
    "IllegalTransitionError": ("LeaseholdError", Exception, "illegal_transition"),
    "StoreError": ("LeaseholdError", Exception, None),
}


@pytest.mark.parametrize("name", TREE)
def test_every_error_stands_in_its_place(name) -> None:
    above, builtin, code = TREE[name]
    error = getattr(leasehold, name)
    assert issubclass(error, getattr(leasehold, above))
    assert issubclass(error, builtin)
    if code:
        assert error.code == code
    assert issubclass(leasehold.LeaseholdError, Exception)


def mentions_time(message, at_ms):
    """Tell whether a message names a time, as milliseconds or as a date."""
    moment = dt.datetime.fromtimestamp(at_ms / 1000, tz=dt.UTC)
    written = {str(at_ms), f"{at_ms:,}", moment.strftime("%Y-%m-%dT%H:%M:%S")}
    written.add(moment.strftime("%Y-%m-%d %H:%M:%S"))
    return any(text in message for text in written)


def refusal(call):
    with pytest.raises(leasehold.ContentionError) as refused:
        call()
    assert refused.value.retryable is False
    return str(refused.value)


def test_an_expired_lease_names_lapse_epoch_and_holder(ledger, clock, start) -> None:
    handle = start(worker="slow-worker", ttl=1_000)
    lapse = clock.advance(1_000)
    clock.advance(250_000)
    message = refusal(lambda: ledger.renew(handle))
    assert mentions_time(message, lapse)
    assert "epoch 1" in message
    assert "slow-worker" in message


def test_a_conflict_names_the_current_epoch_holder_and_lapse(
    ledger, clock, start
) -> None:
    old = start(worker="slow-worker", ttl=1_000)
    clock.advance(1_000)
    new = ledger.claim(worker_id="quick-worker", lease_ttl_ms=5_000)
    message = refusal(lambda: ledger.complete(old))
    assert "epoch 2" in message
    assert "quick-worker" in message
    assert mentions_time(message, new.lease_expires_at_ms) or mentions_time(
        message, old.lease_expires_at_ms
    )


def test_a_revoked_lease_names_when_and_whose(ledger, clock, start) -> None:
    handle = start(worker="stuck-worker")
    revoked = clock.advance(4_000)
    ledger.revoke_lease(handle.execution_id, actor="ann", reason="stuck")
    clock.advance(9_000)
    message = refusal(lambda: ledger.renew(handle))
    assert mentions_time(message, revoked)
    assert "epoch 1" in message
    assert "stuck-worker" in message


def test_an_execution_that_is_not_active_names_its_state(ledger, start) -> None:
    handle = start()
    ledger.cancel_execution(handle.execution_id, actor="ann", reason="enough")
    message = refusal(lambda: ledger.renew(handle))
    assert "cancelled" in message
    assert str(handle.execution_id) in message


def test_an_unknown_execution_is_named(ledger) -> None:
    unknown = uuid.uuid4()
    with pytest.raises(leasehold.NotFoundError, match=str(unknown)) as refused:
        ledger.cancel_execution(unknown, actor="ann", reason="r")
    assert refused.value.retryable is False


def test_a_conflict_of_creation_names_the_key_and_the_execution(ledger) -> None:
    execution_id = ledger.create_execution(idempotency_key="order-17", payload=b"1")
    with pytest.raises(leasehold.ConflictError, match="order-17") as refused:
        ledger.create_execution(idempotency_key="order-17", payload=b"2")
    assert str(execution_id) in str(refused.value)
    assert refused.value.retryable is False


def test_an_illegal_transition_names_the_state(ledger, start) -> None:
    handle = start()
    ledger.complete(handle)
    with pytest.raises(leasehold.IllegalTransitionError, match="completed"):
        ledger.cancel_execution(handle.execution_id, actor="ann", reason="r")


def test_bad_input_names_what_was_given_and_what_is_right(ledger) -> None:
    with pytest.raises(leasehold.InvalidInputError) as refused:
        ledger.create_execution(priority=9_001)
    message = str(refused.value)
    assert "priority" in message
    assert "9001" in message.replace(",", "")
    assert "9000" in message.replace(",", "")


def test_errors_cross_processes(ledger, clock, start) -> None:
    handle = start(ttl=1_000)
    clock.advance(1_000)
    errors = []
    with pytest.raises(leasehold.LeaseholdError) as refused:
        ledger.renew(handle)
    errors.append(refused.value)
    ledger.cancel_execution(handle.execution_id, actor="ann", reason="r")
    with pytest.raises(leasehold.LeaseholdError) as refused:
        ledger.renew(handle)
    errors.append(refused.value)
    with pytest.raises(leasehold.LeaseholdError) as refused:
        leasehold.Handle.parse("nonsense")
    errors.append(refused.value)
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.code == error.code
        assert again.retryable == error.retryable
