"""Verifying: every damage to the tables is found, and named; nothing else is."""

import pytest
from damaging import (
    UNCHANGEABLE,
    add,
    added_rows,
    change,
    different,
    remove,
    rows_of,
    shown,
)

import leasehold
from leasehold.adapters.codec import FIRST_HASH, encode
from leasehold.domain.executions import ExecutionBecameEligible
from leasehold.projections.registry import KEYS

TABLES = [*KEYS]


def test_a_good_store_has_no_fault(told) -> None:
    report = told.verify()
    assert report.faults == ()
    assert report.ok
    assert report.fault_count == 0
    assert report.redacted_from == ()
    assert report.events == len(told.read.events())
    assert report.executions == len(told.read.executions())
    assert report.rows > report.executions


def test_an_empty_store_has_no_fault(ledger) -> None:
    seen = []
    report = ledger.verify(progress=lambda *told: seen.append(told))
    assert (report.ok, report.events, report.executions, report.rows) == (True, 0, 0, 0)
    assert ledger.verify(ledger.checkpoint()).ok
    assert all(told == (0, 0) for told in seen)


def test_best_effort_frames_are_left_out(ledger, start) -> None:
    handle = start()
    live = leasehold.Frame(b"live", mode=leasehold.BestEffort())
    ledger.append_frame(handle, live)
    before = ledger.verify()
    ledger.append_frame(handle, live)
    assert ledger.verify() == before
    assert before.ok


def test_it_tells_how_far_it_is(told) -> None:
    seen = []
    report = told.verify(progress=lambda *told: seen.append(told))
    done = [events for events, _ in seen]
    assert done == sorted(done)
    assert len(done) >= report.executions
    assert done[-1] == report.events
    assert all(events <= total for events, total in seen)


def test_a_column_that_was_dropped_is_found(shared, outsider) -> None:
    outsider.execute("ALTER TABLE stream_frame DROP COLUMN correlation_id")
    faults = shared.verify().faults
    assert {it.table for it in faults} == {"stream_frame"}
    assert all("correlation_id" in it.columns for it in faults)
    assert all("correlation_id" in it.text for it in faults)


@pytest.mark.parametrize("table", TABLES)
def test_each_column_of_a_row_counts(table, shared, outsider) -> None:
    rows = rows_of(outsider, table)
    position_of = {it.position: it for it in shared.read.events()}
    for column in rows[0]:
        if column in (*KEYS[table], "execution_id", *UNCHANGEABLE):
            continue
        row = max(rows, key=lambda row: row[column] is not None)
        value = different(column, row[column])
        change(outsider, table, row, column, value)
        (fault,) = shared.verify().faults
        assert fault.kind is leasehold.FaultKind.ROW
        assert fault.table == shown(table)
        assert fault.columns == {column: (value, row[column])}
        assert fault.execution_id == row["execution_id"]
        event = position_of[fault.position]
        assert str(event.event.execution_id) == row["execution_id"]
        assert fault.stream_id == event.stream_id
        assert shown(table) in fault.text
        assert column in fault.text
        change(outsider, table, row, column, row[column])
    assert shared.verify().ok


def test_a_changed_column_is_named_with_the_event_that_set_it(shared, outsider) -> None:
    row = rows_of(outsider, "exec_state")[0]
    (expected,) = [
        it.position
        for it in shared.read.events(topics=["execution.reprioritised"])
        if str(it.event.execution_id) == row["execution_id"]
    ]
    change(outsider, "exec_state", row, "priority", 5)
    (fault,) = shared.verify().faults
    assert fault.position == expected


@pytest.mark.parametrize("table", TABLES)
def test_each_row_that_is_missing_is_found(table, shared, outsider) -> None:
    for row in rows_of(outsider, table):
        remove(outsider, table, row)
        (fault,) = shared.verify().faults
        assert fault.kind is leasehold.FaultKind.ROW
        assert fault.table == shown(table)
        assert fault.execution_id == row["execution_id"]
        assert fault.position is not None
        add(outsider, table, row)
    assert shared.verify().ok


