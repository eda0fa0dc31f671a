"""create_executions: one transaction, all or nothing."""

import uuid

import pytest

import leasehold


def test_a_batch_gives_the_ids_in_order(ledger, sql) -> None:
    ids = ledger.create_executions([{"priority": n} for n in range(5)])
    assert len(set(ids)) == 5
    rows = sql("SELECT execution_id, priority FROM exec_core")
    assert {row["execution_id"]: row["priority"] for row in rows} == {
        str(execution_id): priority for priority, execution_id in enumerate(ids)
    }


def test_an_empty_batch_is_an_empty_list(ledger, event_count) -> None:
    assert ledger.create_executions([]) == []
    assert event_count() == 0


def test_one_bad_member_stops_the_whole_batch(ledger, event_count, sql) -> None:
    with pytest.raises(leasehold.InvalidInputError, match="priority"):
        ledger.create_executions([{}, {"priority": 5}, {"priority": 9_001}])
    assert event_count() == 0
    assert sql("SELECT * FROM exec_core") == []


def test_one_conflict_stops_the_whole_batch(ledger, snapshot) -> None:
    ledger.create_execution(idempotency_key="k", payload=b"1")
    before = snapshot()
    with pytest.raises(leasehold.ConflictError):
        ledger.create_executions(
            [{}, {"idempotency_key": "k", "payload": b"2"}, {"priority": 1}]
        )
    assert snapshot() == before


def test_a_known_member_gives_its_earlier_id(ledger, event_count) -> None:
    known = ledger.create_execution(idempotency_key="k")
    fresh, again = ledger.create_executions([{}, {"idempotency_key": "k"}])
    assert again == known
    assert fresh != known
    assert event_count() == 2


def test_two_equal_members_are_one_execution(ledger, event_count) -> None:
    one, two = ledger.create_executions([{"idempotency_key": "k"}] * 2)
    assert one == two
    assert event_count() == 1


def test_two_members_that_contradict_each_other_are_a_conflict(
    ledger, event_count
) -> None:
    execution_id = uuid.uuid4()
    with pytest.raises(leasehold.ConflictError):
        ledger.create_executions(
            [
                {"execution_id": execution_id, "priority": 1},
                {"execution_id": execution_id, "priority": 2},
            ]
        )
    assert event_count() == 0


def test_a_large_batch_is_claimable_to_the_last(ledger) -> None:
    ids = ledger.create_executions([{}] * 300)
    claimed = {ledger.claim(worker_id="w").execution_id for _ in range(300)}
    assert claimed == set(ids)
    assert ledger.claim(worker_id="w") is None
