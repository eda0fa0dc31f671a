"""Projections made anew from the events, and two stores held side by side."""

import sqlite3
from contextlib import closing

import pytest
from twins import differences, replayed

import leasehold
from leasehold.adapters import walking
from leasehold.adapters.rebuilding import rebuild_projections
from leasehold.adapters.sqlite.schema import SCHEMA_VERSION
from leasehold.projections.registry import KEYS, PROJECTION_VERSION

TRANSIENT = leasehold.FailureClass.TRANSIENT
BEST_EFFORT = leasehold.Frame(b"live", mode=leasehold.BestEffort())
LIVE_FRAMES = 6


@pytest.fixture
def worked(file_url, clock):
    """Give a file in which every table has rows, best-effort frames among them."""
    with leasehold.open(file_url, clock=clock) as ledger:
        first = ledger.create_execution(payload=b"work", tags={"a": "ö"})
        handle = ledger.claim(worker_id="worker-1", lease_ttl_ms=1_000)
        ledger.progress(handle, 12.5, "half")
        ledger.append_frame(handle, leasehold.Frame(b"\x00\xff"))
        summary = leasehold.Frame(b'{"a":"__ff_null__"}', mode=leasehold.Summary())
        ledger.append_frame(handle, summary)
        for _ in range(LIVE_FRAMES - 1):
            clock.advance(1)
            ledger.append_frame(handle, BEST_EFFORT)
        grant = ledger.issue_resume_grant(first, worker_id="worker-1")
        ledger.issue_resume_grant(first, worker_id="worker-2", actor="ann")
        clock.advance(2_000)
        with pytest.raises(leasehold.LeaseExpiredError):
            ledger.renew(handle)
        handle = ledger.claim_from_resume_grant(grant, worker_id="worker-1")
        ledger.append_frame(handle, BEST_EFFORT)
        ledger.fail(handle, "broke", TRANSIENT)
        ledger.create_execution(lane_id="other", idempotency_key="once")
        done = ledger.claim("other", worker_id="worker-2")
        ledger.complete(done, b"done")
    return file_url