def test_a_table_that_is_empty_is_found_row_by_row(shared, outsider) -> None:
    rows = rows_of(outsider, "lease_event")
    outsider.execute("DELETE FROM lease_event")
    report = shared.verify()
    assert report.fault_count == len(rows)
    assert sorted(it.position for it in report.faults) == [
        it["event_id"] for it in rows
    ]


@pytest.mark.parametrize("table", TABLES)
def test_each_row_too_many_is_found(table, shared, outsider) -> None:
    for row in [*added_rows(outsider, table)]:
        add(outsider, table, row)
        (fault,) = shared.verify().faults
        assert fault.kind is leasehold.FaultKind.ROW
        assert fault.table == shown(table)
        assert fault.execution_id == row["execution_id"]
        assert fault.position is None
        assert fault.columns == {}
        assert "no event" in fault.text
        remove(outsider, table, row)
    assert shared.verify().ok


@pytest.mark.parametrize("table", TABLES)
def test_a_row_that_went_to_another_execution_is_found_twice(
    table, shared, outsider
) -> None:
    row = rows_of(outsider, table)[0]
    stranger = "zzz"
    change(outsider, table, row, "execution_id", stranger)
    faults = shared.verify().faults
    assert {it.execution_id for it in faults} == {row["execution_id"], stranger}
    assert {it.table for it in faults} == {shown(table)}
    assert len(faults) == 2


def test_more_faults_than_are_named_are_counted(ledger_with_many, outsider) -> None:
    outsider.execute("DELETE FROM exec_state")
    report = ledger_with_many.verify()
    assert (len(report.faults), report.fault_count) == (1_000, 1_001)
    assert not report.ok


@pytest.fixture
def ledger_with_many(shared_url):
    with leasehold.open(shared_url, durability="normal") as ledger:
        ledger.create_executions([{}] * 1_001)
        yield ledger


def test_a_stream_of_an_execution_that_was_never_created_is_found(
    shared, outsider
) -> None:
    event = ExecutionBecameEligible(
        execution_id="00000000-0000-7000-8000-00000000abcd",
        occurred_at_ms=1,
        eligible_at_ms=1,
    )
    stream_id = str(event.execution_id)
    state, _ = encode(event, stream_id, 1, FIRST_HASH)
    position = shared.read.settled_position() + 1
    insert(outsider, position, stream_id, 1, event.TOPIC, state)
    (fault,) = shared.verify().faults
    assert fault.kind is leasehold.FaultKind.ORDER
    assert (fault.position, fault.execution_id) == (position, stream_id)


def insert(outsider, *values):
    outsider.execute(
        "INSERT INTO stored_events (notification_id, originator_id,"
        " originator_version, topic, state) VALUES (?, ?, ?, ?, ?)",
        *values,
    )


STRANGE = ["x", "", "é" * 50, "0" * 500, "ffffffff", "a/b/c/d", "%s", "'"]


@pytest.mark.parametrize("stream_id", STRANGE)
def test_a_stream_id_that_is_none_is_found(stream_id, shared, outsider) -> None:
    first = outsider.execute("SELECT * FROM stored_events WHERE notification_id = 1")
    position = shared.read.settled_position() + 1
    insert(outsider, position, stream_id, 1, first[0]["topic"], first[0]["state"])
    faults = shared.verify().faults
    assert {it.position for it in faults} == {position}
    assert {it.execution_id for it in faults} == {stream_id[:36]}
    kinds = {it.kind for it in faults}
    assert kinds == {leasehold.FaultKind.CHAIN, leasehold.FaultKind.UNREADABLE}


def test_a_redacted_bundle_that_was_taken_in_is_named(told, fresh, tmp_path) -> None:
    told.export(tmp_path / "whole")
    redacted = told.export(tmp_path / "redacted", redact=True)
    store = fresh()
    store.import_bundle(tmp_path / "redacted")
    assert store.verify().redacted_from == (redacted.header.original_sha256,)
    with store.as_of() as read:
        assert leasehold.Ledger(read._store).verify().redacted_from == (
            redacted.header.original_sha256,
        )
