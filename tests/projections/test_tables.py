"""The projected tables in memory."""

import pytest
from event_samples import make

from leasehold.domain.attempts import AttemptProgressed, AttemptStarted
from leasehold.domain.errors import StoreError
from leasehold.domain.executions import ExecutionCompleted, ExecutionCreated
from leasehold.domain.frames import FrameAppended, FrameMode
from leasehold.domain.records import RecordedEvent
from leasehold.domain.streams import of_event
from leasehold.projections.changes import (
    POSITION,
    Delete,
    Insert,
    Merge,
    Update,
    Upsert,
)
from leasehold.projections.registry import KEYS
from leasehold.projections.tables import Tables, changes_of, key_of

KEY = {"execution_id": "e"}
PAIR = {**KEY, "attempt_index": 0}


def recorded(event, position=1, version=1):
    return RecordedEvent(
        position,
        of_event(event, event.execution_id),
        version,
        event.TOPIC,
        event.occurred_at_ms,
        event,
        "ab" * 32,
    )


@pytest.fixture
def tables():
    return Tables()


def test_they_begin_empty_and_can_be_emptied(tables) -> None:
    assert all(tables.rows(name) == {} for name in KEYS)
    tables.project(recorded(make(ExecutionCreated)))
    assert len(tables.rows("exec_state")) == len(tables.rows("exec_blob")) == 1
    tables.clear()
    assert all(tables.rows(name) == {} for name in KEYS)


def test_a_row_is_added_under_its_key(tables) -> None:
    tables.apply([Insert("attempt", {**PAIR, "worker_id": "w"})], 7)
    assert tables.rows("attempt") == {("e", 0): {**PAIR, "worker_id": "w"}}


def test_the_position_of_the_event_is_put_in(tables) -> None:
    change = Insert("lease_event", {"event_id": POSITION, **PAIR})
    tables.apply([change], 7)
    assert tables.rows("lease_event") == {(7,): {"event_id": 7, **PAIR}}
    assert key_of(change, 7) == (7,)
    # The change itself is not touched: it may be applied again.
    assert change.values["event_id"] is POSITION


def test_columns_that_are_not_given_have_their_defaults(tables) -> None:
    tables.apply([Insert("exec_blob", {**KEY, "result": b"r"})], 1)
    assert tables.rows("exec_blob")[("e",)]["payload"] == b""
    tables.apply([Upsert("exec_blob", {"execution_id": "f"}, {"result": b"r"})], 1)
    assert tables.rows("exec_blob")[("f",)]["payload"] == b""


def test_an_update_changes_the_row_that_there_is(tables) -> None:
    update = Update("attempt", PAIR, {"worker_id": "v"})
    tables.apply([update], 1)
    assert tables.rows("attempt") == {}
    tables.apply([Insert("attempt", {**PAIR, "worker_id": "w", "outcome": None})], 1)
    tables.apply([update], 2)
    assert tables.rows("attempt")["e", 0] == {
        **PAIR,
        "worker_id": "v",
        "outcome": None,
    }
    assert key_of(update, 2) == ("e", 0)


def test_an_upsert_adds_or_changes(tables) -> None:
    for value in (b"one", b"two"):
        tables.apply([Upsert("exec_blob", KEY, {"result": value})], 1)
        assert tables.rows("exec_blob")[("e",)]["result"] == value
    assert len(tables.rows("exec_blob")) == 1


def test_a_merge_begins_a_document_and_goes_on_with_it(tables) -> None:
    def merge(patch, **values):
        return Merge(
            "summary",
            PAIR,
            "document_json",
            patch,
            null_sentinel="__ff_null__",
            values=values,
            initial={"first_applied_ms": 5},
        )

    tables.apply([merge({"b": 1, "a": "__ff_null__"}, version=1)], 1)
    tables.apply([merge({"b": None, "c": {"d": 2}}, version=2)], 2)
    assert tables.rows("summary")["e", 0] == {
        **PAIR,
        "document_json": '{"a":null,"c":{"d":2}}',
        "version": 2,
        "first_applied_ms": 5,
    }


def test_a_row_is_removed_by_a_repair(tables) -> None:
    tables.apply([Insert("attempt", {**PAIR})], 1)
    tables.apply([Delete("attempt", PAIR), Delete("attempt", PAIR)], 1)
    assert tables.rows("attempt") == {}


def test_events_are_projected_with_their_place(tables) -> None:
    created = make(ExecutionCreated, payload=b"work")
    tables.project(recorded(created, 3))
    tables.project(recorded(make(AttemptStarted), 4))
    done = make(ExecutionCompleted, result=b"done")
    tables.project(recorded(done, 9, version=2))
    execution_id = str(created.execution_id)
    state = tables.rows("exec_state")[(execution_id,)]
    assert (state["stream_version"], state["stream_sha256"]) == (2, "ab" * 32)
    assert tables.rows("exec_blob")[(execution_id,)] == {
        "execution_id": execution_id,
        "payload": b"work",
        "result": b"done",
    }
    assert set(tables.rows("lease_event")) == {(4,)}


def test_a_frame_that_cannot_be_merged_is_a_corrupt_event(tables) -> None:
    frame = make(
        FrameAppended, mode=FrameMode.SUMMARY, payload=b"no JSON", summary_version=1
    )
    for call in (tables.project, changes_of):
        with pytest.raises(StoreError, match="position 12") as caught:
            call(recorded(frame, 12))
        assert caught.value.code == "corrupt_event"


@pytest.mark.parametrize("percent", [float("nan"), float("inf")])
def test_a_progress_that_is_no_number_is_a_corrupt_event(tables, percent) -> None:
    tables.project(recorded(make(ExecutionCreated)))
    # As no event can be made or read.
    broken = make(AttemptProgressed).model_copy(update={"percent": percent})
    with pytest.raises(StoreError, match="position 12") as caught:
        tables.project(recorded(broken, 12))
    assert caught.value.code == "corrupt_event"
