"""Sweep: everything that has come due, in every lane, up to the limit."""

import leasehold


def report(leases=0, delays=0, deadlines=0):
    return leasehold.SweepReport(
        leases_expired=leases, delays_due=delays, deadlines_passed=deadlines
    )


def test_a_sweep_with_nothing_due_writes_nothing(
    ledger, clock, start, snapshot
) -> None:
    start()
    ledger.create_execution(delay_until_ms=clock() + 10)
    ledger.create_execution(deadline_at_ms=clock() + 10)
    before = snapshot()
    assert ledger.sweep() == report()
    assert snapshot() == before


def test_a_sweep_records_each_kind_in_every_lane(ledger, clock, start, sql) -> None:
    for lane in ("one", "two", "three"):
        start(lane_id=lane, ttl=100)
        ledger.create_execution(lane_id=lane, delay_until_ms=clock() + 100)
        ledger.create_execution(lane_id=lane, deadline_at_ms=clock() + 100)
    clock.advance(100)
    assert ledger.sweep() == report(3, 3, 3)
    states = sql(
        "SELECT public_state, ownership_state, count(*) AS n FROM exec_core"
        " GROUP BY public_state, ownership_state ORDER BY public_state"
    )
    assert [(row["public_state"], row["ownership_state"]) for row in states] == [
        ("expired", "unowned"),
        ("pending", "unowned"),
        ("running", "lease_expired_reclaimable"),
    ]
    assert {row["n"] for row in states} == {3}
    assert ledger.sweep() == report()


def test_a_sweep_does_not_come_one_ms_early(ledger, clock, start) -> None:
    start(ttl=100)
    ledger.create_execution(delay_until_ms=clock() + 100)
    ledger.create_execution(deadline_at_ms=clock() + 100)
    clock.advance(99)
    assert ledger.sweep() == report()
    clock.advance(1)
    assert ledger.sweep() == report(1, 1, 1)


def test_the_limit_holds_for_each_kind_longest_due_first(ledger, clock, sql) -> None:
    base = clock()
    for n in range(5):
        ledger.create_execution(delay_until_ms=base + 100 - n)
    clock.advance(1_000)
    assert ledger.sweep(2) == report(delays=2)
    left = sql(
        "SELECT eligible_at_ms AS at FROM exec_core WHERE public_state='delayed'"
    )
    assert sorted(row["at"] - base for row in left) == [98, 99, 100]
    assert ledger.sweep(2) == report(delays=2)
    assert ledger.sweep(2) == report(delays=1)


def test_the_limit_holds_over_all_lanes_together(ledger, clock, sql) -> None:
    base = clock()
    for n in range(6):
        ledger.create_execution(lane_id=f"lane-{n % 3}", delay_until_ms=base + 100 - n)
        ledger.create_execution(lane_id=f"lane-{n % 3}", deadline_at_ms=base + 100 - n)
    clock.advance(1_000)
    assert ledger.sweep(2) == report(delays=2, deadlines=2)
    left = sql(
        "SELECT eligible_at_ms AS at FROM exec_core WHERE public_state='delayed'"
    )
    assert sorted(row["at"] - base for row in left) == [97, 98, 99, 100]


def test_a_recorded_expiry_has_its_row_and_keeps_the_attempt_open(
    ledger, clock, start, lease_rows, attempt_row
) -> None:
    handle = start(ttl=100, worker="w")
    clock.advance(150)
    ledger.sweep()
    last = lease_rows(handle.execution_id)[-1]
    assert (last["event_type"], last["cause"]) == ("expired", "sweep")
    assert last["lease_id"] == str(handle.lease_id)
    assert (last["lease_epoch"], last["attempt_index"]) == (1, 0)
    assert last["worker_id"] == "w"
    assert last["occurred_at_ms"] == clock()
    row = attempt_row(handle.execution_id)
    assert row["lease_expires_at_ms"] is None
    assert row["outcome"] is None


def test_a_deadline_comes_before_the_lease(ledger, clock, start) -> None:
    start(ttl=100, deadline_at_ms=clock() + 100)
    clock.advance(100)
    assert ledger.sweep() == report(deadlines=1)


def test_a_deadline_comes_before_the_delay(ledger, clock) -> None:
    ledger.create_execution(delay_until_ms=clock() + 50, deadline_at_ms=clock() + 100)
    clock.advance(100)
    assert ledger.sweep() == report(deadlines=1)


def test_a_deadline_passes_after_a_recorded_expiry_too(
    ledger, clock, start, lease_story
) -> None:
    handle = start(ttl=100, deadline_at_ms=clock() + 200)
    clock.advance(100)
    assert ledger.sweep() == report(leases=1)
    clock.advance(100)
    assert ledger.sweep() == report(deadlines=1)
    assert lease_story(handle.execution_id) == [
        ("acquired", "claim"),
        ("expired", "sweep"),
        ("revoked", "deadline"),
    ]


def test_a_renewed_lease_is_left_alone(ledger, clock, start) -> None:
    handle = start(ttl=100)
    clock.advance(50)
    ledger.renew(handle)
    clock.advance(50)
    assert ledger.sweep() == report()


def test_a_terminal_or_revoked_lease_does_not_expire(ledger, clock, start) -> None:
    ended, revoked = start(ttl=100), start(ttl=100)
    ledger.complete(ended)
    ledger.revoke_lease(revoked.execution_id, actor="ann", reason="stuck")
    clock.advance(1_000)
    assert ledger.sweep() == report()


def test_more_than_a_thousand_due_need_a_second_sweep(ledger, clock) -> None:
    due = clock() + 1
    ledger.create_executions([{"delay_until_ms": due}] * 1_003)
    clock.advance(1)
    assert ledger.sweep() == report(delays=1_000)
    assert ledger.sweep() == report(delays=3)
