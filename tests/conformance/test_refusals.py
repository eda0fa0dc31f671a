"""Refused writes are themselves recorded, the 1st, 2nd, 4th, 8th … of a handle."""

import contextlib
import uuid

import pytest

import leasehold

OPERATIONS = ("renew", "progress", "append_frame", "complete", "fail")


@pytest.fixture
def refused_rows(lease_rows):
    def read(execution_id):
        rows = lease_rows(execution_id)
        return [row for row in rows if row["event_type"] == "refused"]

    return read


def attempt(call, ledger, operation, handle):
    with contextlib.suppress(leasehold.ContentionError):
        call(ledger, operation, handle)
        pytest.fail("the call was let through")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_refusal_names_what_was_presented_and_by_whom(
    operation, ledger, clock, start, call, refused_rows
) -> None:
    handle = start(worker="slow", ttl=1_000)
    clock.advance(1_250)

    attempt(call, ledger, operation, handle)

    (row,) = refused_rows(handle.execution_id)
    assert row["cause"] == "lease_expired"
    assert row["operation"] == operation
    assert row["attempt_index"] == 0
    assert row["lease_id"] == str(handle.lease_id)
    assert row["lease_epoch"] == 1
    assert row["worker_id"] == "slow"
    assert row["late_ms"] == 250
    assert row["refused_count"] == 1
    assert row["occurred_at_ms"] == clock()


def test_the_refusal_lies_in_the_stream_of_refusals(ledger, clock, start, call) -> None:
    handle = start(ttl=1_000)
    clock.advance(1_000)
    attempt(call, ledger, "renew", handle)
    last = ledger.read.history(handle.execution_id)[-1]
    assert last.topic == "refusal.recorded"
    assert last.stream_id == f"{handle.execution_id}/refusals"
    assert last.version == 1


def test_a_lease_that_never_existed_has_no_worker_and_no_lateness(
    ledger, start, call, mismatched, refused_rows
) -> None:
    handle = start()
    presented = mismatched(handle)
    attempt(call, ledger, "renew", presented)
    (row,) = refused_rows(handle.execution_id)
    assert row["cause"] == "lease_conflict"
    assert row["lease_id"] == str(presented.lease_id)
    assert row["lease_epoch"] == 999
    assert row["worker_id"] is None
    assert row["late_ms"] is None


def test_the_worker_of_an_earlier_attempt_is_named(
    ledger, clock, start, call, refused_rows
) -> None:
    old = start(worker="old", ttl=1_000)
    clock.advance(1_500)
    assert ledger.claim(worker_id="new", worker_instance_id="n") is not None
    clock.advance(200)
    attempt(call, ledger, "complete", old)
    (row,) = refused_rows(old.execution_id)
    assert row["cause"] == "lease_conflict"
    assert row["worker_id"] == "old"
    assert row["worker_instance_id"] is None
    assert (row["attempt_index"], row["lease_epoch"]) == (0, 1)
    assert row["late_ms"] == 700


def test_the_worker_before_a_resume_of_the_same_attempt_is_named(
    ledger, clock, start, call, refused_rows
) -> None:
    old = start(worker="old", ttl=1_000)
    clock.advance(1_500)
    grant = ledger.issue_resume_grant(old.execution_id, worker_id="new")
    assert ledger.claim_from_resume_grant(grant, worker_id="new") is not None
    attempt(call, ledger, "complete", old)
    (row,) = refused_rows(old.execution_id)
    assert row["cause"] == "lease_conflict"
    assert row["worker_id"] == "old"
    assert row["late_ms"] == 500


def test_lateness_counts_from_the_moment_a_lease_was_taken_away(
    ledger, clock, start, call, refused_rows
) -> None:
    handle = start()
    clock.advance(100)
    ledger.revoke_lease(handle.execution_id, actor="ann", reason="stuck")
    clock.advance(40)
    attempt(call, ledger, "renew", handle)
    clock.advance(10)
    ledger.cancel_execution(handle.execution_id, actor="ann", reason="enough")
    clock.advance(5)
    attempt(call, ledger, "renew", handle)
    first, second = refused_rows(handle.execution_id)
    assert (first["cause"], first["late_ms"]) == ("lease_revoked", 40)
    assert (second["cause"], second["late_ms"]) == ("execution_not_active", 55)


def test_the_1st_2nd_4th_and_8th_refusal_of_a_handle_are_recorded(
    ledger, clock, start, call, refused_rows, event_count
) -> None:
    handle = start(ttl=1_000)
    clock.advance(1_000)
    before = event_count()
    for _ in range(15):
        attempt(call, ledger, "renew", handle)
    counts = [row["refused_count"] for row in refused_rows(handle.execution_id)]
    assert counts == [1, 2, 4, 8]
    assert event_count() == before + 4
    attempt(call, ledger, "renew", handle)
    assert refused_rows(handle.execution_id)[-1]["refused_count"] == 16


def test_refusals_are_counted_per_handle_over_all_operations(
    ledger, clock, start, call, refused_rows
) -> None:
    handle = start(ttl=1_000)
    clock.advance(1_000)
    for operation in ("renew", "progress", "append_frame", "complete"):
        attempt(call, ledger, operation, handle)
    recorded = [
        (row["refused_count"], row["operation"])
        for row in refused_rows(handle.execution_id)
    ]
    assert recorded == [(1, "renew"), (2, "progress"), (4, "complete")]


def test_each_handle_has_a_count_of_its_own(
    ledger, start, call, mismatched, refused_rows
) -> None:
    handle = start()
    for presented in (mismatched(handle), mismatched(handle)):
        attempt(call, ledger, "renew", presented)
        attempt(call, ledger, "renew", presented)
    counts = [row["refused_count"] for row in refused_rows(handle.execution_id)]
    assert counts == [1, 2, 1, 2]


def test_the_same_handle_parsed_again_is_the_same_handle(
    ledger, clock, start, call, refused_rows
) -> None:
    handle = start(ttl=1_000)
    clock.advance(1_000)
    for _ in range(3):
        attempt(call, ledger, "renew", leasehold.Handle.parse(str(handle)))
    counts = [row["refused_count"] for row in refused_rows(handle.execution_id)]
    assert counts == [1, 2]


def test_only_the_four_lease_codes_are_recorded(ledger, start, call, snapshot) -> None:
    handle = start()
    before = snapshot()
    for presented in (
        handle.replace(backend=leasehold.BackendTag.VALKEY),
        handle.replace(opaque=b""),
        handle.replace(execution_id=uuid.uuid4()),
        handle.replace(attempt_index=3),
    ):
        with pytest.raises(leasehold.LeaseholdError):
            call(ledger, "renew", presented)
    assert snapshot() == before


def test_a_refusal_does_not_stand_in_the_way_of_the_holder(
    ledger, start, call, mismatched, core
) -> None:
    handle = start()
    for _ in range(4):
        attempt(call, ledger, "complete", mismatched(handle))
    ledger.complete(handle)
    assert core(handle.execution_id)["public_state"] == "completed"


def test_refusals_are_still_recorded_after_the_end(
    ledger, start, call, mismatched, refused_rows
) -> None:
    handle = start()
    ledger.complete(handle, b"answer")
    attempt(call, ledger, "complete", mismatched(handle))
    (row,) = refused_rows(handle.execution_id)
    assert row["cause"] == "execution_not_active"
    assert row["operation"] == "complete"