@pytest.fixture
def outsider(file_path):
    """Change the file as somebody with plain SQL would."""

    def run(*statements):
        with closing(sqlite3.connect(file_path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return run


@pytest.fixture
def contents(file_path):
    """Read the whole file: each table's rows, and the schema."""

    def read():
        tables = [*KEYS, "exec_core", "stored_events", "leasehold_meta"]
        tables += ["best_effort_rate"]
        with closing(sqlite3.connect(file_path)) as connection:
            rows = {
                table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr)
                for table in tables
            }
            made = connection.execute("SELECT type, name, sql FROM sqlite_master")
            return {**rows, "schema": sorted(made)}

    return read


def version(key, value):
    return f"UPDATE leasehold_meta SET value = '{value}' WHERE key = '{key}'"


OLDER = version("projection_version", PROJECTION_VERSION - 1)
RUINS = {
    "nothing but the version": (),
    "a changed column": ("UPDATE attempt SET worker_id = 'nobody'",),
    "missing rows": (
        "DELETE FROM exec_state",
        "DELETE FROM exec_blob",
        "DELETE FROM attempt",
        "DELETE FROM summary",
        "DELETE FROM lease_event",
        "DELETE FROM stream_frame WHERE mode <> 'best_effort'",
        "DELETE FROM resume_grant",
    ),
    "a row too many": (
        "INSERT INTO exec_blob VALUES ('nobody', x'00', NULL)",
        "INSERT INTO resume_grant VALUES ('g', 'e', 'w', NULL, 1, 2, NULL)",
    ),
    "missing tables": (
        "DROP VIEW exec_core",
        "DROP TABLE exec_blob",
        "DROP TABLE lease_event",
        "DROP TABLE resume_grant",
    ),
    "a missing index": ("DROP INDEX exec_state_claimable",),
    "a column too many": ("ALTER TABLE exec_state ADD COLUMN colour TEXT",),
    "a view where a table was": (
        "DROP TABLE summary",
        "CREATE VIEW summary AS SELECT 1 AS one",
    ),
}


@pytest.mark.parametrize("ruin", RUINS)
def test_older_projections_are_rebuilt_to_the_same_rows_on_open(
    ruin, worked, contents, outsider, clock
) -> None:
    before = contents()
    assert all(before.values())
    outsider(OLDER, *RUINS[ruin])
    leasehold.open(worked, clock=clock).close()
    assert contents() == before


def test_best_effort_frames_are_carried_over(worked, contents, outsider) -> None:
    live = [row for row in contents()["stream_frame"] if "best_effort" in row]
    assert len(live) == LIVE_FRAMES
    outsider(OLDER)
    leasehold.open(worked).close()
    after = contents()
    assert [row for row in after["stream_frame"] if "best_effort" in row] == live
    assert after["best_effort_rate"]


def test_a_rebuilt_store_is_worked_on(worked, outsider, clock) -> None:
    outsider(OLDER, "DELETE FROM attempt", "DELETE FROM exec_state")
    clock.advance(60_000)
    with leasehold.open(worked, clock=clock) as ledger:
        handle = ledger.claim(worker_id="worker-3")
        assert (handle.attempt_index, handle.lease_epoch) == (1, 3)
        ledger.complete(handle)


def test_a_long_log_is_rebuilt_page_by_page(
    worked, contents, outsider, monkeypatch
) -> None:
    before = contents()
    for page in (1, 2, len(before["stored_events"]), 10_000):
        monkeypatch.setattr(walking, "PAGE", page)
        outsider(OLDER, "DELETE FROM lease_event")
        leasehold.open(worked).close()
        assert contents() == before


def test_current_projections_are_left_alone(worked, contents, outsider) -> None:
    outsider("UPDATE attempt SET worker_id = 'nobody'")
    before = contents()
    leasehold.open(worked).close()
    assert contents() == before


def test_read_only_refuses_to_rebuild_and_writes_nothing(
    worked, contents, outsider
) -> None:
    outsider(OLDER, "DELETE FROM attempt")
    before = contents()
    with pytest.raises(leasehold.StoreError, match="without read_only") as raised:
        leasehold.open(worked, read_only=True)
    assert raised.value.code == "schema_version"
    assert contents() == before


LATER = {
    "schema_version": SCHEMA_VERSION + 1,
    "projection_version": PROJECTION_VERSION + 1,
}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("key", LATER)
def test_a_later_version_is_refused_and_left_alone(
    key, read_only, worked, contents, outsider
) -> None:
    outsider(version(key, LATER[key]))
    before = contents()
    with pytest.raises(leasehold.StoreError, match="later version") as raised:
        leasehold.open(worked, read_only=read_only)
    assert raised.value.code == "schema_version"
    assert f"its {key} is {LATER[key]}" in str(raised.value)
    assert contents() == before


CORRUPT = (
    "INSERT INTO stored_events"
    " (originator_id, originator_version, topic, state)"
    " VALUES ('x', 1, 'execution.cancelled', x'7b7d')"
)


def test_a_rebuild_that_meets_a_corrupt_event_leaves_the_old_rows(
    worked, contents, outsider
) -> None:
    outsider(OLDER, "UPDATE attempt SET worker_id = 'nobody'", CORRUPT)
    before = contents()
    position = max(row[0] for row in before["stored_events"])
    for _ in range(2):
        with pytest.raises(leasehold.StoreError) as raised:
            leasehold.open(worked)
        assert raised.value.code == "corrupt_event"
        assert f"position {position} (stream x," in str(raised.value)
        assert contents() == before


def test_a_rebuild_that_failed_can_be_tried_again(worked, contents, outsider) -> None:
    before = contents()
    with closing(leasehold.open(worked)) as ledger:
        outsider(CORRUPT, "DELETE FROM attempt")
        with pytest.raises(leasehold.StoreError):
            rebuild_projections(ledger._store)
        outsider(
            "DROP TRIGGER stored_events_are_never_deleted",
            "DELETE FROM stored_events WHERE originator_id = 'x'",
        )
        rebuild_projections(ledger._store)
    after = contents()
    assert {table: after[table] for table in KEYS} == {
        table: before[table] for table in KEYS
    }


def test_a_store_is_replayed_to_the_same_rows_and_bytes(worked) -> None:
    log = "SELECT * FROM stored_events ORDER BY notification_id"
    with leasehold.open(worked) as ledger:
        store = ledger._store
        with replayed(store) as twin:
            assert differences(store, twin) == []
            assert differences(twin, store) == []
            assert twin.query_plain(log) == store.query_plain(log)
            live = "SELECT * FROM stream_frame WHERE mode = 'best_effort'"
            assert twin.query_plain(live) == []
            assert len(store.query_plain(live)) == LIVE_FRAMES


def test_a_store_in_memory_is_replayed_too(clock) -> None:
    with leasehold.open("sqlite://", clock=clock) as ledger:
        ledger.create_execution()
        with replayed(ledger._store) as twin:
            assert differences(ledger._store, twin) == []


ALTERED = {
    "exec_state": ("lane_id", "'elsewhere'"),
    "exec_blob": ("payload", "x'ee'"),
    "attempt": ("worker_id", "'nobody'"),
    "summary": ("document_json", "'{}'"),
    "lease_event": ("actor", "'somebody'"),
    "stream_frame": ("payload", "x'ee'"),
    "resume_grant": ("expires_at_ms", "7"),
}


def test_every_table_is_altered_in_these_tests() -> None:
    assert ALTERED.keys() == KEYS.keys()


def one_row(table) -> str:
    """Name one row of a table that is a projection."""
    condition = " WHERE mode = 'durable'" if table == "stream_frame" else ""
    return f"rowid = (SELECT min(rowid) FROM {table}{condition})"


@pytest.mark.parametrize("table", KEYS)
def test_a_changed_column_is_found(table, worked, outsider) -> None:
    column, value = ALTERED[table]
    outsider(f"UPDATE {table} SET {column} = {value} WHERE {one_row(table)}")
    with leasehold.open(worked) as ledger, replayed(ledger._store) as twin:
        ((found, row, other),) = differences(ledger._store, twin)
    assert found == table
    assert {name for name in row if row[name] != other[name]} == {column}


@pytest.mark.parametrize("table", KEYS)
def test_a_missing_row_is_found(table, worked, outsider) -> None:
    outsider(f"DELETE FROM {table} WHERE {one_row(table)}")
    with leasehold.open(worked) as ledger, replayed(ledger._store) as twin:
        ((found, row, other),) = differences(ledger._store, twin)
        assert differences(twin, ledger._store) == [(table, other, None)]
    assert (found, row) == (table, None)
    assert set(KEYS[table]) <= other.keys()


@pytest.mark.parametrize("table", KEYS)
def test_an_added_row_is_found(table, worked, outsider) -> None:
    key = KEYS[table][-1]
    added = "'added'" if key in ("execution_id", "grant_id") else "999999"
    outsider(
        f"CREATE TEMP TABLE one AS SELECT * FROM {table} WHERE {one_row(table)}",
        f"UPDATE temp.one SET {key} = {added}",
        *(
            ["UPDATE temp.one SET idempotency_key = NULL"]
            if table == "exec_state"
            else []
        ),
        f"INSERT INTO {table} SELECT * FROM temp.one",
    )
    with leasehold.open(worked) as ledger, replayed(ledger._store) as twin:
        ((found, row, other),) = differences(ledger._store, twin)
    assert (found, other) == (table, None)
    assert str(row[key]) == added.strip("'")


def test_a_best_effort_frame_is_no_difference(worked, outsider) -> None:
    outsider("DELETE FROM stream_frame WHERE mode = 'best_effort'")
    with leasehold.open(worked) as ledger, replayed(ledger._store) as twin:
        assert differences(ledger._store, twin) == []


def test_a_corrupt_event_is_not_replayed(worked, outsider) -> None:
    outsider(CORRUPT)
    with leasehold.open(worked) as ledger:
        with (
            pytest.raises(leasehold.StoreError) as raised,
            replayed(ledger._store),
        ):
            pass
        assert raised.value.code == "corrupt_event"


def test_a_store_restored_from_a_dump_goes_on(file_url, file_path, tmp_path) -> None:
    with leasehold.open(file_url) as ledger:
        execution_id = ledger.create_execution(payload=b"\x00bytes")
        handle = ledger.claim(worker_id="w")
        before = ledger.read.history(execution_id)
    copy = tmp_path / "restored.db"
    with (
        closing(sqlite3.connect(file_path)) as source,
        closing(sqlite3.connect(copy)) as restored,
    ):
        restored.executescript("\n".join(source.iterdump()))
    with leasehold.open(f"sqlite:///{copy}") as ledger:
        assert ledger.read.history(execution_id) == before
        ledger.complete(handle, b"done")
        with replayed(ledger._store) as private:
            assert differences(ledger._store, private) == []
