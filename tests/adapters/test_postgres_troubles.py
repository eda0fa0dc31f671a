"""What a PostgreSQL server can refuse or suffer: each is told by name."""

import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import psycopg
import pytest
from outsiders import outsider_of, with_schema
from own_servers import PASSWORD, command, url_as
from postgres_server import start_server
from proxy import proxy_to
from psycopg import errors

import leasehold
from leasehold.adapters.command_line import application
from leasehold.adapters.postgres import connecting, transacting
from leasehold.adapters.postgres.failures import store_error
from leasehold.adapters.postgres.target import parse_url

TOLD_S_MAX = 10


def refused(url, match, *, retryable=False, **options):
    """Check that a store cannot be opened, and say how that is told."""
    began_s = time.monotonic()
    with pytest.raises(leasehold.StoreError, match=match) as told:
        leasehold.open(url, **options)
    assert time.monotonic() - began_s < TOLD_S_MAX
    assert told.value.code == "store_unavailable"
    assert told.value.retryable is retryable
    assert PASSWORD not in str(told.value) + repr(told.value.__cause__)
    return str(told.value)


def busy(call):
    with pytest.raises(leasehold.StoreError) as told:
        call()
    assert (told.value.code, told.value.retryable) == ("store_busy", True)
    assert "nothing was written" in str(told.value)
    return str(told.value)


