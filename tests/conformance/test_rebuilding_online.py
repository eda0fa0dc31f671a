"""Rebuilding while the ledger is at work: every damage to the rows is put right."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

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
from reading_all import bare_log, tables

import leasehold
from leasehold.projections.registry import KEYS

TABLES = [*KEYS]
PROGRAM = Path(__file__).with_name("rebuilding_process.py")
READY_S_MAX = 60


def test_a_good_store_is_left_as_it_is(told) -> None:
    before = tables(told), bare_log(told)
    assert told.rebuild() == []
    assert (tables(told), bare_log(told)) == before


def test_it_tells_how_far_it_is(told) -> None:
    seen = []
    told.rebuild(lambda *told: seen.append(told))
    done = [events for events, _ in seen]
    assert done == sorted(done)
    assert done[-1] == len(told.read.events())
    assert all(events <= total for events, total in seen)


@pytest.mark.parametrize("table", TABLES)
def test_each_column_is_put_right(table, shared, outsider) -> None:
    before = tables(shared)
    rows = rows_of(outsider, table)
    for column in rows[0]:
        if column in (*KEYS[table], "execution_id", *UNCHANGEABLE):
            continue
        row = max(rows, key=lambda row: row[column] is not None)
        value = different(column, row[column])
        change(outsider, table, row, column, value)
        (found,) = shared.rebuild()
        assert found.table == shown(table)
        assert found.columns == {column: (value, row[column])}
        assert {**found.before, **row} == found.after
        assert all(row[name] == told for name, told in found.key.items())
        assert tables(shared) == before
    assert shared.verify().ok


@pytest.mark.parametrize("table", TABLES)
def test_each_row_that_is_missing_comes_back(table, shared, outsider) -> None:
    before = tables(shared)
    for row in rows_of(outsider, table):
        remove(outsider, table, row)
        (found,) = shared.rebuild()
        assert found.table == shown(table)
        assert found.after.items() >= row.items()
        assert tables(shared) == before
    assert shared.verify().ok


@pytest.mark.parametrize("table", TABLES)
def test_each_row_too_many_goes(table, shared, outsider) -> None:
    before = tables(shared)
    for row in [*added_rows(outsider, table)]:
        add(outsider, table, row)
        (found,) = shared.rebuild()
        assert (found.table, found.after) == (shown(table), None)
        assert found.before.items() >= row.items()
        assert tables(shared) == before
    assert shared.verify().ok


@pytest.mark.parametrize("table", TABLES)
def test_a_row_that_went_to_another_execution_comes_back(
    table, shared, outsider
) -> None:
    before = tables(shared)
    for stranger in ("!", "zzz"):
        change(outsider, table, rows_of(outsider, table)[0], "execution_id", stranger)
        assert len(shared.rebuild()) == 2
        assert tables(shared) == before


def test_all_rows_of_all_tables_come_back(shared, outsider) -> None:
    before = tables(shared)
    for table in TABLES:
        outsider.execute(f"DELETE FROM {table}")
    differences = shared.rebuild()
    assert {it.table for it in differences} == {shown(table) for table in TABLES}
    assert all(it.before is None for it in differences)
    assert tables(shared) == before
    assert shared.rebuild() == []


def test_rows_that_stand_in_each_others_place_are_put_right(shared, outsider) -> None:
    """A key that two executions changed between them must be free in between."""
    before = tables(shared)
    keyed = [it for it in rows_of(outsider, "exec_state") if it["idempotency_key"]]
    one, other = keyed[:2]
    places = ("namespace", "idempotency_key")
    change(outsider, "exec_state", one, "idempotency_key", "free")
    for row, values in ((other, one), (one, other)):
        for column in places:
            change(outsider, "exec_state", row, column, values[column])
    assert len(shared.rebuild()) == 2
    assert tables(shared) == before


def test_a_frame_that_was_made_best_effort_comes_back(shared, outsider) -> None:
    before = tables(shared)
    row = rows_of(outsider, "stream_frame")[0]
    change(outsider, "stream_frame", row, "mode", "best_effort")
    (found,) = shared.rebuild()
    assert (found.table, found.before) == ("stream_frame", None)
    assert tables(shared) == before


def test_best_effort_frames_survive(shared, outsider) -> None:
    shared.create_execution(lane_id="live")
    handle = shared.claim("live", worker_id="w", lease_ttl_ms=1_000)
    for number in range(3):
        live = leasehold.Frame(b"%d" % number, mode=leasehold.BestEffort())
        shared.append_frame(handle, live)
    shared.append_frame(handle, leasehold.Frame(b"kept"))
    frames = shared.read.frames(handle.execution_id, 0)
    outsider.execute("DELETE FROM stream_frame WHERE mode <> 'best_effort'")
    outsider.execute("DELETE FROM exec_state")
    assert shared.rebuild() != []
    assert shared.read.frames(handle.execution_id, 0) == frames
    assert len(frames) == 4


def test_nobody_sees_an_internal_table(shared, outsider) -> None:
    change(
        outsider, "exec_state", rows_of(outsider, "exec_state")[0], "priority", 4_000
    )
    outsider.execute("UPDATE exec_blob SET payload = ?", b"\x00other")
    differences = shared.rebuild()
    assert {it.table for it in differences} == {"exec_core"}
    # One row of exec_core is one difference, in whatever tables it is kept.
    ids = [it.key["execution_id"] for it in differences]
    assert len(ids) == len(set(ids))
    changed = [set(it.columns) for it in differences]
    assert {"priority", "payload"} in changed


def test_a_corrupt_event_leaves_the_old_rows(shared, outsider) -> None:
    row = rows_of(outsider, "exec_state")[0]
    change(outsider, "exec_state", row, "priority", 4_000)
    before = tables(shared)
    outsider.lift_the_guard()
    last = shared.read.settled_position()
    (state,) = outsider.execute(
        "SELECT state FROM stored_events WHERE notification_id = ?", last
    )
    for damage in (
        b"x",
        state["state"].replace(b'"execution_id":"0', b'"execution_id":"1'),
    ):
        outsider.execute(
            "UPDATE stored_events SET state = ? WHERE notification_id = ?", damage, last
        )
        with pytest.raises(leasehold.StoreError) as caught:
            shared.rebuild()
        assert caught.value.code == "corrupt_event"
        assert str(last) in str(caught.value)
        assert tables(shared) == before


def test_a_summary_that_cannot_be_merged_is_a_corrupt_event(shared, outsider) -> None:
    outsider.lift_the_guard()
    rows = outsider.execute(
        "SELECT * FROM stored_events WHERE topic = 'frame.appended'"
    )
    row = next(it for it in rows if b'"mode":"summary"' in it["state"])
    outsider.execute(
        "UPDATE stored_events SET state = ? WHERE notification_id = ?",
        row["state"].replace(b'"payload":"eyJh', b'"payload":"AAAA'),
        row["notification_id"],
    )
    with pytest.raises(leasehold.StoreError) as caught:
        shared.rebuild()
    assert caught.value.code == "corrupt_event"
    assert str(row["notification_id"]) in str(caught.value)


def test_a_ledger_to_be_read_only_rebuilds_nothing(shared, shared_url) -> None:
    with (
        leasehold.open(shared_url, read_only=True) as reader,
        pytest.raises(leasehold.StoreError, match="read_only"),
    ):
        reader.rebuild()


def test_writers_go_on_meanwhile(shared, shared_url, outsider) -> None:
    shared.create_executions([{"lane_id": "busy"} for _ in range(300)])
    stop, failures, done = threading.Event(), [], []

    def work(number):
        try:
            with leasehold.open(shared_url, durability="normal") as ledger:
                while not stop.is_set():
                    ledger.create_execution(lane_id="busy")
                    handle = ledger.claim("busy", worker_id=f"w-{number}")
                    ledger.renew(handle)
                    ledger.complete(handle, b"done")
                    done.append(handle)
        except Exception as error:  # noqa: BLE001 - told by the assertion
            failures.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for round_number in range(6):
        outsider.execute("UPDATE exec_state SET priority = 77 WHERE lane_id = 'mails'")
        outsider.execute("DELETE FROM lease_event WHERE event_id < 60")
        before = len(done)
        found = shared.rebuild()
        assert found != []
        assert {it.table for it in found} == {"exec_core", "lease_event"}, round_number
        while len(done) <= before and not failures:
            pass
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert shared.verify().ok
    assert shared.rebuild() == []


def at_the_end(call):
    """Make a progress that calls once, when all was read and nothing was put right."""
    called = []

    def progress(done, total):
        if done == total and not called:
            called.append(call())

    return progress


def test_what_happens_before_the_repair_is_taken_into_it(shared, outsider) -> None:
    one = shared.create_execution(lane_id="busy", payload=b"work")
    handle = shared.claim("busy", worker_id="w")
    outsider.execute("DELETE FROM exec_blob WHERE execution_id = ?", str(one))
    (found,) = shared.rebuild(at_the_end(lambda: shared.complete(handle, b"done")))
    assert (found.after["payload"], found.after["result"]) == (b"work", b"done")
    assert shared.read.execution(one).result == b"done"
    assert shared.verify().ok


def test_what_a_later_version_took_over_meanwhile_is_left_alone(
    shared, outsider
) -> None:
    outsider.execute("UPDATE exec_state SET priority = 77 WHERE lane_id = 'mails'")
    before = tables(shared)
    later = "UPDATE leasehold_meta SET value = '99' WHERE key = 'projection_version'"
    with pytest.raises(leasehold.StoreError, match="another version") as refused:
        shared.rebuild(at_the_end(lambda: outsider.execute(later)))
    assert refused.value.code == "schema_version"
    assert tables(shared) == before


def started(url, *arguments):
    """Start a process that rebuilds, and wait until it is in the midst."""
    process = subprocess.Popen(
        [sys.executable, PROGRAM, url, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().strip() == "ready"
    return process


KILLED_AT = ["read", "locked", "deleted", "inserted", "differences"]


@pytest.mark.parametrize("moment", KILLED_AT)
def test_killed_in_the_midst_it_has_changed_nothing(
    moment, shared, shared_url, outsider
) -> None:
    right = tables(shared)
    outsider.execute("UPDATE exec_state SET priority = 77 WHERE lane_id = 'mails'")
    outsider.execute("DELETE FROM attempt")
    wrong = tables(shared)
    for _ in range(2):
        process = started(shared_url, moment)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=READY_S_MAX)
        assert tables(shared) == wrong
    assert shared.rebuild() != []
    assert tables(shared) == right


def test_several_at_once_do_no_harm(shared, shared_url, outsider) -> None:
    right = tables(shared)
    outsider.execute("UPDATE exec_state SET priority = 77 WHERE lane_id = 'mails'")
    outsider.execute("DELETE FROM attempt")
    damaged = len(right["attempt"]) + sum(
        row["lane_id"] == "mails" for row in right["exec_state"]
    )
    running = [started(shared_url, "together") for _ in range(3)]
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    counts = [int(it.communicate(timeout=READY_S_MAX)[0]) for it in running]
    assert sorted(counts) == [0, 0, damaged]
    assert [it.returncode for it in running] == [0, 0, 0]
    assert tables(shared) == right
