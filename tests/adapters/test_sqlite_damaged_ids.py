"""Ids that only SQLite lets somebody put in: bytes, and in some tables nothing."""

import sqlite3
from contextlib import closing

import pytest

import leasehold

BYTES_ID = "x'00ff'"
WHERE = "WHERE rowid = 1"


@pytest.fixture
def damage(file_path):
    """Change the file with plain SQL, and take the guard off the log."""

    def run(statement):
        with closing(sqlite3.connect(file_path)) as connection:
            made = connection.execute(
                "SELECT name FROM sqlite_master"
                " WHERE type = 'trigger' AND tbl_name = 'stored_events'"
            )
            for (name,) in made.fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute(statement)
            connection.commit()

    return run


@pytest.fixture
def ids(file_url):
    """Give a file with three executions at work, and their ids."""
    with leasehold.open(file_url) as ledger:
        for _ in range(3):
            ledger.create_execution(payload=b"work")
            ledger.claim(worker_id="w")
        return [str(it.execution_id) for it in ledger.read.executions()]


@pytest.mark.parametrize("table", ["exec_state", "exec_blob", "attempt", "lease_event"])
def test_an_id_in_bytes_is_found_and_put_right(table, ids, damage, file_url) -> None:
    first = f"WHERE execution_id = '{ids[0]}'"
    damage(f"UPDATE {table} SET execution_id = {BYTES_ID} {first}")
    with leasehold.open(file_url) as ledger:
        faults = ledger.verify().faults
        assert {it.execution_id for it in faults} == {ids[0], r"b'\x00\xff'"}
        assert len(faults) == 2
        assert len(ledger.rebuild()) == 2
        assert ledger.verify().ok


def test_an_id_that_is_null_hides_no_other_row(ids, damage, file_url) -> None:
    damage("INSERT INTO exec_blob VALUES (NULL, x'00', NULL)")
    with leasehold.open(file_url) as ledger:
        (fault,) = ledger.verify().faults
        assert (fault.execution_id, fault.table) == ("None", "exec_core")
        assert "no event" in fault.text
        assert len(ledger.rebuild()) == 1
        assert ledger.verify().ok


@pytest.mark.parametrize("table", ["exec_state", "attempt", "lease_event"])
def test_a_row_whose_id_became_null_is_put_right(table, ids, file_url, file_path):
    # Over writes that the schema would refuse: a file that was damaged.
    with closing(sqlite3.connect(file_path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'execution_id TEXT NOT NULL',"
            " 'execution_id TEXT') WHERE name = ?",
            (table,),
        )
        connection.commit()
    with closing(sqlite3.connect(file_path)) as connection:
        connection.execute(
            f"UPDATE {table} SET execution_id = NULL WHERE execution_id = ?", (ids[0],)
        )
        connection.commit()
    with leasehold.open(file_url) as ledger:
        assert {it.execution_id for it in ledger.verify().faults} == {ids[0], "None"}
        assert len(ledger.rebuild()) == 2
        assert ledger.verify().ok


@pytest.mark.parametrize("version", [0, -1, "x'00'", "'nine'"])
def test_a_version_that_is_none_is_said_to_be_damage(
    version, ids, damage, file_url, file_path
):
    damage("SELECT 1")  # the guard is off
    with closing(sqlite3.connect(file_path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(
            f"UPDATE stored_events SET originator_version = {version} {WHERE}"
        )
        connection.commit()
    with (
        leasehold.open(file_url) as ledger,
        ledger.as_of(10**6) as then,
        pytest.raises(leasehold.StoreError, match="whole numbers from 1") as caught,
    ):
        then.executions()
    assert caught.value.code == "corrupt_event"


def test_a_stream_id_in_bytes_is_found(ids, damage, file_url) -> None:
    damage(f"UPDATE stored_events SET originator_id = {BYTES_ID} {WHERE}")
    with leasehold.open(file_url) as ledger:
        faults = ledger.verify().faults
        with pytest.raises(leasehold.StoreError) as caught:
            ledger.rebuild()
    assert {it.execution_id for it in faults} == {ids[0], r"b'\x00\xff'"}
    assert caught.value.code == "corrupt_event"


def test_a_number_that_is_no_whole_one_is_found(ids, damage, file_url) -> None:
    with leasehold.open(file_url) as ledger:
        before = ledger.read.executions()
    damage(f"UPDATE attempt SET lease_epoch = 1.5 {WHERE}")
    with leasehold.open(file_url) as ledger:
        (fault,) = ledger.verify().faults
        assert fault.columns == {"lease_epoch": (1.5, 1)}
        assert len(ledger.rebuild()) == 1
        assert ledger.read.executions() == before
