"""How a ledger's connections live and end: threads, forks, interrupted calls."""

import errno
import os
import subprocess
import sys
import threading
import time

import pytest

import leasehold
from leasehold.adapters.sqlite import transacting
from leasehold.adapters.sqlite.grouping import Waiter

CLOSED_UNDER_THREADS = """
import sys, threading, time, leasehold
for round_number in range(20):
    ledger = leasehold.open(sys.argv[1], durability="normal")
    def work():
        try:
            while True:
                ledger.create_execution()
                ledger.read.counts()
        except leasehold.StoreError as error:
            assert "closed" in str(error), error
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.02)
    ledger.close()
    for thread in threads:
        thread.join()
print("whole")
"""

FORKED_UNDER_WRITES = """
import os, sqlite3, sys, leasehold
url, path = sys.argv[1:]
acknowledged = 0
for round_number in range(4):
    ledger = leasehold.open(url, durability="normal")
    acknowledged += len(ledger.create_executions([{}] * 5))
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            with leasehold.open(url, durability="normal") as own:
                for _ in range(200):
                    own.create_execution()
            os._exit(0)
        children.append(child)
    for _ in range(50):
        ledger.create_execution()
    acknowledged += 50
    ledger.close()
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        acknowledged += 200
with sqlite3.connect(path) as connection:
    print(connection.execute("PRAGMA integrity_check").fetchone()[0])
with leasehold.open(url) as ledger:
    print(acknowledged - ledger.read.counts()["pending"])
"""

FORKED_UNDER_THREADS = """
import os, sys, threading, leasehold
with leasehold.open(sys.argv[1], durability="normal") as ledger:
    ended = threading.Event()
    def work():
        while not ended.is_set():
            ledger.create_execution()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    child = os.fork()
    if child == 0:
        with leasehold.open(sys.argv[1]) as own:
            own.create_execution(lane_id="child")
        os._exit(0)
    ended.set()
    for thread in threads:
        thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print(ledger.read.lanes()[0])
"""

FORKED_UNDER_LOCKS = """
import os, signal, threading, leasehold
ledger = leasehold.open("sqlite://")
transactions = ledger._store._transactions
held, ended = threading.Event(), threading.Event()
def hold():
    with transactions._gate, transactions.turns._mutex:
        held.set()
        ended.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    for use in (ledger.create_execution, ledger.read.counts):
        try:
            use()
        except leasehold.StoreError as error:
            assert "forked" in str(error)
    os._exit(0)
ended.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

REFUSED_THEN_FORKED = """
import os, sys, leasehold
with leasehold.open(sys.argv[1]) as ledger:
    ledger.create_execution()
    handle = ledger.claim(worker_id="w").replace(lease_epoch=999)
    def refuse(ledger):
        try:
            ledger.renew(handle)
        except leasehold.LeaseConflictError:
            pass
    for _ in range(3):
        refuse(ledger)
    child = os.fork()
    if child == 0:
        with leasehold.open(sys.argv[1]) as own:
            refuse(own)
        os._exit(0)
    os.waitpid(child, 0)
    rows = ledger.read.lease_events(handle.execution_id)
    print([row.refused_count for row in rows if row.refused_count])
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def run(script: str, *arguments: object) -> list[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("memory", [False, True])
def test_closing_waits_for_the_calls_of_other_threads(memory, file_url) -> None:
    url = "sqlite://" if memory else file_url
    assert run(CLOSED_UNDER_THREADS, url) == ["whole"]


@needs_fork
def test_forked_children_with_ledgers_of_their_own_damage_nothing(
    file_url, file_path
) -> None:
    assert run(FORKED_UNDER_WRITES, file_url, file_path) == ["ok", "0"]


@needs_fork
def test_a_fork_holds_the_calls_of_other_threads_up(file_url) -> None:
    """They come without a pause, and a child needs a moment without any."""
    assert run(FORKED_UNDER_THREADS, file_url) == ["child"]


@needs_fork
def test_a_forked_child_waits_for_no_lock_of_a_thread_of_its_parent() -> None:
    assert run(FORKED_UNDER_LOCKS) == ["0"]


@needs_fork
def test_a_forked_child_counts_its_own_refusals(file_url) -> None:
    assert run(REFUSED_THEN_FORKED, file_url) == ["[1, 2, 1]"]


@needs_fork
def test_a_child_forked_during_a_call_may_not_open_that_file(file_url) -> None:
    with leasehold.open(file_url) as ledger, ledger._store.read():
        child = os.fork()
        if child == 0:
            try:
                leasehold.open(file_url)
            except leasehold.StoreError as error:
                os._exit(0 if "spawn" in str(error) else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with leasehold.open(file_url) as ledger:
        ledger.create_execution()


def test_a_session_that_cannot_be_made_leaves_nothing_behind(
    sqlite_url, monkeypatch
) -> None:
    def too_many_files(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    with leasehold.open(sqlite_url) as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(transacting, "SQLiteSession", too_many_files)
            with pytest.raises(OSError, match="too many"):
                ledger.create_execution()
        ledger.create_execution()
        assert ledger.read.counts()["pending"] == 1


def test_what_an_interrupted_call_left_open_is_undone_by_the_next(file_url) -> None:
    with leasehold.open(file_url) as ledger:
        transactions = ledger._store._transactions
        connection = transactions.connection(writes=True)
        connection.driver.execute("BEGIN IMMEDIATE")
        connection.driver.execute("DELETE FROM leasehold_meta")
        ledger.create_execution()
        assert set(ledger._store.stored_versions().values()) == {1}


def test_waiting_for_the_turn_counts_towards_the_busy_timeout(
    file_url, monkeypatch
) -> None:
    with leasehold.open(file_url) as ledger, leasehold.open(file_url) as outsider:
        monkeypatch.setattr(transacting, "BUSY_TIMEOUT_S", 1.0)
        turns = ledger._store._transactions.turns
        slow = Waiter()
        turns.take(slow, 0)
        with outsider._store.write():
            threading.Timer(0.6, turns.give_up, [slow]).start()
            began_s = time.monotonic()
            with pytest.raises(leasehold.StoreError) as raised:
                ledger.create_execution()
            assert raised.value.code == "store_busy"
            assert time.monotonic() - began_s < 1.6
        ledger.create_execution()


def test_a_close_in_the_midst_of_a_call_takes_effect_at_its_end(sqlite_url) -> None:
    ledger = leasehold.open(sqlite_url)
    readings = iter([1_700_000_000_000])

    def closing_clock() -> int:
        ledger.close()
        return next(readings)

    ledger._store._transactions.clock = closing_clock
    execution_id = ledger.create_execution()
    assert execution_id
    with pytest.raises(leasehold.StoreError, match="closed"):
        ledger.create_execution()
    assert ledger._store._transactions.datastore.pool.closed


def test_a_walk_over_rows_that_is_left_midway_keeps_no_old_view(file_url) -> None:
    """Whoever keeps the exception keeps the frames, and what they walk over."""
    kept = []

    def stop(done: int, expected: int) -> None:
        raise ArithmeticError

    with leasehold.open(file_url) as ledger, leasehold.open(file_url) as other:
        other.create_executions([{}] * 50)
        try:
            ledger.audit(progress=stop)
        except ArithmeticError as error:
            kept.append(error)
        other.create_execution()
        ledger.create_execution()
        assert len(kept) == 1
        assert len(ledger.read.executions()) == 52
