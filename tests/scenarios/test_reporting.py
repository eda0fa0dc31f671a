"""The scenarios that pin progress, renew and append_frame."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable


def test_progress_42_and_halfway(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    core: Callable[..., Any],
) -> None:
    handle = start()
    ledger.progress(handle, 42, "halfway")
    assert json.loads(core(handle.execution_id)["raw_fields"]) == {
        "progress_message": "halfway",
        "progress_pct": 42,
    }


def test_progress_10_and_starting_then_75_then_winding_down(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    core: Callable[..., Any],
) -> None:
    handle = start()
    seen = []
    for report in (
        {"percent": 10, "message": "starting"},
        {"percent": 75},
        {"message": "winding down"},
    ):
        ledger.progress(handle, **report)
        seen.append(json.loads(core(handle.execution_id)["raw_fields"]))
    assert seen == [
        {"progress_pct": 10, "progress_message": "starting"},
        {"progress_pct": 75, "progress_message": "starting"},
        {"progress_pct": 75, "progress_message": "winding down"},
    ]


def test_progress_25_only(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    core: Callable[..., Any],
) -> None:
    handle = start()
    ledger.progress(handle, 25)
    assert core(handle.execution_id)["raw_fields"] == '{"progress_pct":25}'


def test_progress_with_neither(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    snapshot: Callable[[], Any],
) -> None:
    handle = start()
    ledger.progress(handle, 10, "starting")
    before = snapshot()
    assert ledger.progress(handle) is None
    assert snapshot() == before


@pytest.mark.parametrize("operation", ["progress", "renew", "append_frame"])
def test_progress_renew_append_frame_with_a_fence_mismatch(
    operation: str,
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    mismatched: Callable[..., leasehold.Handle],
    call: Callable[..., object],
    core: Callable[..., Any],
    attempt_row: Callable[..., Any],
    snapshot: Callable[[], Any],
) -> None:
    handle = start()
    execution_id = handle.execution_id
    before, rows = snapshot(), (core(execution_id), attempt_row(execution_id))

    with pytest.raises(leasehold.LeaseConflictError):
        call(ledger, operation, mismatched(handle))

    after = snapshot()
    assert (core(execution_id), attempt_row(execution_id)) == rows
    for table in ("summary", "stream_frame"):
        assert after[table] == before[table]
    (refusal,) = [e for e in after["stored_events"] if e not in before["stored_events"]]
    assert refusal["originator_id"] == f"{handle.execution_id}/refusals"
    assert refusal["topic"] == "refusal.recorded"
    (row,) = [r for r in after["lease_event"] if r not in before["lease_event"]]
    assert (row["event_type"], row["operation"]) == ("refused", operation)
    assert row["cause"] == "lease_conflict"


def test_renew(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    clock: Any,
    attempt_row: Callable[..., Any],
    lease_story: Callable[..., list[tuple[str, str]]],
) -> None:
    handle = start()
    clock.advance(5_000)

    renewal = ledger.renew(handle)

    assert renewal.expires_at_ms > handle.lease_expires_at_ms
    assert renewal.lease_epoch == handle.lease_epoch
    stored = attempt_row(handle.execution_id)["lease_expires_at_ms"]
    assert stored == renewal.expires_at_ms
    assert lease_story(handle.execution_id) == [
        ("acquired", "claim"),
        ("renewed", "renew"),
    ]


def test_append_frame_durable_twice(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    sql: Callable[..., Any],
) -> None:
    handle = start()

    first = ledger.append_frame(handle, leasehold.Frame(b"one"))
    second = ledger.append_frame(handle, leasehold.Frame(b"two"))

    assert (first.frame_count, second.frame_count) == (1, 2)
    assert "-" in first.stream_id
    assert "-" in second.stream_id
    assert first.summary_version is None
    assert second.summary_version is None
    assert [
        row["payload"] for row in sql("SELECT * FROM stream_frame ORDER BY ts_ms, seq")
    ] == [b"one", b"two"]


def test_append_frame_summary_a_1_then_b_2(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    sql: Callable[..., Any],
) -> None:
    handle = start()
    versions = [
        ledger.append_frame(
            handle, leasehold.Frame(patch, mode=leasehold.Summary())
        ).summary_version
        for patch in (b'{"a":1}', b'{"b":2}')
    ]
    assert versions == [1, 2]
    (row,) = sql("SELECT * FROM summary")
    assert row["document_json"] == '{"a":1,"b":2}'
    assert row["version"] == 2
