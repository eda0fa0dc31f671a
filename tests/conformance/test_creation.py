"""Creation: what a new execution looks like, and when it is the earlier one."""

import json
import uuid

import pytest

import leasehold


def test_a_new_execution_has_the_defaults_of_the_contract(ledger, clock, core) -> None:
    execution_id = ledger.create_execution()

    assert isinstance(execution_id, uuid.UUID)
    row = core(execution_id)
    assert row["namespace"] == "default"
    assert row["lane_id"] == "default"
    assert row["priority"] == 0
    assert row["attempt_index"] == 0
    assert row["lease_reclaim_count"] == 0
    assert row["created_at_ms"] == clock()
    assert row["eligible_at_ms"] == clock()
    assert row["payload"] == b""
    assert row["raw_fields"] == "{}"
    for empty in ("started_at_ms", "deadline_at_ms", "terminal_at_ms", "result"):
        assert row[empty] is None


def test_a_drawn_id_is_a_uuid_of_version_7_in_lower_case_text(ledger, sql) -> None:
    execution_id = ledger.create_execution()
    assert execution_id.version == 7
    (row,) = sql("SELECT execution_id FROM exec_core")
    assert row["execution_id"] == str(execution_id)


def test_what_was_given_is_what_is_stored(ledger, clock, core) -> None:
    given = uuid.uuid4()
    execution_id = ledger.create_execution(
        lane_id="images",
        payload=b"\x00\xff bytes",
        priority=-7,
        execution_id=given,
        deadline_at_ms=clock() + 60_000,
        namespace="tenant-1",
        tags={"team": "blue", "a": "Grüße"},
    )

    assert execution_id == given
    row = core(given)
    assert row["lane_id"] == "images"
    assert row["payload"] == b"\x00\xff bytes"
    assert row["priority"] == -7
    assert row["deadline_at_ms"] == clock() + 60_000
    assert row["namespace"] == "tenant-1"
    assert json.loads(row["tags"]) == {"a": "Grüße", "team": "blue"}
    assert row["tags"].startswith('{"a":')
    assert ", " not in row["tags"]


def test_a_delayed_execution_waits_for_its_time(ledger, clock, core) -> None:
    execution_id = ledger.create_execution(delay_until_ms=clock() + 500)
    assert core(execution_id)["public_state"] == "delayed"
    assert core(execution_id)["eligible_at_ms"] == clock() + 500

    clock.advance(499)
    assert ledger.claim(worker_id="w") is None
    clock.advance(1)
    assert ledger.claim(worker_id="w").execution_id == execution_id


@pytest.mark.parametrize("offset", [-1_000_000, -1, 0])
def test_a_delay_in_the_past_is_no_delay(offset, ledger, clock, core) -> None:
    execution_id = ledger.create_execution(delay_until_ms=clock() + offset)
    assert core(execution_id)["public_state"] == "pending"
    assert core(execution_id)["eligible_at_ms"] == clock()


EVERYTHING = {
    "lane_id": "lane",
    "payload": b"p",
    "capabilities": ("a", "b"),
    "priority": 3,
    "delay_until_ms": 1_700_000_005_000,
    "deadline_at_ms": 1_700_000_100_000,
    "retry_policy": leasehold.RetryPolicy(max_retries=2),
    "max_reclaim_count": 5,
    "namespace": "tenant",
    "tags": {"k": "v"},
    "actor": "somebody",
}
OTHERWISE = {
    "lane_id": "other",
    "payload": b"q",
    "capabilities": ("a",),
    "priority": 4,
    "delay_until_ms": 1_700_000_005_001,
    "deadline_at_ms": 1_700_000_100_001,
    "retry_policy": leasehold.RetryPolicy(max_retries=1),
    "max_reclaim_count": 6,
    "tags": {"k": "w"},
    "actor": "somebody else",
}


@pytest.mark.parametrize(
    "identity", [{"execution_id": uuid.uuid4()}, {"idempotency_key": "order-17"}]
)
def test_equal_arguments_give_the_earlier_id_and_no_new_event(
    identity, ledger, clock, snapshot
) -> None:
    first = ledger.create_execution(**EVERYTHING, **identity)
    before = snapshot()
    clock.advance(50_000)

    assert ledger.create_execution(**EVERYTHING, **identity) == first

    assert snapshot() == before


@pytest.mark.parametrize("changed", sorted(OTHERWISE))
@pytest.mark.parametrize(
    "identity", [{"execution_id": uuid.uuid4()}, {"idempotency_key": "order-17"}]
)
def test_another_argument_under_the_same_identity_is_a_conflict(
    identity, changed, ledger, snapshot
) -> None:
    ledger.create_execution(**EVERYTHING, **identity)
    before = snapshot()
    again = {**EVERYTHING, **identity, changed: OTHERWISE[changed]}

    with pytest.raises(leasehold.ConflictError) as refused:
        ledger.create_execution(**again)

    assert refused.value.code == "conflict"
    assert snapshot() == before


def test_another_namespace_under_the_same_explicit_id_is_a_conflict(ledger) -> None:
    execution_id = ledger.create_execution(namespace="one")
    with pytest.raises(leasehold.ConflictError):
        ledger.create_execution(execution_id=execution_id, namespace="two")


def test_an_idempotency_key_belongs_to_its_namespace(ledger) -> None:
    one = ledger.create_execution(idempotency_key="k", namespace="one")
    two = ledger.create_execution(idempotency_key="k", namespace="two")
    assert one != two


def test_a_key_given_to_another_explicit_id_is_a_conflict(ledger, snapshot) -> None:
    ledger.create_execution(idempotency_key="k", execution_id=uuid.uuid4())
    before = snapshot()
    with pytest.raises(leasehold.ConflictError):
        ledger.create_execution(idempotency_key="k", execution_id=uuid.uuid4())
    assert snapshot() == before


def test_a_known_id_with_another_key_is_a_conflict(ledger, snapshot) -> None:
    execution_id = ledger.create_execution(idempotency_key="k")
    before = snapshot()
    with pytest.raises(leasehold.ConflictError):
        ledger.create_execution(idempotency_key="l", execution_id=execution_id)
    assert snapshot() == before


def test_the_earlier_id_is_given_also_when_the_execution_has_ended(ledger) -> None:
    first = ledger.create_execution(idempotency_key="k")
    ledger.complete(ledger.claim(worker_id="w"))
    assert ledger.create_execution(idempotency_key="k") == first
    assert ledger.read.execution(first).public_state == "completed"


def test_the_order_of_capabilities_is_no_other_argument(ledger) -> None:
    first = ledger.create_execution(idempotency_key="k", capabilities=("a", "b"))
    again = ledger.create_execution(idempotency_key="k", capabilities=("b", "a"))
    assert again == first


def test_racing_creators_get_one_id(ledger, sql) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(ledger.create_execution, idempotency_key="k", payload=b"x")
            for _ in range(24)
        ]
        ids = {call.result() for call in calls}
    assert len(ids) == 1
    assert sql("SELECT count(*) AS n FROM exec_core") == [{"n": 1}]


def test_racing_creators_that_differ_end_in_an_id_or_a_conflict(ledger, sql) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def create(number):
        try:
            return ledger.create_execution(idempotency_key="k", priority=number)
        except leasehold.ConflictError:
            return None

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(create, range(16)))
    assert len([drawn for drawn in ids if drawn is not None]) == 1
    assert sql("SELECT count(*) AS n FROM exec_core") == [{"n": 1}]
