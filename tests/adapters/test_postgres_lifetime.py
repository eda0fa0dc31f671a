"""How a ledger's connections live and end: pools, threads, forks, interrupted calls."""

import os
import subprocess
import sys
import threading
import time
import uuid
from contextlib import closing

import psycopg
import pytest
from eventsourcing.persistence import ConnectionUnavailableError
from outsiders import outsider_of

import leasehold
from leasehold.adapters.postgres import connecting

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

PIDS = (
    "SELECT pid, state FROM pg_stat_activity"
    " WHERE application_name = 'leasehold' AND pid <> pg_backend_pid() ORDER BY pid"
)

WAITS = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def outsider(own_url):
    """Connect past the ledger, when its tables are there."""
    leasehold.open(own_url).close()
    with closing(outsider_of(own_url)) as connected:
        until = time.monotonic() + 10
        while connected.execute(PIDS) and time.monotonic() < until:
            time.sleep(0.01)
        yield connected


def pool_of(ledger):
    return ledger._store._transactions.datastore.pool


def end_all(outsider) -> int:
    """Have the server end all connections of ledgers, and wait for it."""
    ended = outsider.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE application_name = 'leasehold'"
    )
    return len(ended)


def test_one_thread_needs_one_connection(own_url, outsider) -> None:
    with leasehold.open(own_url) as ledger:
        for _ in range(3):
            ledger.create_execution()
            ledger.read.counts()
        assert len(outsider.execute(PIDS)) == 1
    until = time.monotonic() + 10
    while outsider.execute(PIDS) and time.monotonic() < until:
        time.sleep(0.01)
    assert outsider.execute(PIDS) == []


def test_connections_that_died_while_idle_are_replaced_silently(
    own_url, outsider
) -> None:
    with leasehold.open(own_url) as ledger:
        read = ledger._store.read
        for _ in range(2):
            with read(), read(), read():
                assert len(outsider.execute(PIDS)) == 3
            assert end_all(outsider) == 3
            ledger.create_execution()
            assert len(outsider.execute(PIDS)) == 1
        assert ledger.read.counts()["pending"] == 2


def test_connections_of_an_hour_are_replaced(own_url, outsider, monkeypatch) -> None:
    with leasehold.open(own_url) as ledger:
        ledger.create_execution()
        (first,) = outsider.execute(PIDS)
        monkeypatch.setattr(connecting, "_AGE_MAX_S", 0)
        ledger.create_execution()
        (second,) = outsider.execute(PIDS)
        assert first["pid"] != second["pid"]


@pytest.mark.parametrize("earlier", range(4))
def test_an_error_of_the_server_does_no_harm_to_later_calls(
    earlier, own_url, outsider
) -> None:
    later = "SELECT 2 AS n"
    with leasehold.open(f"{own_url}&pool_size=1") as ledger:
        write = ledger._store.write
        for _ in range(earlier):
            with write() as session:
                session.connection.execute(later)

        def fail():
            with write() as session:
                session.connection.execute("SELECT 1 / 0")
                session.connection.execute(later).fetchall()

        with pytest.raises(leasehold.StoreError, match="division") as told:
            fail()
        assert isinstance(told.value.__cause__, psycopg.errors.DivisionByZero)
        for _ in range(4):
            with write() as session:
                assert session.connection.execute(later).fetchall() == [{"n": 2}]
        ledger.create_execution()


def test_a_refusal_does_not_cost_the_connection(own_url, outsider) -> None:
    with leasehold.open(own_url) as ledger:
        ledger.create_execution()
        before = outsider.execute(PIDS)
        handle = ledger.claim(worker_id="w").replace(lease_epoch=9)
        for _ in range(3):
            with pytest.raises(leasehold.LeaseConflictError):
                ledger.renew(handle)
        with pytest.raises(leasehold.NotFoundError):
            ledger.cancel_execution(uuid.uuid4(), actor="ann", reason="x")
        assert ledger.read.counts()["running"] == 1
        assert outsider.execute(PIDS) == before


def test_what_a_commit_did_not_do_is_not_taken_for_done(own_url, outsider) -> None:
    with leasehold.open(own_url) as ledger:
        with (
            pytest.raises(leasehold.StoreError, match="nothing was written"),
            ledger._store.write() as session,
            pytest.raises(psycopg.errors.DivisionByZero),
        ):
            session.connection.execute("SELECT 1 / 0").fetchall()
        ledger.create_execution()


class MishapError(Exception):
    """Something that the store knows nothing of."""