@pytest.fixture
def closed_port():
    """Name a port that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_port_that_nobody_listens_on(closed_port) -> None:
    url = f"postgresql://ann:{PASSWORD}@127.0.0.1:{closed_port}/x?schema=here"
    told = refused(url, "cannot be reached", retryable=True)
    assert f"postgresql://ann@127.0.0.1:{closed_port}/x?schema=here" in told
    assert "refused" in told


def test_several_hosts_none_of_which_is_there(closed_port, tmp_path) -> None:
    url = f"postgresql://127.0.0.1:{closed_port},localhost:{closed_port}/x"
    refused(url, "cannot be reached", retryable=True)


def test_a_name_that_no_host_has() -> None:
    refused("postgresql://nobody.invalid/x", "nobody.invalid", retryable=True)


@pytest.mark.parametrize("name", ["not-there", "a" * 200])
def test_a_socket_that_is_not_there(name, tmp_path) -> None:
    refused(f"postgresql:///x?host={tmp_path}/{name}", "socket", retryable=True)


def test_a_host_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began_s = time.monotonic()
        refused(f"postgresql://127.0.0.1:{port}/x", "timeout", retryable=True)
        assert time.monotonic() - began_s > 4


def test_a_host_that_speaks_another_protocol() -> None:
    def answer(listener):
        with (
            contextmanager(lambda: iter([None]))(),
            closing(listener.accept()[0]) as one,
        ):
            one.recv(100)
            one.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=[listener])
        thread.start()
        port = listener.getsockname()[1]
        refused(f"postgresql://127.0.0.1:{port}/x", "cannot be reached", retryable=True)
        thread.join()


WHO_IS_REFUSED = {
    "a wrong password": ("clerk:wrong", "postgres", "password is wrong"),
    "a wrong password in the clear": ("careless:no", "postgres", "password is wrong"),
    "no password": ("clerk", "postgres", "without a password"),
    "no such role": (f"nobody:{PASSWORD}", "postgres", "does not let this user in"),
    "a role that may not log in": ("group_only", "postgres", "does not let this user"),
    "a role that is kept out": ("locked_out", "postgres", "does not let this user in"),
    "no right to connect": ("stranger", "closed", "does not let this user in"),
    "no such database": ("postgres", "not-there", "no such database"),
}


@pytest.mark.parametrize("case", WHO_IS_REFUSED)
def test_who_is_refused_by_the_server(case, own_server) -> None:
    role, database, meaning = WHO_IS_REFUSED[case]
    refused(url_as(own_server, role, database), meaning)


@pytest.mark.parametrize("role", ["clerk", "careless"])
@pytest.mark.parametrize(
    "form", ["{role}:{word}@/postgres?", "{role}@/postgres?password={word}&"]
)
def test_the_right_password_lets_a_user_in_and_is_told_to_nobody(
    role, form, own_server, schema, capsys
) -> None:
    _, _, where = own_server.url.partition("?")
    user = form.format(role=role, word=PASSWORD)
    url = f"postgresql://{user}{where}&schema={schema}"
    with leasehold.open(url) as ledger:
        ledger.create_execution()
        store = ledger._store
        told = [repr(ledger), repr(store), repr(store.target), store.shown]
        told.append(repr(vars(store)) + repr(dict(store.facts())))
    for arguments in (["doctor"], ["doctor", "--json"], ["verify"], ["list"]):
        application.run([*arguments, "--store", url])
        told += capsys.readouterr()
    assert not [text for text in told if PASSWORD in text]


def test_too_many_connections_of_a_role(own_server) -> None:
    refused(url_as(own_server, "crowd"), "takes no more connections", retryable=True)


AT_THE_DOOR = {
    "FATAL:  sorry, too many clients already": "takes no more",
    "FATAL:  remaining connection slots are reserved for roles": "takes no more",
    'FATAL:  too many connections for database "x"': "takes no more",
    "FATAL: no more connections allowed (max_client_conn)": "takes no more",
    'FATAL:  no pg_hba.conf entry for host "::1"': "does not let this user in",
    'FATAL: Ident authentication failed for user "x"': "does not let this user in",
    'FATAL:  no such user: "x"': "does not let this user in",
    "session is read-only": "takes no writes",
    "the database system is starting up": "cannot be reached",
    "FATAL:  Passwort-Authentifizierung für »x« fehlgeschlagen": "cannot be reached",
}


@pytest.mark.parametrize("said", AT_THE_DOOR)
def test_what_a_server_says_at_the_door_is_understood(said) -> None:
    target = parse_url("postgresql://db/x", "full", read_only=False)
    told = store_error(psycopg.OperationalError(f"connection failed: {said}"), target)
    assert AT_THE_DOOR[said] in str(told)
    assert said.split()[-1] in str(told)


MEANINGS = {
    errors.DiskFull: ("disk is full", True),
    errors.IoError: ("disk failed", False),
    errors.DataCorrupted: ("damaged", False),
    errors.IndexCorrupted: ("damaged", False),
    errors.UndefinedTable: ("is gone", False),
    errors.InsufficientPrivilege: ("lacks a right", False),
    errors.InvalidSchemaName: ("schema is not there", False),
    errors.ReadOnlySqlTransaction: ("takes no writes", False),
    errors.QueryCanceled: ("cancelled the statement", True),
    errors.TooManyConnections: ("takes no more connections", True),
    errors.AdminShutdown: ("cannot be reached", True),
    errors.CrashShutdown: ("cannot be reached", True),
    errors.CannotConnectNow: ("cannot be reached", True),
    errors.IdleInTransactionSessionTimeout: ("cannot be reached", True),
    errors.OutOfMemory: ("OutOfMemory", False),
    errors.DeadlockDetected: ("was busy", True),
    errors.SerializationFailure: ("was busy", True),
    errors.LockNotAvailable: ("was busy", True),
    psycopg.InterfaceError: ("cannot be reached", True),
    psycopg.DataError: ("DataError", False),
}


@pytest.mark.parametrize("kind", MEANINGS)
def test_an_error_of_the_driver_is_told_by_meaning(kind) -> None:
    target = parse_url("postgresql://db/x", "full", read_only=False)
    told = store_error(kind("as the\n driver said"), target)
    meaning, retryable = MEANINGS[kind]
    assert told.retryable is retryable
    for fact in ("postgresql://db/x", meaning, "as the driver said"):
        assert fact in str(told)


def test_a_schema_that_is_not_there_is_not_made_by_a_reader(
    own_url, own_server, schema
) -> None:
    refused(own_url, "holds no ledger yet", read_only=True)
    found = f"SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'"
    assert command(own_server.url, found) == [(0,)]


def test_a_user_without_the_right_to_make_a_schema(own_server, schema) -> None:
    refused(url_as(own_server, "stranger", schema=schema), "lacks a right")


def test_a_user_without_the_right_to_make_tables(own_server, schema) -> None:
    command(own_server.url, f"CREATE SCHEMA {schema}")
    url = url_as(own_server, "stranger", schema=schema)
    for read_only in (True, False):
        refused(url, "lacks the right USAGE", read_only=read_only)
    command(own_server.url, f"GRANT USAGE ON SCHEMA {schema} TO stranger")
    refused(url, "lacks a right")
    refused(url, "holds no ledger yet", read_only=True)


def test_a_connection_without_a_schema(own_server) -> None:
    options = "-c%20search_path%3Dnowhere"
    refused(url_as(own_server, "postgres", options=options), "schema is not there")


def test_a_database_that_not_all_text_fits_in(own_server) -> None:
    refused(url_as(own_server, "postgres", "latin"), "LATIN1.*UTF8")


def test_a_server_that_is_too_old(own_url, monkeypatch) -> None:
    monkeypatch.setattr(transacting, "_SERVER_VERSION_LEAST", 990_000)
    refused(own_url, "a ledger needs 99 or later")


READ_ONLY = "-c%20default_transaction_read_only%3Don"


def test_a_server_that_is_set_to_be_read_only(own_url) -> None:
    refused(f"{own_url}&options={READ_ONLY}", "takes no writes")
    with leasehold.open(own_url) as ledger:
        one = ledger.create_execution()
    with leasehold.open(f"{own_url}&options={READ_ONLY}") as ledger:
        for call in (ledger.create_execution, lambda: ledger.claim(worker_id="w")):
            with pytest.raises(leasehold.StoreError, match="takes no writes") as told:
                call()
            assert not told.value.retryable
        assert ledger.read.execution(one).public_state == "pending"


def test_a_standby_is_read_but_not_written_to() -> None:
    with start_server(fsync="off", max_wal_senders=2) as server:
        url = with_schema(server.url, "here")
        with leasehold.open(url) as ledger:
            one = ledger.create_execution()
        server.stop()
        (server.directory / "data" / "standby.signal").touch(mode=0o666)
        server.start()
        with leasehold.open(url, read_only=True) as ledger:
            assert ledger.read.execution(one).public_state == "pending"
            assert ledger.read.counts()["pending"] == 1
        with leasehold.open(url) as ledger:
            with pytest.raises(leasehold.StoreError, match="takes no writes"):
                ledger.create_execution()
            assert [row.execution_id for row in ledger.read.executions()] == [one]
        refused(with_schema(server.url, "there"), "takes no writes")


@pytest.fixture
def impatient(monkeypatch):
    """Let every wait for a lock or a connection end after a moment."""
    monkeypatch.setattr(connecting, "BUSY_TIMEOUT_S", 0.1)


def test_an_execution_that_another_holds_makes_the_store_busy(
    impatient, own_url
) -> None:
    with (
        leasehold.open(own_url) as ledger,
        closing(outsider_of(own_url)) as outsider,
    ):
        one = ledger.create_execution()
        outsider.hold(one)
        told = busy(lambda: ledger.cancel_execution(one, actor="ann", reason="x"))
        assert "lock timeout" in told
        assert ledger.claim(worker_id="w") is None
        pools = ledger._store._transactions.datastore.pool
        assert len(pools._idle) == 1
        outsider.release()
        assert ledger.claim(worker_id="w").execution_id == one


@pytest.mark.parametrize("read_only", [False, True])
def test_a_pool_that_is_used_up_makes_the_store_busy(
    read_only, impatient, own_url
) -> None:
    leasehold.open(own_url).close()
    with leasehold.open(f"{own_url}&pool_size=2", read_only=read_only) as ledger:
        read = ledger._store.read
        with read(), read():
            assert "all 2 connections" in busy(ledger.read.counts)
            assert "pool_size" in busy(ledger.read.counts)
        assert ledger.read.counts()["pending"] == 0


def test_a_statement_timeout_of_the_server(own_url) -> None:
    leasehold.open(own_url).close()
    options = "-c%20statement_timeout%3D200"
    with (
        leasehold.open(f"{own_url}&options={options}") as ledger,
        closing(outsider_of(own_url)) as outsider,
    ):
        one = ledger.create_execution()
        outsider.hold(one)
        with pytest.raises(leasehold.StoreError, match="statement_timeout") as told:
            ledger.change_priority(one, 1, actor="ann")
        assert (told.value.code, told.value.retryable) == ("store_unavailable", True)
        assert "nothing was written" in str(told.value)
        outsider.release()
        ledger.change_priority(one, 1, actor="ann")


@contextmanager
def waiting_call(ledger, url, call):
    """Let a call wait for another writer; give its process and its outcome."""
    outcome = []

    def run():
        try:
            outcome.append(call())
        except leasehold.StoreError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    with closing(outsider_of(url)) as outsider:
        thread.start()
        pid = None
        while pid is None:
            found = outsider.execute(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND application_name = 'leasehold'"
            )
            pid = found[0]["pid"] if found else None
        yield outsider, pid, outcome
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("function", "meaning"),
    [
        ("pg_cancel_backend", "cancelled the statement"),
        ("pg_terminate_backend", "cannot be reached"),
    ],
)
def test_a_call_that_an_administrator_ends(function, meaning, own_url) -> None:
    with (
        leasehold.open(own_url) as ledger,
        closing(outsider_of(own_url)) as holder,
    ):
        one = ledger.create_execution()
        holder.hold(one)

        def call():
            return ledger.change_priority(one, 1, actor="ann")

        with waiting_call(ledger, own_url, call) as (outsider, pid, outcome):
            outsider.execute(f"SELECT {function}({pid})")
        (told,) = outcome
        assert meaning in str(told)
        assert "nothing was written" in str(told)
        assert told.retryable
        holder.release()
        call()


def test_a_transaction_that_stands_still_is_ended_by_the_server(
    own_server, own_url, monkeypatch
) -> None:
    monkeypatch.setattr(connecting, "_IDLE_IN_TRANSACTION_S", 0.1)
    pause_s = [0.0]

    def clock():
        time.sleep(pause_s[0])
        return 1_700_000_000_000

    with leasehold.open(own_url, clock=clock) as ledger:
        one = ledger.create_execution(execution_id=None)
        pause_s[0] = 0.5
        with pytest.raises(leasehold.StoreError, match="nothing was written") as told:
            ledger.change_priority(one, 1, actor="ann")
        assert (told.value.code, told.value.retryable) == ("store_unavailable", True)
        assert "due to idle-in-transaction timeout" in own_server.log()
        pause_s[0] = 0.0
        ledger.change_priority(one, 1, actor="ann")


def test_a_table_that_somebody_dropped(own_url) -> None:
    with (
        leasehold.open(own_url) as ledger,
        closing(outsider_of(own_url)) as outsider,
    ):
        one = ledger.create_execution()
        outsider.execute("DROP TABLE exec_state CASCADE")
        for call in (ledger.create_execution, lambda: ledger.read.execution(one)):
            with pytest.raises(leasehold.StoreError, match="is gone"):
                call()


TOO_MANY_FILES = """
import os, resource, sys, leasehold
ledger = leasehold.open(sys.argv[1])
ledger.create_execution()
held = ledger._store.read()
with held:
    most = len(os.listdir("/proc/self/fd"))
    for more in range(4):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most + more, most + 64))
        try:
            ledger.create_execution()
        except leasehold.StoreError as error:
            print(error.code, error.retryable)
        else:
            break
