"""What a claim records first: deadlines, delays and leases that have come due."""

import pytest

import leasehold


def topics_since(ledger, position):
    return [event.topic for event in ledger.read.events(after=position)]


def last_position(ledger):
    events = ledger.read.events(limit=1_000_000)
    return events[-1].position if events else 0


def test_a_delay_that_came_due_is_recorded_and_claimed(ledger, clock, topics) -> None:
    execution_id = ledger.create_execution(delay_until_ms=clock() + 10)
    clock.advance(10)
    assert ledger.claim(worker_id="w").execution_id == execution_id
    assert topics(execution_id) == [
        "execution.created",
        "execution.became_eligible",
        "execution.claimed",
        "attempt.started",
    ]


def test_due_delays_are_recorded_also_where_nothing_can_be_taken(
    ledger, clock, core
) -> None:
    execution_id = ledger.create_execution(
        delay_until_ms=clock() + 10, capabilities=("gpu",)
    )
    clock.advance(10)
    assert ledger.claim(worker_id="w") is None
    assert core(execution_id)["public_state"] == "pending"
    assert core(execution_id)["eligibility_state"] == "eligible_now"


@pytest.mark.parametrize("late_ms", [0, 1, 10_000])
def test_an_execution_past_its_deadline_is_never_claimed(
    late_ms, ledger, clock, core
) -> None:
    execution_id = ledger.create_execution(deadline_at_ms=clock() + 100)
    clock.advance(100 + late_ms)
    assert ledger.claim(worker_id="w") is None
    assert core(execution_id)["public_state"] == "expired"


def test_a_deadline_one_ms_away_does_not_stop_a_claim(ledger, clock) -> None:
    execution_id = ledger.create_execution(deadline_at_ms=clock() + 100)
    clock.advance(99)
    assert ledger.claim(worker_id="w").execution_id == execution_id


def test_a_deadline_passes_also_while_delayed(ledger, clock, core) -> None:
    execution_id = ledger.create_execution(
        delay_until_ms=clock() + 500, deadline_at_ms=clock() + 100
    )
    clock.advance(100)
    assert ledger.claim(worker_id="w") is None
    assert core(execution_id)["public_state"] == "expired"


def test_a_deadline_set_in_the_past_expires_at_the_first_claim(
    ledger, clock, core
) -> None:
    execution_id = ledger.create_execution(deadline_at_ms=clock() - 1)
    assert core(execution_id)["public_state"] == "pending"
    assert ledger.claim(worker_id="w") is None
    assert core(execution_id)["public_state"] == "expired"


def test_a_deadline_ends_the_lease_of_its_holder(
    ledger, clock, start, lease_story, attempt_row
) -> None:
    handle = start(deadline_at_ms=clock() + 1_000)
    clock.advance(1_000)
    ledger.renew(handle)  # Accepted until somebody records the deadline.

    assert ledger.claim(worker_id="other") is None

    with pytest.raises(leasehold.ExecutionNotActiveError):
        ledger.renew(handle)
    assert lease_story(handle.execution_id)[-2:] == [
        ("revoked", "deadline"),
        ("refused", "execution_not_active"),
    ]
    row = attempt_row(handle.execution_id)
    assert row["outcome"] == "expired"
    assert row["lease_expires_at_ms"] is None


def test_a_deadline_comes_before_the_lease_that_ran_out(ledger, clock, start) -> None:
    handle = start(deadline_at_ms=clock() + 1_000, ttl=500)
    clock.advance(1_000)
    position = last_position(ledger)
    assert ledger.claim(worker_id="other") is None
    assert topics_since(ledger, position) == [
        "attempt.deadline_passed",
        "execution.expired",
    ]
    assert ledger.read.execution(handle.execution_id).public_state == "expired"


def test_only_the_lane_of_the_claim_is_looked_at(ledger, clock, snapshot) -> None:
    ledger.create_execution(lane_id="other", delay_until_ms=clock() + 10)
    ledger.create_execution(lane_id="other", deadline_at_ms=clock() + 10)
    clock.advance(20)
    before = snapshot()
    assert ledger.claim(worker_id="w") is None
    assert snapshot() == before


def test_a_claim_records_at_most_a_hundred_delays_longest_due_first(
    ledger, clock, sql
) -> None:
    # Created the latest first, so that the order of creation is not the order due.
    base = clock()
    ledger.create_executions(
        [
            {"delay_until_ms": base + 130 - n, "capabilities": ("gpu",)}
            for n in range(130)
        ]
    )
    clock.advance(1_000)
    left = "SELECT eligible_at_ms AS due FROM exec_core WHERE public_state = 'delayed'"

    assert ledger.claim(worker_id="w") is None
    due = sorted(row["due"] - base for row in sql(left))
    assert due == list(range(101, 131))

    assert ledger.claim(worker_id="w") is None
    assert sql(left) == []


def test_a_claim_records_at_most_a_hundred_deadlines_longest_due_first(
    ledger, clock, sql
) -> None:
    base = clock()
    ledger.create_executions([{"deadline_at_ms": base + 130 - n} for n in range(130)])
    clock.advance(1_000)

    assert ledger.claim(worker_id="w") is None  # Never one past its deadline.

    left = sql("SELECT deadline_at_ms FROM exec_core WHERE public_state = 'pending'")
    assert sorted(row["deadline_at_ms"] - base for row in left) == list(range(101, 131))


def test_a_claim_records_at_most_a_hundred_leases_longest_due_first(
    ledger, clock, sql
) -> None:
    base = clock()
    ledger.create_executions([{"capabilities": ("gpu",)}] * 130)
    for n in range(130):
        handle = ledger.claim(
            capabilities=("gpu",), worker_id="w", lease_ttl_ms=230 - n
        )
        assert handle is not None
    clock.advance(1_000)

    assert ledger.claim(worker_id="w") is None

    rows = sql("SELECT cause FROM lease_event WHERE event_type = 'expired'")
    assert rows == [{"cause": "claim"}] * 100
    left = sql(
        "SELECT lease_expires_at_ms AS due FROM attempt"
        " WHERE lease_expires_at_ms IS NOT NULL"
    )
    assert sorted(row["due"] - base for row in left) == list(range(201, 231))


def test_deadlines_then_delays_then_leases_are_recorded(ledger, clock, start) -> None:
    start(ttl=100, capabilities=("gpu",))
    ledger.create_execution(delay_until_ms=clock() + 50, capabilities=("gpu",))
    ledger.create_execution(deadline_at_ms=clock() + 150)
    clock.advance(200)
    position = last_position(ledger)
    assert ledger.claim(worker_id="w") is None
    assert topics_since(ledger, position) == [
        "execution.expired",
        "execution.became_eligible",
        "attempt.lease_expired",
    ]
