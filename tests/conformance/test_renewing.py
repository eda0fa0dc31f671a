"""Renewing: a later expiry under the same epoch."""

import pytest


def test_the_new_expiry_is_now_and_the_ttl_of_the_lease(
    ledger, clock, start, attempt_row
) -> None:
    handle = start(ttl=7_000)
    clock.advance(3_000)
    renewal = ledger.renew(handle)
    assert renewal.expires_at_ms == clock() + 7_000
    assert renewal.lease_epoch == 1
    row = attempt_row(handle.execution_id)
    assert row["lease_expires_at_ms"] == renewal.expires_at_ms
    assert row["lease_epoch"] == 1
    assert row["lease_id"] == str(handle.lease_id)


def test_a_renewal_in_the_same_ms_adds_one_ms(ledger, clock, start) -> None:
    handle = start(ttl=1_000)
    expiries = [ledger.renew(handle).expires_at_ms for _ in range(3)]
    assert expiries == [clock() + 1_001, clock() + 1_002, clock() + 1_003]
    clock.advance(10)
    assert ledger.renew(handle).expires_at_ms == clock() + 1_000


def test_the_first_handle_serves_through_all_renewals(ledger, clock, start) -> None:
    handle = start(ttl=1_000)
    for _ in range(20):
        clock.advance(900)
        ledger.renew(handle)
    ledger.complete(handle)
    assert ledger.read.execution(handle.execution_id).public_state == "completed"


def test_each_renewal_has_its_row(ledger, clock, start, lease_rows) -> None:
    handle = start(ttl=1_000, worker="w")
    renewals = []
    for _ in range(3):
        clock.advance(100)
        renewals.append((ledger.renew(handle).expires_at_ms, clock()))
    rows = [r for r in lease_rows(handle.execution_id) if r["event_type"] == "renewed"]
    assert [(r["expires_at_ms"], r["occurred_at_ms"]) for r in rows] == renewals
    assert {(r["worker_id"], r["lease_epoch"], r["attempt_index"]) for r in rows} == {
        ("w", 1, 0)
    }


@pytest.mark.parametrize("ttl", [2, 86_400_000])
def test_the_ttl_bounds_hold_for_renewals(ttl, ledger, clock, start) -> None:
    handle = start(ttl=ttl)
    clock.advance(1)
    assert ledger.renew(handle).expires_at_ms == clock() + ttl


def test_a_resumed_lease_has_its_own_ttl(ledger, clock, start) -> None:
    handle = start(ttl=1_000)
    clock.advance(1_000)
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w2")
    resumed = ledger.claim_from_resume_grant(grant, worker_id="w2", lease_ttl_ms=4_000)
    assert resumed.lease_expires_at_ms == clock() + 4_000
    clock.advance(1_000)
    assert ledger.renew(resumed).expires_at_ms == clock() + 4_000


def test_a_renewal_changes_nothing_but_the_expiry(
    ledger, clock, start, core, attempt_row
) -> None:
    handle = start()
    ledger.progress(handle, 5, "begun")
    execution, attempt = core(handle.execution_id), attempt_row(handle.execution_id)
    clock.advance(100)
    ledger.renew(handle)
    after = attempt_row(handle.execution_id)
    columns = (
        "lifecycle_phase",
        "ownership_state",
        "eligibility_state",
        "public_state",
        "attempt_state",
        "attempt_index",
        "raw_fields",
        "eligible_at_ms",
        "started_at_ms",
        "lease_reclaim_count",
    )
    now = core(handle.execution_id)
    assert [now[c] for c in columns] == [execution[c] for c in columns]
    unchanged = ("worker_id", "lease_id", "lease_epoch", "started_at_ms", "outcome")
    assert {c: after[c] for c in unchanged} == {c: attempt[c] for c in unchanged}
