"""Progress: two fields, each kept until given again."""

import json

import pytest


@pytest.mark.parametrize("percent", [0, 100, 33, 12.5, 0.0])
def test_a_percentage_is_stored_as_given(percent, ledger, start, core) -> None:
    handle = start()
    ledger.progress(handle, percent)
    fields = json.loads(core(handle.execution_id)["raw_fields"])
    assert fields == {"progress_pct": percent}


def test_a_message_alone_leaves_the_percentage_absent(ledger, start, core) -> None:
    handle = start()
    ledger.progress(handle, message="déjà vu")
    fields = json.loads(core(handle.execution_id)["raw_fields"])
    assert fields == {"progress_message": "déjà vu"}


def test_zero_percent_is_a_percentage(ledger, start, core) -> None:
    handle = start()
    ledger.progress(handle, 50, "half")
    ledger.progress(handle, 0)
    fields = json.loads(core(handle.execution_id)["raw_fields"])
    assert fields == {"progress_message": "half", "progress_pct": 0}


def test_progress_leaves_the_lease_as_it_is(ledger, clock, start, attempt_row) -> None:
    handle = start(ttl=1_000)
    before = attempt_row(handle.execution_id)["lease_expires_at_ms"]
    clock.advance(500)
    ledger.progress(handle, 50)
    assert attempt_row(handle.execution_id)["lease_expires_at_ms"] == before


def test_progress_makes_one_event_and_no_lease_event(
    ledger, start, event_count, lease_story
) -> None:
    handle = start()
    before = event_count()
    ledger.progress(handle, 1, "one")
    assert event_count() == before + 1
    assert lease_story(handle.execution_id) == [("acquired", "claim")]


def test_progress_with_neither_still_passes_the_guard(
    ledger, clock, start, mismatched, event_count
) -> None:
    import leasehold

    handle = start(ttl=1_000)
    before = event_count()
    with pytest.raises(leasehold.LeaseConflictError):
        ledger.progress(mismatched(handle))
    assert event_count() == before + 1
    clock.advance(1_000)
    with pytest.raises(leasehold.LeaseExpiredError):
        ledger.progress(handle)


@pytest.mark.parametrize("message", ["", "__ff_null__", "null", '"', "\\u0000", "🦆"])
def test_any_text_is_a_message(message, ledger, start, core) -> None:
    handle = start()
    ledger.progress(handle, message=message)
    fields = json.loads(core(handle.execution_id)["raw_fields"])
    assert fields == {"progress_message": message}


def test_progress_outlives_the_attempt(ledger, clock, start, core) -> None:
    handle = start(ttl=1_000)
    ledger.progress(handle, 60, "nearly")
    clock.advance(1_000)
    new = ledger.claim(worker_id="w2")
    ledger.progress(new, 70)
    fields = json.loads(core(handle.execution_id)["raw_fields"])
    assert fields == {"progress_message": "nearly", "progress_pct": 70}


def test_all_raw_fields_lie_sorted_without_spaces(ledger, start, core) -> None:
    handle = start()
    ledger.progress(handle, 10, "a")
    ledger.cancel_execution(handle.execution_id, actor="ann", reason="b")
    assert core(handle.execution_id)["raw_fields"] == (
        '{"cancellation_reason":"b","progress_message":"a","progress_pct":10}'
    )
