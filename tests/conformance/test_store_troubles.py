"""What a store does when it is busy, damaged, or of an earlier version."""

import threading

import pytest

import leasehold

TABLES = {
    "exec_core": "execution_id",
    "attempt": "execution_id, attempt_index",
    "summary": "execution_id, attempt_index",
    "lease_event": "event_id",
    "stream_frame": "execution_id, attempt_index, ts_ms, seq",
}
OF_AN_EARLIER_VERSION = (
    "UPDATE leasehold_meta SET value = '0' WHERE key = 'projection_version'"
)


@pytest.fixture
def worked(shared_url, clock, start_in):
    """Leave a store with a row in every table and give a handle that ran out."""
    with leasehold.open(shared_url, clock=clock) as ledger:
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


def rows_of(outsider):
    return {
        table: outsider.execute(f"SELECT * FROM {table} ORDER BY {key}")
        for table, key in TABLES.items()
    }


def test_a_call_waits_for_a_writer_that_is_done_in_time(
    shared_url, clock, outsider
) -> None:
    with leasehold.open(shared_url, clock=clock) as ledger:
        one = ledger.create_execution()
        outsider.hold(one)
        done = []

        def write():
            done.append(ledger.change_priority(one, 5, actor="ann"))

        thread = threading.Thread(target=write)
        thread.start()
        thread.join(0.05)
        assert done == []
        outsider.release()
        thread.join(20)
        assert len(done) == 1
        assert ledger.read.execution(one).priority == 5


def test_projections_of_an_earlier_version_are_rebuilt_on_open(
    worked, shared_url, clock, outsider
) -> None:
    before = rows_of(outsider)
    assert all(before.values())
    outsider.execute("UPDATE exec_core SET priority = priority + 1")
    outsider.execute("DELETE FROM lease_event")
    outsider.execute(OF_AN_EARLIER_VERSION)

    with leasehold.open(shared_url, clock=clock) as ledger:
        assert rows_of(outsider) == before
        assert ledger.claim(worker_id="w2").execution_id == worked.execution_id


def test_read_only_does_not_rebuild(worked, shared_url, outsider) -> None:
    outsider.execute("DELETE FROM lease_event")
    outsider.execute(OF_AN_EARLIER_VERSION)
    before = rows_of(outsider)
    with pytest.raises(leasehold.StoreError, match="read_only") as refused:
        leasehold.open(shared_url, read_only=True)
    assert refused.value.code == "schema_version"
    assert rows_of(outsider) == before


DAMAGES = {
    "no JSON": b"not JSON",
    "nothing": b"",
    "another form": b'{"sha256":"","schema_version":1}',
    "not UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_event_is_told_by_its_place(
    case, worked, shared_url, clock, outsider
) -> None:
    outsider.lift_the_guard()
    outsider.execute(
        "UPDATE stored_events SET state = ? WHERE originator_id = ?"
        " AND originator_version = 1",
        DAMAGES[case],
        str(worked.execution_id),
    )
    with leasehold.open(shared_url, clock=clock) as ledger:
        for read in (
            lambda: ledger.read.history(worked.execution_id),
            ledger.read.events,
        ):
            with pytest.raises(
                leasehold.StoreError, match=str(worked.execution_id)
            ) as refused:
                read()
            assert refused.value.code == "corrupt_event"


def test_an_event_of_a_later_version_is_told(
    worked, shared_url, clock, outsider
) -> None:
    outsider.execute(
        "INSERT INTO stored_events"
        " (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)",
        str(worked.execution_id),
        999,
        "execution.teleported",
        b"{}",
    )
    with (
        leasehold.open(shared_url, clock=clock) as ledger,
        pytest.raises(leasehold.StoreError, match="teleported") as refused,
    ):
        ledger.read.history(worked.execution_id)
    assert refused.value.code == "corrupt_event"
