"""Claiming: which execution a worker gets, and who gets none."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

import leasehold


def claim_all(ledger, **arguments):
    claimed = []
    while handle := ledger.claim(**{"worker_id": "w", **arguments}):
        claimed.append(handle.execution_id)
    return claimed


def test_the_higher_priority_goes_first(ledger) -> None:
    ids = {n: ledger.create_execution(priority=n) for n in (0, 9_000, -9_000, 5)}
    assert claim_all(ledger) == [ids[9_000], ids[5], ids[0], ids[-9_000]]


def test_among_equals_the_oldest_goes_first(ledger, clock) -> None:
    created = []
    for low_first in (3, 1, 2):
        created.append(ledger.create_execution(execution_id=uuid.UUID(int=low_first)))
        clock.advance(1)
    assert claim_all(ledger) == created


def test_among_those_of_one_age_the_lowest_id_goes_first(ledger) -> None:
    given = [uuid.UUID(int=n << 100) for n in (7, 3, 15, 9)]
    for execution_id in given:
        ledger.create_execution(execution_id=execution_id)
    assert claim_all(ledger) == sorted(given)


def test_a_retried_execution_keeps_its_age(ledger, clock, start) -> None:
    policy = leasehold.RetryPolicy(backoff=leasehold.Fixed(0))
    handle = start(retry_policy=policy)
    clock.advance(10)
    younger = ledger.create_execution()
    ledger.fail(handle, "again", leasehold.FailureClass.TRANSIENT)
    assert claim_all(ledger) == [handle.execution_id, younger]


def test_a_delayed_execution_is_as_old_as_its_creation(ledger, clock) -> None:
    delayed = ledger.create_execution(delay_until_ms=clock() + 100)
    clock.advance(50)
    younger = ledger.create_execution()
    clock.advance(50)
    assert claim_all(ledger) == [delayed, younger]


def test_a_claim_takes_from_its_lane_alone(ledger) -> None:
    ledger.create_execution(lane_id="one", priority=9)
    two = ledger.create_execution(lane_id="two")
    assert claim_all(ledger, lane_id="two") == [two]
    assert ledger.claim("three", worker_id="w") is None


@pytest.mark.parametrize(
    ("needed", "offered", "served"),
    [
        ((), (), True),
        ((), ("gpu",), True),
        (("gpu",), ("gpu", "cpu"), True),
        (("a", "b"), ("b", "c", "a"), True),
        (("a", "a"), ("a",), True),
        (("a", "b"), ("a",), False),
        (("gpu",), (), False),
        (("gpu",), ("GPU",), False),
        (("gpu",), ("gpu1",), False),
        (("gpu1",), ("gpu",), False),
        (("gpu",), ("gp", "u"), False),
        (("\u00e9",), ("\u00e9",), True),
        (("\u00e9",), ("e\u0301",), False),
        (("%",), ("a",), False),
        (("_",), ("a",), False),
        (('"a"',), ("a",), False),
        (("*",), ("a",), False),
    ],
)
def test_capabilities_are_matched_byte_for_byte(
    needed, offered, served, ledger
) -> None:
    execution_id = ledger.create_execution(capabilities=needed)
    handle = ledger.claim(capabilities=offered, worker_id="w")
    assert (handle is not None) is served
    if served:
        assert handle.execution_id == execution_id


def test_the_best_of_several_capability_sets_is_taken(ledger, clock) -> None:
    sets = [("a",), ("b",), ("a", "b"), (), ("c",)]
    ids = []
    for number, capabilities in enumerate(sets * 3):
        ids.append(
            ledger.create_execution(capabilities=capabilities, priority=number % 4)
        )
        clock.advance(1)
    servable = [n for n in range(15) if n % 5 != 4]
    expected = [ids[n] for n in sorted(servable, key=lambda n: (-(n % 4), n))]
    assert claim_all(ledger, capabilities=("b", "a")) == expected


def test_nothing_to_take_writes_nothing(ledger, clock, snapshot) -> None:
    ledger.create_execution(delay_until_ms=clock() + 1_000)
    ledger.create_execution(lane_id="other")
    ledger.create_execution(capabilities=("gpu",))
    before = snapshot()
    assert ledger.claim(worker_id="w") is None
    assert snapshot() == before


def test_a_leased_execution_is_nobody_elses(ledger, start) -> None:
    start()
    assert ledger.claim(worker_id="other") is None


def test_the_handle_tells_what_was_stored(ledger, clock, attempt_row, core) -> None:
    execution_id = ledger.create_execution()
    clock.advance(7)

    handle = ledger.claim(worker_id="w", worker_instance_id="w-1", lease_ttl_ms=2_000)

    assert handle.attempt_index == 0
    assert handle.lease_epoch == 1
    assert handle.lease_id.version == 4
    assert handle.lease_expires_at_ms == clock() + 2_000
    row = attempt_row(execution_id)
    assert row["worker_id"] == "w"
    assert row["worker_instance_id"] == "w-1"
    assert row["lease_id"] == str(handle.lease_id)
    assert row["lease_epoch"] == 1
    assert row["lease_expires_at_ms"] == clock() + 2_000
    assert row["started_at_ms"] == clock()
    assert row["terminal_at_ms"] is None
    assert core(execution_id)["started_at_ms"] == clock()


def test_a_lease_runs_half_a_minute_unless_said(ledger, clock) -> None:
    ledger.create_execution()
    handle = ledger.claim(worker_id="w")
    assert handle.lease_expires_at_ms == clock() + 30_000


def test_the_first_claim_stays_the_start_of_the_execution(
    ledger, clock, start, core
) -> None:
    handle = start(retry_policy=leasehold.RetryPolicy(backoff=leasehold.Fixed(0)))
    first = clock()
    clock.advance(100)
    ledger.fail(handle, "again", leasehold.FailureClass.TRANSIENT)
    clock.advance(100)
    assert ledger.claim(worker_id="w").execution_id == handle.execution_id
    assert core(handle.execution_id)["started_at_ms"] == first


def test_two_claims_in_threads_never_get_the_same_execution(ledger) -> None:
    ids = ledger.create_executions([{}] * 60)

    def work(number):
        return claim_all(ledger, worker_id=f"w{number}")

    with ThreadPoolExecutor(6) as pool:
        taken = [one for some in pool.map(work, range(6)) for one in some]
    assert sorted(taken) == sorted(ids)
