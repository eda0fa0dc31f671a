"""Connections to SQLite: how they are set up, and what their troubles mean."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

import leasehold
from leasehold.adapters.sqlite import connecting, transacting
from leasehold.adapters.sqlite.connecting import Target, store_error
from leasehold.adapters.sqlite.store import SQLiteStore

SYNCHRONOUS = {"normal": 1, "full": 2}
PROCESSES = 10


def pragma(session, name):
    return session.cursor.execute(f"PRAGMA {name}").fetchone()[0]


@pytest.fixture(params=["read", "write"])
def session(request, file_path):
    """Open a session of either kind on a file, by its durability."""
    stores = []

    def begin(durability):
        store = SQLiteStore(Target(file_path, durability, read_only=False))
        stores.append(store)
        store.prepare()
        return getattr(store, request.param)()

    yield begin
    for store in stores:
        store.close()


@pytest.mark.parametrize("durability", SYNCHRONOUS)
def test_a_file_is_in_wal_mode_and_as_durable_as_asked(durability, session) -> None:
    with session(durability) as opened:
        assert pragma(opened, "journal_mode") == "wal"
        assert pragma(opened, "synchronous") == SYNCHRONOUS[durability]
        assert pragma(opened, "journal_size_limit") == 64 * 1024 * 1024
        assert pragma(opened, "busy_timeout") == 30_000


def test_a_commit_is_what_survives_power_loss_by_default(file_url, clock) -> None:
    with leasehold.open(file_url, clock=clock) as ledger:
        assert ledger._store.target.durability == "full"
        with ledger._store.write() as writing:
            assert pragma(writing, "synchronous") == 2


def test_a_database_that_cannot_be_in_wal_mode_is_refused(file_path) -> None:
    target = Target(file_path, "full", read_only=False)
    with (
        closing(sqlite3.connect(":memory:")) as in_memory,
        pytest.raises(sqlite3.OperationalError, match="write-ahead logging") as refused,
    ):
        connecting.set_up(in_memory, target)
    assert store_error(refused.value, target).code == "store_unavailable"


def test_wal_mode_is_kept_in_the_file(file_url, file_path) -> None:
    leasehold.open(file_url).close()
    with closing(sqlite3.connect(file_path)) as outsider:
        assert outsider.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_in_another_mode_enters_wal_mode(file_url, file_path) -> None:
    leasehold.open(file_url).close()
    with closing(sqlite3.connect(file_path)) as outsider:
        outsider.execute("PRAGMA journal_mode = DELETE")
    with leasehold.open(file_url) as ledger:
        assert ledger._store.facts()["journal_mode"] == "wal"


@pytest.fixture
def reader(file_url, file_path):
    """Hold a shared lock on a file that is not in WAL mode: nobody can switch it."""
    leasehold.open(file_url).close()
    with closing(sqlite3.connect(file_path, isolation_level=None)) as outsider:
        outsider.execute("PRAGMA journal_mode = DELETE")
        outsider.execute("BEGIN")
        outsider.execute("SELECT count(*) FROM stored_events").fetchone()
        yield outsider


def test_the_switch_to_wal_mode_is_tried_until_the_others_are_done(
    impatient, monkeypatch, reader, file_url
) -> None:
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        reader.execute("COMMIT")

    standing = SimpleNamespace(monotonic=lambda: 0.0, sleep=pause)
    monkeypatch.setattr(connecting, "time", standing)
    with leasehold.open(file_url) as ledger:
        assert ledger._store.facts()["journal_mode"] == "wal"
    assert len(pauses) == 1


def test_the_switch_to_wal_mode_is_not_tried_for_ever(
    impatient, reader, file_url
) -> None:
    assert is_busy(lambda: leasehold.open(file_url))


def test_a_store_in_memory_has_one_connection_for_all(clock) -> None:
    with leasehold.open("sqlite://", clock=clock) as ledger:
        execution_id = ledger.create_execution()
        assert ledger.read.execution(execution_id) is not None
        assert ledger._store.facts()["journal_mode"] == "memory"


def test_a_read_only_connection_cannot_write(file_url, file_path) -> None:
    leasehold.open(file_url).close()
    with leasehold.open(file_url, read_only=True) as ledger:
        with ledger._store.read() as session:
            assert pragma(session, "query_only") == 1
        with pytest.raises(leasehold.StoreError):
            ledger._store.query_plain("DELETE FROM leasehold_meta")
        with pytest.raises(leasehold.StoreError, match="read_only=True"):
            ledger._store.write()


@pytest.mark.parametrize("read_only", [False, True])
def test_closing_gives_every_connection_back(file_url, file_path, read_only) -> None:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("this system does not list open files")
    leasehold.open(file_url).close()
    ledger = leasehold.open(file_url, read_only=read_only)
    if not read_only:
        ledger.create_execution()
    ledger.read.executions()

    def open_files():
        names = [str(link.readlink()) for link in folder.iterdir() if link.is_symlink()]
        return [name for name in names if name.startswith(str(file_path))]

    assert open_files()
    ledger.close()
    assert open_files() == []
    ledger.close()
    for call in (ledger.read.executions, ledger.create_execution):
        with pytest.raises(leasehold.StoreError):
            call()


@pytest.fixture
def impatient(monkeypatch):
    """Let every wait for a lock end after a moment."""
    monkeypatch.setattr(connecting, "BUSY_TIMEOUT_S", 0.05)
    monkeypatch.setattr(transacting, "BUSY_TIMEOUT_S", 0.05)


def is_busy(call) -> bool:
    with pytest.raises(leasehold.StoreError) as raised:
        call()
    return (raised.value.code, raised.value.retryable) == ("store_busy", True)


def test_another_process_that_holds_the_lock_makes_the_store_busy(
    impatient, file_url, file_path
) -> None:
    with leasehold.open(file_url) as ledger:
        with closing(sqlite3.connect(file_path, isolation_level=None)) as outsider:
            outsider.execute("BEGIN IMMEDIATE")
            assert is_busy(ledger.create_execution)
            assert is_busy(ledger.sweep)
            assert ledger.read.executions() == []
            outsider.execute("ROLLBACK")
        assert ledger.read.execution(ledger.create_execution()) is not None


def test_a_store_that_stays_busy_is_named(impatient, file_url, file_path) -> None:
    with leasehold.open(file_url) as ledger:
        execution_id = ledger.create_execution()
        with closing(sqlite3.connect(file_path, isolation_level=None)) as outsider:
            outsider.execute("BEGIN IMMEDIATE")
            with pytest.raises(leasehold.StoreError, match=r"ledger\.db") as refused:
                ledger.claim(worker_id="w")
            assert refused.value.code == "store_busy"
            assert ledger.read.execution(execution_id).public_state == "pending"
            outsider.execute("ROLLBACK")
        assert ledger.claim(worker_id="w") is not None


def test_a_writer_in_the_same_process_makes_the_store_busy(impatient, file_url) -> None:
    with leasehold.open(file_url) as ledger:
        with ledger._store.write():
            assert is_busy(ledger.create_execution)
        assert len(ledger.read.executions()) == 0
        ledger.create_execution()


def test_a_store_that_is_locked_whole_cannot_be_opened(
    impatient, file_url, file_path
) -> None:
    leasehold.open(file_url).close()
    with closing(sqlite3.connect(file_path, isolation_level=None)) as outsider:
        outsider.execute("PRAGMA locking_mode = EXCLUSIVE")
        outsider.execute("BEGIN EXCLUSIVE")
        assert is_busy(lambda: leasehold.open(file_url))
        outsider.execute("ROLLBACK")


class MishapError(Exception):
    """Something that the store knows nothing of."""


def set_a_probe(store, then) -> None:
    """Write something, and do one thing more before the commit."""
    with store.write() as session:
        session.cursor.execute("INSERT INTO leasehold_meta VALUES ('probe', '1')")
        then(session)


def throw(error):
    """Return a thing to do that ends in an error."""

    def then(session):
        raise error

    return then


def probes(store):
    rows = store.query_plain("SELECT value FROM leasehold_meta WHERE key = 'probe'")
    return [row["value"] for row in rows]


@pytest.mark.parametrize("mishap", [MishapError, KeyboardInterrupt, GeneratorExit])
def test_an_error_in_a_block_undoes_it_and_the_next_block_works(
    mishap, sqlite_url
) -> None:
    with leasehold.open(sqlite_url) as ledger:
        store = ledger._store
        with pytest.raises(mishap):
            set_a_probe(store, throw(mishap))
        assert probes(store) == []
        set_a_probe(store, lambda session: None)
        assert probes(store) == ["1"]


def test_an_error_of_the_driver_in_a_block_becomes_a_store_error(sqlite_url) -> None:
    with leasehold.open(sqlite_url) as ledger:
        store = ledger._store
        with pytest.raises(leasehold.StoreError, match="nowhere") as raised:
            set_a_probe(store, lambda s: s.cursor.execute("SELECT * FROM nowhere"))
        assert raised.value.code == "store_unavailable"
        assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
        assert probes(store) == []


MEANINGS = {
    sqlite3.SQLITE_FULL: "is full",
    sqlite3.SQLITE_READONLY_DIRECTORY: "read-only",
    sqlite3.SQLITE_NOTADB: "not an SQLite database",
    sqlite3.SQLITE_CORRUPT_INDEX: "damaged",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_IOERR_WRITE: "the disk failed",
    sqlite3.SQLITE_PERM: "access is denied",
    sqlite3.SQLITE_ERROR: "OperationalError: as the driver said",
}


def driver_error(code) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("as the driver said")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize("code", MEANINGS)
def test_an_error_of_the_driver_is_told_by_file_and_meaning(code, file_path) -> None:
    told = store_error(driver_error(code), Target(file_path, "full", read_only=False))
    assert (told.code, told.retryable) == ("store_unavailable", False)
    for fact in (str(file_path), MEANINGS[code], "as the driver said"):
        assert fact in str(told)


@pytest.mark.parametrize(
    "code",
    [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_LOCKED],
)
def test_a_lock_is_told_busy_and_may_be_tried_again(code, file_path) -> None:
    told = store_error(driver_error(code), Target(file_path, "full", read_only=False))
    assert (told.code, told.retryable) == ("store_busy", True)
    assert str(file_path) in str(told)


CREATE = """
import sys, leasehold
print("ready", flush=True)
sys.stdin.readline()
with leasehold.open(sys.argv[1]) as ledger:
    execution_id = ledger.create_execution(lane_id=sys.argv[2])
    print(execution_id)
"""


def test_ten_processes_create_the_same_file_at_once(file_url, file_path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", CREATE, file_url, f"lane-{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    assert not file_path.exists()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    told = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0] * PROCESSES, told
    with leasehold.open(file_url, read_only=True) as ledger:
        rows = ledger.read.executions()
        history = ledger.read.events()
    assert {str(row.execution_id) for row in rows} == {out.strip() for out, _ in told}
    assert [event.position for event in history] == list(range(1, PROCESSES + 1))
    assert len({row.lane_id for row in rows}) == PROCESSES


@pytest.mark.parametrize("name", ["a" * 300 + ".db", "a" * 300 + "/ledger.db"])
def test_a_name_that_the_system_does_not_take_is_told(name, tmp_path) -> None:
    with pytest.raises(leasehold.StoreError, match="aaa") as raised:
        leasehold.open(f"sqlite:///{tmp_path}/{name}")
    assert raised.value.code == "store_unavailable"


def test_a_name_that_is_no_text_is_refused(tmp_path) -> None:
    with pytest.raises(leasehold.InvalidInputError, match="url must be"):
        leasehold.open(f"sqlite:///{tmp_path}/\udcff.db")
