"""What events change in `stream_frame`, `summary` and `resume_grant`, by equality."""

import pytest
from event_samples import EXECUTION, GRANT, NOW, make

from leasehold.domain.attempts import AttemptLeaseReclaimed
from leasehold.domain.errors import InvalidInputError
from leasehold.domain.executions import ExecutionResumeGrantIssued
from leasehold.domain.frames import FrameAppended, FrameMode
from leasehold.projections import resume_grant, stream_frame, summary
from leasehold.projections.changes import Insert, Merge, Place, Update

PLACE = Place(str(EXECUTION), 4, "e5" * 32)
KEY = {"execution_id": str(EXECUTION), "attempt_index": 0}
FRAME_ROW = {
    **KEY,
    "ts_ms": NOW,
    "seq": 3,
    "frame_type": "stdout",
    "payload": b"line",
    "correlation_id": "call-1",
    "mode": "durable",
    "summary_version": None,
}
DURABLE = make(FrameAppended)
SUMMARY = make(
    FrameAppended,
    mode=FrameMode.SUMMARY,
    payload=b'{"a": 1, "b": null}',
    summary_version=2,
    occurred_at_ms=1_050,
)


def changes(table, event):
    rule = table.rules.rule_for(type(event))
    return rule(event, PLACE)


def test_a_frame_adds_its_row() -> None:
    assert changes(stream_frame, DURABLE) == (Insert("stream_frame", FRAME_ROW),)


def test_a_summary_frame_adds_its_row_with_the_bytes_as_given() -> None:
    row = {
        **FRAME_ROW,
        "payload": b'{"a": 1, "b": null}',
        "mode": "summary",
        "summary_version": 2,
    }
    assert changes(stream_frame, SUMMARY) == (Insert("stream_frame", row),)


def test_a_durable_frame_changes_no_summary() -> None:
    assert changes(summary, DURABLE) == ()


def test_a_summary_frame_is_merged_into_the_document() -> None:
    assert changes(summary, SUMMARY) == (
        Merge(
            "summary",
            KEY,
            "document_json",
            {"a": 1, "b": None},
            null_sentinel="__ff_null__",
            values={
                "version": 2,
                "patch_kind": "json-merge-patch",
                "last_updated_ms": 1_050,
            },
            initial={"first_applied_ms": 1_050},
        ),
    )


def test_a_summary_frame_that_is_no_object_is_not_projected() -> None:
    with pytest.raises(InvalidInputError):
        changes(summary, make(FrameAppended, mode=FrameMode.SUMMARY, payload=b"[]"))


def test_a_grant_adds_its_row() -> None:
    assert changes(resume_grant, make(ExecutionResumeGrantIssued)) == (
        Insert(
            "resume_grant",
            {
                "grant_id": str(GRANT),
                "execution_id": str(EXECUTION),
                "worker_id": "worker-2",
                "actor": "ann",
                "issued_at_ms": NOW,
                "expires_at_ms": 3_000,
                "used_at_ms": None,
            },
        ),
    )


def test_a_resumption_uses_its_grant_up() -> None:
    assert changes(resume_grant, make(AttemptLeaseReclaimed)) == (
        Update("resume_grant", {"grant_id": str(GRANT)}, {"used_at_ms": 1_700}),
    )


def test_every_rule_is_pinned_here() -> None:
    assert set(stream_frame.rules.event_types()) == {FrameAppended}
    assert set(summary.rules.event_types()) == {FrameAppended}
    assert set(resume_grant.rules.event_types()) == {
        ExecutionResumeGrantIssued,
        AttemptLeaseReclaimed,
    }
