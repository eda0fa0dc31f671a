"""What a file store does when it is busy, damaged, or of an earlier version."""

import sqlite3

import pytest

import leasehold

TABLES = {
    "exec_core": "execution_id",
    "attempt": "execution_id, attempt_index",
    "summary": "execution_id, attempt_index",
    "lease_event": "event_id",
    "stream_frame": "execution_id, attempt_index, ts_ms, seq",
}


@pytest.fixture
def outsider(file_path):
    """Connect to the file as anybody could: `outsider()`."""
    connections = []

    def connect():
        connections.append(sqlite3.connect(file_path, isolation_level=None))
        return connections[-1]

    yield connect
    for connection in connections:
        connection.close()


@pytest.fixture
def worked(file_url, clock, start_in):
    """Leave a file with a row in every table and give a handle that ran out."""
    with leasehold.open(file_url, clock=clock) as ledger:
        start_in(ledger)
        ledger.create_execution(tags={"a": "b"}, payload=b"\x00\xff")
        handle = ledger.claim(worker_id="w", lease_ttl_ms=1_000)
        for mode in (leasehold.Durable(), leasehold.Summary(), leasehold.BestEffort()):
            ledger.append_frame(handle, leasehold.Frame(b'{"a":1}', mode=mode))
        ledger.progress(handle, 5, "five")
        clock.advance(1_000)
        with pytest.raises(leasehold.LeaseExpiredError):
            ledger.renew(handle)
        ledger.sweep()
    return handle


@pytest.fixture
def start_in():
    """Run an execution to its end in a ledger."""

    def run(ledger):
        ledger.create_execution(lane_id="other")
        ledger.complete(ledger.claim("other", worker_id="w"), b"done")

    return run


def rows_of(connection):
    return {
        table: connection.execute(f"SELECT * FROM {table} ORDER BY {key}").fetchall()
        for table, key in TABLES.items()
    }


def test_a_store_that_stays_busy_is_told_and_can_be_tried_again(
    file_url, clock, outsider, monkeypatch
) -> None:
    # Nobody wants to wait for the thirty seconds of the real timeout.
    monkeypatch.setattr("leasehold.adapters.sqlite.connecting.BUSY_TIMEOUT_S", 0.1)
    with leasehold.open(file_url, clock=clock) as ledger:
        execution_id = ledger.create_execution()
        other = outsider()
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(leasehold.StoreError, match=r"ledger\.db") as refused:
            ledger.claim(worker_id="w")
        assert refused.value.code == "store_busy"
        assert refused.value.retryable is True
        assert ledger.read.execution(execution_id).public_state == "pending"
        other.execute("ROLLBACK")
        assert ledger.claim(worker_id="w") is not None


def test_a_call_waits_for_a_writer_that_is_done_in_time(
    file_url, clock, outsider
) -> None:
    import threading

    with leasehold.open(file_url, clock=clock) as ledger:
        other = outsider()
        other.execute("BEGIN IMMEDIATE")
        made = []
        thread = threading.Thread(target=lambda: made.append(ledger.create_execution()))
        thread.start()
        thread.join(0.05)
        assert made == []
        other.execute("ROLLBACK")
        thread.join(20)
        assert len(made) == 1


def test_projections_of_an_earlier_version_are_rebuilt_on_open(
    worked, file_url, clock, outsider
) -> None:
    connection = outsider()
    before = rows_of(connection)
    assert all(before.values())
    connection.execute("UPDATE exec_core SET priority = priority + 1")
    connection.execute("DELETE FROM lease_event")
    connection.execute(
        "UPDATE leasehold_meta SET value = '0' WHERE key = 'projection_version'"
    )
    connection.close()

    with leasehold.open(file_url, clock=clock) as ledger:
        assert rows_of(outsider()) == before
        assert ledger.claim(worker_id="w2").execution_id == worked.execution_id


def test_read_only_does_not_rebuild(worked, file_url, file_path, outsider) -> None:
    connection = outsider()
    connection.execute(
        "UPDATE leasehold_meta SET value = '0' WHERE key = 'projection_version'"
    )
    connection.close()
    before = file_path.read_bytes()
    with pytest.raises(leasehold.StoreError, match="read_only") as refused:
        leasehold.open(file_url, read_only=True)
    assert refused.value.code == "schema_version"
    assert file_path.read_bytes() == before


DAMAGES = {
    "no JSON": b"not JSON",
    "nothing": b"",
    "another form": b'{"sha256":"","schema_version":1}',
    "not UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_event_is_told_by_its_place(
    case, worked, file_url, clock, outsider
) -> None:
    connection = outsider()
    triggers = connection.execute(
        "SELECT name FROM sqlite_master"
        " WHERE type = 'trigger' AND tbl_name = 'stored_events'"
    ).fetchall()
    for (name,) in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(
        "UPDATE stored_events SET state = ? WHERE originator_id = ?"
        " AND originator_version = 1",
        (DAMAGES[case], str(worked.execution_id)),
    )
    connection.close()
    with leasehold.open(file_url, clock=clock) as ledger:
        for read in (
            lambda: ledger.read.history(worked.execution_id),
            ledger.read.events,
        ):
            with pytest.raises(
                leasehold.StoreError, match=str(worked.execution_id)
            ) as refused:
                read()
            assert refused.value.code == "corrupt_event"


def test_an_event_of_a_later_version_is_told(worked, file_url, clock, outsider) -> None:
    connection = outsider()
    connection.execute(
        "INSERT INTO stored_events"
        " (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)",
        (str(worked.execution_id), 999, "execution.teleported", b"{}"),
    )
    connection.close()
    with (
        leasehold.open(file_url, clock=clock) as ledger,
        pytest.raises(leasehold.StoreError, match="teleported") as refused,
    ):
        ledger.read.history(worked.execution_id)
    assert refused.value.code == "corrupt_event"
