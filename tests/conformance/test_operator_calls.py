"""Revoke, cancel, change_priority, replay: what they do, and in which state."""

import json
import uuid

import pytest

import leasehold

BY = {"actor": "ann", "reason": "because"}
CALLS = {
    "revoke": lambda ledger, one: ledger.revoke_lease(one, **BY),
    "cancel": lambda ledger, one: ledger.cancel_execution(one, **BY),
    "priority": lambda ledger, one: ledger.change_priority(one, 77, actor="ann"),
    "replay": lambda ledger, one: ledger.replay_execution(one, **BY),
}
ALLOWED = {
    "pending": {"cancel", "priority"},
    "delayed": {"cancel", "priority"},
    "retrying": {"cancel", "priority"},
    "running": {"revoke", "cancel", "priority"},
    "run out": {"cancel", "priority"},
    "expiry recorded": {"cancel", "priority"},
    "revoked": {"cancel", "priority"},
    "completed": {"replay"},
    "failed": {"replay"},
    "expired": {"replay"},
    # A second cancel is allowed and says nothing new.
    "cancelled": {"replay", "cancel"},
    "replayed": {"cancel", "priority"},
}


@pytest.fixture
def bring_to(ledger, clock, start):
    """Bring a new execution to a state and give its id."""

    def bring(state):
        if state == "pending":
            return ledger.create_execution()
        if state == "delayed":
            return ledger.create_execution(delay_until_ms=clock() + 1_000_000)
        if state == "expired":
            execution_id = ledger.create_execution(deadline_at_ms=clock())
            ledger.sweep()
            return execution_id
        handle = start(ttl=1_000)
        one = handle.execution_id
        if state in {"run out", "expiry recorded"}:
            clock.advance(1_000)
        steps = {
            "retrying": lambda: ledger.fail(
                handle, "r", leasehold.FailureClass.TRANSIENT
            ),
            "expiry recorded": ledger.sweep,
            "revoked": lambda: ledger.revoke_lease(one, **BY),
            "completed": lambda: ledger.complete(handle),
            "failed": lambda: ledger.fail(
                handle, "r", leasehold.FailureClass.PERMANENT
            ),
            "cancelled": lambda: ledger.cancel_execution(one, **BY),
            "replayed": lambda: (
                ledger.complete(handle),
                ledger.replay_execution(one, **BY),
            ),
        }
        steps.get(state, lambda: None)()
        return one

    return bring


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("state", ALLOWED)
def test_each_state_allows_what_it_allows(
    state, operation, ledger, bring_to, snapshot
) -> None:
    execution_id = bring_to(state)
    before = snapshot()
    if operation in ALLOWED[state]:
        assert CALLS[operation](ledger, execution_id) is None
        assert (snapshot() == before) is ((state, operation) == ("cancelled", "cancel"))
        return
    with pytest.raises(leasehold.IllegalTransitionError) as refused:
        CALLS[operation](ledger, execution_id)
    assert refused.value.code == "illegal_transition"
    assert snapshot() == before


@pytest.mark.parametrize("operation", CALLS)
def test_an_unknown_execution_is_not_found(operation, ledger, event_count) -> None:
    with pytest.raises(leasehold.NotFoundError):
        CALLS[operation](ledger, uuid.uuid4())
    assert event_count() == 0


def test_the_operator_who_revoked_is_named_in_the_row(
    ledger, clock, start, lease_rows, attempt_row
) -> None:
    handle = start()
    clock.advance(10)
    ledger.revoke_lease(handle.execution_id, actor="ann", reason="stuck")
    last = lease_rows(handle.execution_id)[-1]
    assert (last["event_type"], last["cause"]) == ("revoked", "operator")
    assert last["actor"] == "ann"
    assert last["lease_id"] == str(handle.lease_id)
    assert last["occurred_at_ms"] == clock()
    row = attempt_row(handle.execution_id)
    assert row["lease_expires_at_ms"] is None
    assert row["outcome"] is None


def test_a_cancel_under_a_live_lease_ends_both(
    ledger, clock, start, core, attempt_row, lease_rows
) -> None:
    handle = start()
    clock.advance(10)
    ledger.cancel_execution(handle.execution_id, actor="ann", reason="not needed")
    row = core(handle.execution_id)
    assert row["terminal_at_ms"] == clock()
    assert json.loads(row["raw_fields"]) == {"cancellation_reason": "not needed"}
    assert attempt_row(handle.execution_id)["outcome"] == "cancelled"
    last = lease_rows(handle.execution_id)[-1]
    assert (last["event_type"], last["cause"]) == ("revoked", "cancelled")
    assert last["actor"] == "ann"
    with pytest.raises(leasehold.ExecutionNotActiveError):
        ledger.complete(handle)


