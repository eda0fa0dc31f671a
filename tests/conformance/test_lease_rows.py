"""The table lease_event: the whole story of the leases of one execution."""

import pytest

import leasehold

TRANSIENT = leasehold.FailureClass.TRANSIENT


def test_each_row_names_the_lease_its_holder_and_its_times(
    ledger, clock, start, lease_rows
) -> None:
    policy = leasehold.RetryPolicy(backoff=leasehold.Fixed(0))
    first = start(worker="w1", ttl=1_000, retry_policy=policy)
    one, base = first.execution_id, clock()
    clock.set(base + 400)
    ledger.renew(first)
    clock.set(base + 1_500)
    ledger.sweep()
    second = ledger.claim(worker_id="w2", worker_instance_id="w2-i", lease_ttl_ms=1_000)
    clock.set(base + 3_000)
    grant = ledger.issue_resume_grant(one, worker_id="w3")
    third = ledger.claim_from_resume_grant(
        grant, worker_id="w3", worker_instance_id="w3-i", lease_ttl_ms=2_000
    )
    clock.set(base + 3_100)
    ledger.fail(third, "flaky", TRANSIENT)
    fourth = ledger.claim(worker_id="w4")
    clock.set(base + 3_200)
    ledger.complete(fourth)

    columns = (
        "event_type cause attempt_index lease_epoch lease_id worker_id"
        " worker_instance_id occurred_at_ms"
    )
    named = [tuple(row[name] for name in columns.split()) for row in lease_rows(one)]
    leases = [str(handle.lease_id) for handle in (first, second, third, fourth)]
    assert named == [
        ("acquired", "claim", 0, 1, leases[0], "w1", None, base),
        ("renewed", "renew", 0, 1, leases[0], "w1", None, base + 400),
        ("expired", "sweep", 0, 1, leases[0], "w1", None, base + 1_500),
        ("reclaimed", "claim", 1, 2, leases[1], "w2", "w2-i", base + 1_500),
        ("reclaimed", "resume_grant", 1, 3, leases[2], "w3", "w3-i", base + 3_000),
        ("revoked", "retry_scheduled", 1, 3, leases[2], "w3", "w3-i", base + 3_100),
        ("acquired", "claim", 2, 4, leases[3], "w4", None, base + 3_100),
        ("revoked", "completed", 2, 4, leases[3], "w4", None, base + 3_200),
    ]
    expiries = {
        (row["event_type"], row["lease_epoch"]): row["expires_at_ms"]
        for row in lease_rows(one)
        if row["event_type"] != "revoked"
    }
    assert expiries == {
        ("acquired", 1): base + 1_000,
        ("renewed", 1): base + 1_400,
        ("expired", 1): base + 1_400,
        ("reclaimed", 2): base + 2_500,
        ("reclaimed", 3): base + 5_000,
        ("acquired", 4): base + 33_100,
    }


def test_only_what_a_person_did_names_an_actor(ledger, start, lease_rows) -> None:
    cancelled, revoked, completed = start(), start(), start()
    ledger.cancel_execution(cancelled.execution_id, actor="ann", reason="r")
    ledger.revoke_lease(revoked.execution_id, actor="bob", reason="r")
    ledger.complete(completed)
    actors = [
        [row["actor"] for row in lease_rows(handle.execution_id)]
        for handle in (cancelled, revoked, completed)
    ]
    assert actors == [[None, "ann"], [None, "bob"], [None, None]]


def test_the_columns_of_refusals_are_empty_elsewhere(
    ledger, start, mismatched, sql
) -> None:
    handle = start()
    ledger.renew(handle)
    with pytest.raises(leasehold.LeaseConflictError):
        ledger.renew(mismatched(handle))
    rows = sql(
        "SELECT event_type, operation, refused_count FROM lease_event ORDER BY event_id"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("acquired", None, None),
        ("renewed", None, None),
        ("refused", "renew", 1),
    ]


def test_an_event_id_is_the_position_of_its_event(ledger, start, lease_rows) -> None:
    handle = start()
    ledger.renew(handle)
    ledger.complete(handle)
    history = ledger.read.history(handle.execution_id)
    made_a_row = ("attempt.started", "attempt.lease_renewed", "attempt.succeeded")
    expected = [event.position for event in history if event.topic in made_a_row]
    assert [row["event_id"] for row in lease_rows(handle.execution_id)] == expected
