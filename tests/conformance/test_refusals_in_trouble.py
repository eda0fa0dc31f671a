"""Whoever is refused is told so, whatever becomes of the record; and soon."""

import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from outsiders import outsider_of, with_schema
from postgres_server import start_server

import leasehold
from leasehold.adapters import guarding
from leasehold.adapters.guarding import RefusalCounts
from leasehold.adapters.postgres import connecting as postgres_connecting
from leasehold.adapters.postgres import session as postgres_session
from leasehold.adapters.sqlite import connecting as sqlite_connecting
from leasehold.adapters.sqlite import transacting as sqlite_transacting
from leasehold.domain.handles import Lease

OPERATIONS = ("renew", "progress", "append_frame", "complete", "fail")
SOON_S = 15
"""Half of what a call waits for another writer; on the slowest machine far more than
a refusal takes."""


@pytest.fixture
def ledger(shared_url, clock):
    """Open each store that outsiders can get at, with the manual clock."""
    with leasehold.open(shared_url, clock=clock, durability="normal") as opened:
        yield opened


@pytest.fixture
def late(start, clock):
    """Give a handle whose lease has run out."""
    handle = start(ttl=1_000)
    clock.advance(1_001)
    return handle


def refused_counts(ledger, handle):
    rows = ledger.read.lease_events(handle.execution_id)
    return [row.refused_count for row in rows if row.event_type == "refused"]


def refuse(ledger, call, handle, operation="renew", match=None):
    """Make a call that must be refused, within a time that a caller may wait."""
    began_s = time.monotonic()
    with pytest.raises(leasehold.LeaseExpiredError, match=match) as caught:
        call(ledger, operation, handle)
    assert time.monotonic() - began_s < SOON_S
    return caught.value