@pytest.mark.parametrize("mishap", [MishapError, KeyboardInterrupt, SystemExit])
def test_after_a_stranger_to_the_store_the_connection_is_not_used_again(
    mishap, own_url, outsider
) -> None:
    def clock():
        if raises:
            raise mishap
        return 1_700_000_000_000

    raises = False
    with leasehold.open(f"{own_url}&pool_size=1", clock=clock) as ledger:
        one = ledger.create_execution()
        (before,) = outsider.execute(PIDS)
        raises = True
        with pytest.raises(mishap):
            ledger.change_priority(one, 1, actor="ann")
        raises = False
        ledger.change_priority(one, 2, actor="ann")
        (after,) = outsider.execute(PIDS)
        assert after["pid"] != before["pid"]
        assert len(ledger.read.history(one)) == 2


@pytest.fixture
def pool():
    """Give a pool of two that connects to nothing."""

    class Unconnected(connecting.Connection):
        def __init__(self) -> None:
            self.born_s = time.monotonic()

    return connecting.Pool(Unconnected, 2)


def test_a_loan_that_nobody_gave_back_is_over(pool, monkeypatch) -> None:
    monkeypatch.setattr(connecting, "BUSY_TIMEOUT_S", 0.05)
    held = [pool.take(), pool.take()]
    assert pool.loans() == 2
    with pytest.raises(ConnectionUnavailableError):
        pool.take()
    for _ in range(3):
        held.pop()
        held.append(pool.take())
    with pytest.raises(ConnectionUnavailableError):
        pool.take()


def test_a_loan_is_over_when_no_connection_could_be_made(monkeypatch) -> None:
    def fail():
        raise psycopg.OperationalError

    monkeypatch.setattr(connecting, "BUSY_TIMEOUT_S", 0.05)
    pool = connecting.Pool(fail, 1)
    told = []
    for _ in range(3):
        with pytest.raises(psycopg.OperationalError) as raised:
            pool.take()
        told.append(raised)
    assert pool.loans() == 0


CLOSED_UNDER_THREADS = """
import sys, threading, time, leasehold
for round_number in range(10):
    ledger = leasehold.open(sys.argv[1], durability="normal")
    ledger.close() if round_number == 9 else None
    def work():
        try:
            while True:
                ledger.create_execution()
                ledger.read.counts()
        except leasehold.StoreError as error:
            assert "closed" in str(error), error
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    closers = [threading.Thread(target=ledger.close) for _ in range(2)]
    for thread in closers:
        thread.start()
    ledger.close()
    for thread in threads + closers:
        thread.join()
    assert ledger._store._transactions.datastore.pool._idle == []
print("whole")
"""

FORKED = """
import os, sys, leasehold
ledger = leasehold.open(sys.argv[1])
ledger.create_execution()
def pid():
    with ledger._store.read() as session:
        return session.connection.info.backend_pid
before = pid()
child = os.fork()
if child == 0:
    for use in (ledger.create_execution, ledger.read.counts, ledger._store.facts):
        try:
            use()
        except leasehold.StoreError as error:
            assert "open the ledger in this process" in str(error), error
        else:
            raise SystemExit(1)
    ledger.close()
    with leasehold.open(sys.argv[1]) as own:
        own.create_execution()
    import gc
    del ledger
    gc.collect()
    sys.exit(7)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
ledger.create_execution()
print(status, pid() == before, ledger.read.counts()["pending"])
"""

FORKED_WITHIN_A_CALL = """
import os, sys, leasehold
ledger = leasehold.open(sys.argv[1])
one = ledger.create_execution()
for begin in (ledger._store.read, ledger._store.write):
    with begin() as session:
        session.fetch_all("lanes")
        child = os.fork()
        if child == 0:
            break
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        assert len(session.fetch_all("lanes")) == 1
print("parent")
"""

LEFT_OPEN = """
import sys, threading, leasehold
ledger = leasehold.open(sys.argv[1])
ledger.create_execution()
another = leasehold.open(sys.argv[1])
another.create_execution()
del another
def work():
    while True:
        ledger.create_execution()
if sys.argv[2] == "busy":
    threading.Thread(target=work, daemon=True).start()
    ledger.create_execution()
if sys.argv[2] == "reading":
    kept = ledger._store.read()
    kept.__enter__()
if sys.argv[2] == "raising":
    sys.exit("in vain")
print("done")
"""