resource.setrlimit(resource.RLIMIT_NOFILE, (most + 64, most + 64))
ledger.create_execution()
print("on")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it counts the files in /proc")
def test_too_many_open_files_are_told(own_url) -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TOO_MANY_FILES, own_url],
        check=True,
        capture_output=True,
        text=True,
    )
    *told, last = done.stdout.splitlines()
    assert set(told) == {"store_unavailable True"}
    assert last == "on"


IN_EFFECT = "SELECT current_setting('synchronous_commit') AS n"


@pytest.mark.parametrize("pooling", ["off", "on"])
@pytest.mark.parametrize(
    ("durability", "of_the_server", "in_effect"),
    [
        ("full", "off", "on"),
        ("full", "on", "on"),
        ("full", "local", "local"),
        ("full", "remote_apply", "remote_apply"),
        ("normal", "on", "off"),
        ("normal", "remote_apply", "off"),
    ],
)
def test_a_call_is_as_durable_as_asked_whatever_the_server_is_set_to(
    durability, of_the_server, in_effect, pooling, own_url
) -> None:
    options = f"-c%20synchronous_commit%3D{of_the_server}"
    url = f"{own_url}&options={options}&transaction_pooling={pooling}"
    with leasehold.open(url, durability=durability) as ledger:
        ledger.create_execution()
        with ledger._store.write() as session:
            (row,) = session.connection.execute(IN_EFFECT).fetchall()
        assert row["n"] == in_effect
        facts = ledger._store.facts()
        assert facts["synchronous_commit"] == in_effect
        assert facts["durability"] == durability


@pytest.mark.parametrize("pooling", ["off", "on"])
def test_settings_of_the_server_that_a_ledger_cannot_do_with_are_overridden(
    pooling, own_url
) -> None:
    options = "-c%20default_transaction_isolation%3Dserializable"
    url = f"{own_url}&options={options}&transaction_pooling={pooling}"
    with leasehold.open(url) as ledger:
        one = ledger.create_execution()
        ledger.complete(ledger.claim(worker_id="w"))
        assert ledger.read.events()[0].topic == "execution.created"
        assert ledger.read.execution(one).public_state == "completed"
        assert ledger.read.settled_position() == 5


def test_a_server_in_front_that_answers_nothing_more(own_url) -> None:
    with proxy_to(own_url) as proxy, leasehold.open(proxy.url()) as ledger:
        ledger.create_execution()
        proxy.accept = "refused"
        for wire in proxy.wires:
            wire.close()
        with pytest.raises(leasehold.StoreError, match="cannot be reached") as told:
            ledger.create_execution()
        assert told.value.retryable
        proxy.accept = "served"
        ledger.create_execution()