NO_ROOM_IN_A_FILE = """
CREATE TRIGGER no_room BEFORE INSERT ON {table} WHEN NEW.{column} = '{value}'
BEGIN SELECT RAISE(FAIL, 'no room'); END
"""
NO_ROOM_ON_A_SERVER = """
CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN RAISE disk_full; END';
CREATE TRIGGER no_room BEFORE INSERT ON {table}
FOR EACH ROW WHEN (NEW.{column} = '{value}') EXECUTE FUNCTION no_room()
"""
REFUSALS_IN = {
    "stored_events": ("topic", "refusal.recorded"),
    "lease_event": ("event_type", "refused"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("table", REFUSALS_IN)
def test_a_refusal_is_told_where_there_is_no_room_for_its_record(
    table, operation, ledger, late, call, outsider, shared_url, caplog
) -> None:
    in_a_file = shared_url.startswith("sqlite")
    column, value = REFUSALS_IN[table]
    statement = NO_ROOM_IN_A_FILE if in_a_file else NO_ROOM_ON_A_SERVER
    outsider.execute(statement.format(table=table, column=column, value=value))
    refuse(ledger, call, late, operation)
    assert f"a refused {operation} was not recorded" in caplog.text
    assert refused_counts(ledger, late) == []
    outsider.execute(f"DROP TRIGGER no_room{'' if in_a_file else f' ON {table}'}")
    refuse(ledger, call, late, operation)
    assert refused_counts(ledger, late) == [2], "the count goes on"
    assert ledger.verify().ok


def test_a_refusal_is_told_where_the_rows_it_is_worked_out_from_are_damaged(
    ledger, late, call, outsider, shared_url, caplog
) -> None:
    damage = "worker_id = x'ff'"
    if shared_url.startswith("postgres"):
        damage = "occurred_at_ms = -9223372036854775808, expires_at_ms = NULL"
    outsider.execute(f"UPDATE lease_event SET {damage}")
    for operation in OPERATIONS:
        refuse(ledger, call, late, operation)
    assert caplog.text.count("was not recorded") == 3, "the 1st, the 2nd and the 4th"


def test_a_refusal_is_told_when_the_record_breaks_in_the_library_itself(
    ledger, late, call, monkeypatch, caplog
) -> None:
    def broken(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(guarding, "_refusal", broken)
    refuse(ledger, call, late)
    assert "was not recorded" in caplog.text
    monkeypatch.undo()
    refuse(ledger, call, late)
    assert refused_counts(ledger, late) == [2]


@pytest.fixture
def impatient(monkeypatch):
    """Let every wait for another writer end after a moment."""
    for module in (sqlite_connecting, sqlite_transacting, postgres_connecting):
        monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.2)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_busy_store_tells_who_is_late_that_it_is(
    operation, impatient, shared_url, clock, call, outsider
) -> None:
    with leasehold.open(shared_url, clock=clock, durability="normal") as ledger:
        ledger.create_executions([{}, {}])
        late = ledger.claim(worker_id="w", lease_ttl_ms=1_000)
        good = ledger.claim(worker_id="w")
        clock.advance(1_001)
        for handle in (late, good):
            outsider.hold(handle.execution_id)
            if handle is late:
                error = refuse(ledger, call, late, operation)
                assert error.__cause__.code == "store_busy"
            else:
                with pytest.raises(leasehold.StoreError) as caught:
                    call(ledger, operation, good)
                assert caught.value.code == "store_busy"
            outsider.release()
        assert refused_counts(ledger, late) == [], "nothing could be written"
        call(ledger, operation, good)
        refuse(ledger, call, late, operation)
        assert refused_counts(ledger, late) == [1]


def test_a_busy_store_does_not_refuse_what_was_answered_before(
    impatient, shared_url, clock, outsider
) -> None:
    with leasehold.open(shared_url, clock=clock, durability="normal") as ledger:
        ledger.create_execution()
        handle = ledger.claim(worker_id="w")
        ledger.complete(handle, b"done")
        outsider.hold(handle.execution_id)
        with pytest.raises(leasehold.StoreError):
            ledger.complete(handle, b"done")
        with pytest.raises(leasehold.ExecutionNotActiveError):
            ledger.complete(handle, b"another")
        outsider.release()
        ledger.complete(handle, b"done")


def test_a_server_that_takes_no_writes_tells_who_is_late(
    new_store, clock, call
) -> None:
    url = new_store("postgres")
    with leasehold.open(url, clock=clock) as ledger:
        ledger.create_executions([{}, {}])
        late = ledger.claim(worker_id="w", lease_ttl_ms=1_000)
        good = ledger.claim(worker_id="w")
    clock.advance(1_001)
    read_only = "options=-c%20default_transaction_read_only%3Don"
    with leasehold.open(f"{url}&{read_only}", clock=clock) as ledger:
        for operation in OPERATIONS:
            refuse(ledger, call, late, operation)
            with pytest.raises(leasehold.StoreError, match="takes no writes"):
                call(ledger, operation, good)


def test_a_ledger_that_was_opened_to_be_read_only_says_so_to_all(
    ledger, late, call, shared_url
) -> None:
    with (
        leasehold.open(shared_url, read_only=True) as reader,
        pytest.raises(leasehold.StoreError, match="read_only=True"),
    ):
        call(reader, "renew", late)


def test_a_lock_on_the_log_does_not_hold_up_who_is_refused(
    new_store, clock, call, monkeypatch
) -> None:
    monkeypatch.setattr(postgres_session, "_BRIEF_LOCK_TIMEOUT", "100ms")
    url = new_store("postgres")
    with (
        leasehold.open(url, clock=clock) as ledger,
        closing(outsider_of(url)) as outsider,
    ):
        ledger.create_execution()
        late = ledger.claim(worker_id="w", lease_ttl_ms=1_000)
        clock.advance(1_001)
        outsider.execute("BEGIN")
        outsider.execute("LOCK TABLE stored_events IN SHARE MODE")
        refuse(ledger, call, late)
        outsider.release()
        refuse(ledger, call, late)
        assert refused_counts(ledger, late) == [2]


def test_a_standby_that_is_away_does_not_hold_up_who_is_refused(clock, call) -> None:
    with start_server(fsync="off", synchronous_standby_names="away") as server:
        url = with_schema(server.url, "here")
        alone = f"{url}&options=-c%20synchronous_commit%3Dlocal"
        with leasehold.open(alone, clock=clock) as ledger:
            ledger.create_execution()
            late = ledger.claim(worker_id="w", lease_ttl_ms=1_000)
        clock.advance(1_001)
        with leasehold.open(url, clock=clock) as ledger:
            refuse(ledger, call, late)
            assert refused_counts(ledger, late) == [1]


def test_threads_that_are_refused_at_once_are_counted_one_by_one(
    ledger, late, call
) -> None:
    def hammer(_):
        refuse(ledger, call, late)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(hammer, range(64)))
    assert refused_counts(ledger, late) == [1, 2, 4, 8, 16, 32, 64]


REFUSED_IN_A_PROCESS = """
import sys, leasehold
url, token, times, now_ms = sys.argv[1:]
with leasehold.open(url, clock=lambda: int(now_ms)) as ledger:
    for _ in range(int(times)):
        try:
            ledger.renew(leasehold.Handle.parse(token))
        except leasehold.LeaseExpiredError:
            pass
"""


def test_each_process_counts_for_itself(ledger, late, shared_url, clock) -> None:
    arguments = [shared_url, str(late), "10", str(clock())]
    command = [sys.executable, "-c", REFUSED_IN_A_PROCESS, *arguments]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert Counter(refused_counts(ledger, late)) == {1: 3, 2: 3, 4: 3, 8: 3}
    assert ledger.verify().ok


def test_a_flood_of_refusals_fails_no_good_call(
    ledger, start, call, mismatched
) -> None:
    handle = start()
    stale = [mismatched(handle) for _ in range(4)]
    is_over = threading.Event()

    def flood(presented):
        count = 0
        while not is_over.is_set():
            with pytest.raises(leasehold.ContentionError):
                call(ledger, "complete", presented)
            count += 1
        return count

    with ThreadPoolExecutor(4) as threads:
        flooding = [threads.submit(flood, presented) for presented in stale]
        try:
            for _ in range(25):
                ledger.renew(handle)
                ledger.append_frame(handle, leasehold.Frame(b"line"))
            ledger.complete(handle)
        finally:
            is_over.set()
    counts = [flooded.result() for flooded in flooding]
    recorded = len(refused_counts(ledger, handle))
    assert recorded == sum(count.bit_length() for count in counts)
    assert ledger.verify().ok


def test_a_refusal_tells_the_epoch_presented_and_the_current_one(
    ledger, late, call, clock
) -> None:
    ledger.claim(worker_id="w2", worker_instance_id="i2", lease_ttl_ms=1_000)
    clock.advance(1_001)
    ledger.claim(worker_id="w3")
    with pytest.raises(leasehold.LeaseConflictError):
        call(ledger, "complete", late)
    refusal = ledger.read.history(late.execution_id)[-1].event
    assert (refusal.lease_epoch, refusal.current_lease_epoch) == (1, 3)
    assert (refusal.worker_id, refusal.operation) == ("worker-1", "complete")
    assert refusal.late_ms == 1_002


def test_the_memory_of_the_counting_is_bounded(monkeypatch, late, mismatched) -> None:
    monkeypatch.setattr(guarding, "_HANDLES_COUNTED_MAX", 100)
    counts = RefusalCounts()

    def lease():
        presented = mismatched(late)
        return Lease(
            execution_id=presented.execution_id,
            attempt_index=presented.attempt_index,
            lease_epoch=presented.lease_epoch,
            lease_id=presented.lease_id,
            expires_at_ms=presented.lease_expires_at_ms,
        )

    kept = lease()
    for number in range(1, 300):
        assert counts.count(kept) == number, "who comes again and again is remembered"
        assert counts.count(lease()) == 1
        assert len(counts._counts) <= 100