INTERRUPTED = """
import collections, gc, random, signal, sys, time, leasehold
from leasehold.adapters.postgres import connecting
connecting.BUSY_TIMEOUT_S = 5
class Stop(BaseException if sys.argv[2] == "base" else Exception):
    pass
error = KeyboardInterrupt if sys.argv[2] == "keyboard" else Stop
armed = False
def interrupt(number, frame):
    if armed:
        raise error
signal.signal(signal.SIGALRM, interrupt)
ledger = leasehold.open(sys.argv[1] + "&pool_size=1", durability="normal")
said = collections.Counter()
stored = []
chance = random.Random(int(sys.argv[3]))
until = time.monotonic() + 2.5
while time.monotonic() < until:
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.03), 0.04)
    armed = True
    try:
        try:
            while True:
                stored.append(ledger.create_execution())
                handle = ledger.claim(worker_id="w")
                if handle is not None:
                    ledger.complete(handle)
                ledger.read.execution(stored[-1])
        finally:
            armed = False
    except error:
        said["interrupted"] += 1
    except leasehold.StoreError as trouble:
        said[str(trouble)] += 1
signal.setitimer(signal.ITIMER_REAL, 0)
ledger.create_execution()
pool = ledger._store._transactions.datastore.pool
print(dict(said), file=sys.stderr)
print(said.pop("interrupted") > 10, dict(said), pool.loans(), len(pool._idle))
missing = [one for one in stored if ledger.read.execution(one) is None]
print(len(stored) > 10, missing)
ledger.close()
"""


def run(script, *arguments, status=0):
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", script, *arguments]
    # Without the measuring of coverage: an interrupt in its midst would hang it.
    bare = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COV_", "COVERAGE_"))
    }
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=120, env=bare
    )
    assert done.returncode == status, done.stderr
    return done


def test_closing_under_the_calls_of_other_threads(own_url) -> None:
    assert run(CLOSED_UNDER_THREADS, own_url).stdout == "whole\n"


def test_a_close_in_the_midst_of_a_call_takes_effect_at_its_end(own_url) -> None:
    ledger = leasehold.open(own_url, clock=lambda: ledger.close() or 1_700_000_000_000)
    execution_id = ledger.create_execution()
    with pytest.raises(leasehold.StoreError, match="closed"):
        ledger.create_execution()
    with leasehold.open(own_url) as another:
        assert another.read.execution(execution_id) is not None


@needs_fork
def test_a_forked_child_refuses_and_leaves_the_connections_alone(own_url) -> None:
    done = run(FORKED, own_url)
    assert (done.stdout, done.stderr) == ("7 True 3\n", "")


@needs_fork
def test_a_child_forked_within_a_call_leaves_its_connection_alone(own_url) -> None:
    done = run(FORKED_WITHIN_A_CALL, own_url)
    assert done.stdout == "parent\n"
    assert done.stderr.count("open the ledger in this process") == 2


@pytest.mark.parametrize("how", ["idle", "busy", "reading", "raising"])
def test_an_interpreter_that_exits_without_a_close_says_nothing(how, own_url) -> None:
    done = run(LEFT_OPEN, own_url, how, status=1 if how == "raising" else 0)
    assert done.stderr == ("in vain\n" if how == "raising" else "")


@pytest.mark.parametrize("kind", ["keyboard", "base", "exception"])
def test_interrupts_in_the_midst_of_calls_leave_the_ledger_usable(
    kind, own_url, outsider
) -> None:
    done = run(INTERRUPTED, own_url, kind, str(time.time_ns()))
    assert done.stdout.splitlines() == ["True {} 0 1", "True []"], done.stderr
    held = outsider.execute(
        "SELECT * FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
    )
    assert held == []


def test_an_interrupt_ends_the_wait_for_a_lock_on_the_server_too(
    own_url, outsider
) -> None:
    with leasehold.open(own_url) as ledger:
        one = ledger.create_execution()
        with closing(outsider_of(own_url)) as holder:
            holder.hold(one)
            done = run_interrupted(own_url, one, outsider)
            assert "KeyboardInterrupt" in done
            assert outsider.execute(WAITS) == []
        ledger.change_priority(one, 3, actor="ann")


WAITING = """
import sys, uuid, leasehold
ledger = leasehold.open(sys.argv[1])
ledger.change_priority(uuid.UUID(sys.argv[2]), 5, actor="ann")
"""


def run_interrupted(url, execution_id, outsider) -> str:
    """Interrupt a process that waits for a lock; return what it says."""
    command = [sys.executable, "-c", WAITING, url, str(execution_id)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as waiting:
        found = []
        until = time.monotonic() + 20
        while not found and time.monotonic() < until:
            found = outsider.execute(WAITS)
        waiting.send_signal(2)
        return waiting.communicate(timeout=20)[1]


def test_many_threads_share_a_few_connections(own_url, outsider) -> None:
    with leasehold.open(f"{own_url}&pool_size=3") as ledger:
        most = []

        def work(number):
            lane = f"lane-{number}"
            for _ in range(5):
                ledger.create_execution(lane_id=lane)
                handle = ledger.claim(lane, worker_id="w")
                ledger.renew(handle)
                ledger.complete(handle)
                most.append(pool_of(ledger).loans())

        threads = [threading.Thread(target=work, args=[n]) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ledger.read.counts()["completed"] == 60
        assert len(outsider.execute(PIDS)) <= 3
        assert max(most) <= 3
        assert pool_of(ledger).loans() == 0