def test_a_second_cancel_keeps_the_first_reason(ledger, start, core) -> None:
    handle = start()
    ledger.cancel_execution(handle.execution_id, actor="ann", reason="first")
    ledger.cancel_execution(handle.execution_id, actor="bob", reason="second")
    raw = json.loads(core(handle.execution_id)["raw_fields"])
    assert raw["cancellation_reason"] == "first"


def test_a_cancelled_execution_is_claimed_by_nobody(ledger, clock) -> None:
    waiting = ledger.create_execution()
    delayed = ledger.create_execution(delay_until_ms=clock() + 10)
    for one in (waiting, delayed):
        ledger.cancel_execution(one, actor="ann", reason="not needed")
    clock.advance(100)
    assert ledger.claim(worker_id="w") is None
    assert ledger.read.attempts(waiting) == []


def test_a_new_priority_decides_the_next_claim(ledger, topics, core) -> None:
    first, second = ledger.create_execution(), ledger.create_execution()
    ledger.change_priority(second, 10, actor="ann")
    assert core(second)["priority"] == 10
    assert topics(second)[-1] == "execution.reprioritised"
    assert ledger.claim(worker_id="w").execution_id == second
    assert ledger.claim(worker_id="w").execution_id == first


def test_the_same_priority_again_is_nothing_new(ledger, snapshot) -> None:
    execution_id = ledger.create_execution(priority=4)
    before = snapshot()
    ledger.change_priority(execution_id, 4, actor="ann")
    assert snapshot() == before


def test_a_priority_set_while_delayed_holds_when_due(ledger, clock) -> None:
    delayed = ledger.create_execution(delay_until_ms=clock() + 10)
    ledger.create_execution()
    ledger.change_priority(delayed, 10, actor="ann")
    clock.advance(10)
    assert ledger.claim(worker_id="w").execution_id == delayed


def test_a_replay_reopens_with_the_next_attempt(
    ledger, clock, start, core, attempt_row, event_count
) -> None:
    handle = start(
        ttl=1_000, deadline_at_ms=clock() + 100_000, tags={"a": "b"}, payload=b"in"
    )
    started = clock()
    clock.advance(1_000)
    second = ledger.claim(worker_id="w2")
    ledger.progress(second, 90)
    ledger.complete(second, b"out")
    events = event_count()
    clock.advance(500)

    ledger.replay_execution(handle.execution_id, actor="ann", reason="again")

    row = core(handle.execution_id)
    assert row["attempt_index"] == 2
    assert row["terminal_at_ms"] is None
    assert row["result"] is None
    assert row["deadline_at_ms"] is None
    assert row["lease_reclaim_count"] == 0
    assert row["payload"] == b"in"
    assert row["tags"] == '{"a":"b"}'
    assert row["started_at_ms"] == started
    assert event_count() == events + 1
    assert attempt_row(handle.execution_id, 1)["outcome"] == "success"
    new = ledger.claim(worker_id="w3")
    assert new.kind is leasehold.HandleKind.FRESH
    assert (new.attempt_index, new.lease_epoch) == (2, 3)


def test_a_replay_of_one_that_never_started_begins_at_attempt_0(ledger, core) -> None:
    execution_id = ledger.create_execution()
    ledger.cancel_execution(execution_id, actor="ann", reason="not needed")
    ledger.replay_execution(execution_id, actor="ann", reason="needed after all")
    assert core(execution_id)["attempt_index"] == 0
    handle = ledger.claim(worker_id="w")
    assert (handle.attempt_index, handle.lease_epoch) == (0, 1)


def test_a_replay_of_a_cancelled_retry_is_one_after_the_last_started(
    ledger, start, core
) -> None:
    handle = start()
    ledger.fail(handle, "flaky", leasehold.FailureClass.TRANSIENT)
    ledger.cancel_execution(handle.execution_id, actor="ann", reason="not needed")
    ledger.replay_execution(handle.execution_id, actor="ann", reason="again")
    assert core(handle.execution_id)["attempt_index"] == 1
    assert ledger.claim(worker_id="w").attempt_index == 1


def test_a_replayed_execution_has_its_reclaims_back(ledger, clock, start) -> None:
    handle = start(ttl=1_000, max_reclaim_count=1)
    clock.advance(1_000)
    ledger.complete(ledger.claim(worker_id="w"))
    ledger.replay_execution(handle.execution_id, actor="ann", reason="again")
    assert ledger.claim(worker_id="w", lease_ttl_ms=1_000).attempt_index == 2
    clock.advance(1_000)
    assert ledger.claim(worker_id="w").attempt_index == 3
