"""Rows that someone changed by hand: told as what they are, never a Python error."""

import sqlite3

import pytest

import leasehold
from leasehold.adapters.rebuilding import rebuild_projections
from leasehold.adapters.sqlite import schema


@pytest.fixture
def store_url(sqlite_url):
    """Name the SQLite stores: the damage is done in their own terms."""
    return sqlite_url


@pytest.fixture
def damage(ledger):
    """Run one plain statement in the store, past the ledger."""

    def run(statement: str) -> None:
        with ledger._store.write() as session:
            session.cursor.execute(statement)

    return run


@pytest.mark.parametrize(
    "assignment",
    ["retry_policy = 'no'", "execution_id = 'no'", "retry_policy = '{\"a\": 1}'"],
)
def test_a_claim_meets_a_row_that_cannot_be_read(ledger, damage, assignment) -> None:
    ledger.create_execution()
    damage(f"UPDATE exec_state SET {assignment}")
    with pytest.raises(leasehold.StoreError, match="by hand") as raised:
        ledger.claim(worker_id="w")
    assert raised.value.code == "corrupt_event"


@pytest.mark.parametrize("assignment", ["tags = 'no'", "raw_fields = x'ff'"])
def test_a_read_meets_a_row_that_cannot_be_read(ledger, damage, assignment) -> None:
    execution_id = ledger.create_execution()
    damage(f"UPDATE exec_state SET {assignment}")
    with pytest.raises(leasehold.StoreError, match="by hand") as raised:
        ledger.read.execution(execution_id)
    assert raised.value.code == "corrupt_event"


def test_an_active_execution_without_its_attempt_is_told(ledger, damage) -> None:
    execution_id = ledger.create_execution()
    ledger.claim(worker_id="w", lease_ttl_ms=1)
    damage("DELETE FROM attempt")
    damage("UPDATE exec_state SET is_claimable = 1")
    with pytest.raises(leasehold.StoreError, match=str(execution_id)) as raised:
        ledger.claim(worker_id="w")
    assert raised.value.code == "corrupt_event"


def test_a_head_that_is_no_hash_is_told_and_nothing_is_written(
    ledger, damage, event_count
) -> None:
    ledger.create_execution()
    damage("UPDATE exec_state SET stream_sha256 = 'zz'")
    before = event_count()
    with pytest.raises(leasehold.StoreError, match="by hand") as raised:
        ledger.claim(worker_id="w")
    assert raised.value.code == "corrupt_event"
    assert event_count() == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE leasehold_meta SET value = 'abc'",
        "DELETE FROM leasehold_meta",
        "DELETE FROM leasehold_meta WHERE key = 'projection_version'",
    ],
)
def test_versions_that_are_none_are_refused_by_name(file_path, statement) -> None:
    url = f"sqlite:///{file_path}"
    leasehold.open(url).close()
    with sqlite3.connect(file_path) as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(leasehold.StoreError, match="leasehold_meta") as raised:
        leasehold.open(url)
    assert raised.value.code == "schema_version"


def test_projections_that_were_dropped_are_rebuilt(ledger, sql) -> None:
    execution_id = ledger.create_execution()
    handle = ledger.claim(worker_id="w")
    ledger.append_frame(handle, leasehold.Frame(b"x"))
    before = sql("SELECT * FROM stream_frame"), sql("SELECT * FROM exec_core")
    with ledger._store.write() as session:
        session.cursor.execute("DROP TABLE stream_frame")
    rebuild_projections(ledger._store)
    assert (sql("SELECT * FROM stream_frame"), sql("SELECT * FROM exec_core")) == before
    assert ledger.read.execution(execution_id).public_state == "running"


def test_a_rebuild_that_another_process_made_is_not_made_again(ledger) -> None:
    ledger.create_execution()
    with ledger._store.write() as session:
        session.cursor.execute("UPDATE exec_state SET priority = 7")
    rebuild_projections(ledger._store, only_older=True)
    assert ledger.read.executions()[0].priority == 7
    rebuild_projections(ledger._store)
    assert ledger.read.executions()[0].priority == 0


@pytest.mark.parametrize("column", ["state", "originator_version"])
def test_a_stored_event_of_another_type_is_refused(ledger, column) -> None:
    values = {"state": "x'00'", "originator_version": "1", column: "'text'"}
    with (
        pytest.raises(leasehold.StoreError, match="CHECK"),
        ledger._store.write() as session,
    ):
        session.cursor.execute(
            "INSERT INTO stored_events"
            " (originator_id, originator_version, topic, state)"
            f" VALUES ('x', {values['originator_version']}, 't', {values['state']})"
        )


@pytest.mark.parametrize("version", ["schema", "projection"])
def test_a_ledger_stops_writing_when_a_later_version_took_the_store_over(
    file_url, monkeypatch, version
) -> None:
    with leasehold.open(file_url) as ledger:
        execution_id = ledger.create_execution()
        with monkeypatch.context() as later:
            if version == "schema":
                later.setattr(schema, "SCHEMA_VERSION", 2)
            with ledger._store.write(any_version=True) as session:
                schema.set_projection_version(session.cursor, 2)
        with pytest.raises(leasehold.StoreError, match="another version") as raised:
            ledger.claim(worker_id="w")
        assert raised.value.code == "schema_version"
        assert len(ledger.read.history(execution_id)) == 1
