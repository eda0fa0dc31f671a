"""The commands on PostgreSQL: what `doctor` tells, and what is never told."""

import json
import subprocess
import sys
from contextlib import closing

import psycopg
import pytest
from event_logs import Writer
from outsiders import use_schema, without_schema

import leasehold
from leasehold.adapters.command_line import application, store_facts, store_urls
from leasehold.adapters.postgres.urls import with_schema

SECRET = "hunter2"
BY = ("--actor", "ada", "--reason", "a test")
ID = "01942000-0000-7000-8000-000000000001"
COMMANDS = {
    "list": (),
    "show": (ID,),
    "history": (ID,),
    "frames": (ID,),
    "sweep": (),
    "cancel": (ID, *BY),
    "revoke": (ID, *BY),
    "reopen": (ID, *BY),
    "doctor": (),
}
ENTRY = "from leasehold.adapters.command_line.entry import main; main()"


@pytest.fixture
def url(new_store):
    """Name a ledger in PostgreSQL that is not there yet."""
    return new_store("postgres")


@pytest.fixture
def made(url):
    """Name one that is there, with an execution that waits."""
    with leasehold.open(url) as ledger:
        ledger.create_execution(lane_id="mail")
    return url


@pytest.fixture
def run(capsys):
    """Run a command; give its status, what it printed and what it complained of."""

    def call(*arguments):
        status = application.run(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture
def doctor(run, made):
    """Run `doctor`; give what it told, by the names that it told it under."""

    def call():
        status, text, complaint = run("doctor", "--store", made)
        assert (status, complaint) == (0, "")
        section = text.partition("store\n")[2].partition("executions\n")[0]
        lines = (line.strip().split("  ", 1) for line in section.splitlines())
        return {name: value.strip() for name, value in lines}

    return call


def with_password(url):
    return url.replace("postgres@", f"postgres:{SECRET}@", 1)


def test_doctor_tells_of_the_server_in_words(doctor, run, made) -> None:
    told = doctor()
    _, schema = without_schema(made)
    assert told["server"].startswith("PostgreSQL ")
    assert told["schema"] == schema
    assert told["durability"].startswith("full (synchronous_commit ")
    assert told["connections"].split()[1:5] == ["to", "this", "database;", "the"]
    assert {"log", "tables", "events", "last_position"} <= told.keys()
    assert (told["settled_position"], told["lag"]) == ("1", "0")
    assert "held back by" not in told
    _, text, _ = run("doctor", "--json", "--store", made)
    report = json.loads(text)
    assert report["store"]["schema"] == schema
    assert report["store"]["backend"] == "postgres"
    assert report["versions"]["psycopg"]
    fsync = report["store"]["fsync"]
    assert [w.startswith("fsync is off") for w in report["warnings"]] == [True] * (
        fsync == "off"
    )
    _, text, _ = run("doctor", "--store", made)
    assert ("warning: fsync is off" in text) is (fsync == "off")


@pytest.fixture
def slow_import(made):
    """Begin a transaction that holds the readers of the log back, and end it."""
    server, schema = without_schema(made)
    connection = psycopg.connect(server, application_name="slow import")
    with closing(connection):
        connection.autocommit = True
        use_schema(connection, schema)
        yield Writer(connection).begin()


def test_doctor_names_the_transaction_that_readers_wait_for(
    doctor, made, slow_import
) -> None:
    with leasehold.open(made) as ledger:
        ledger.create_executions([{}, {}])
    told = doctor()
    assert (told["last_position"], told["settled_position"]) == ("3", "1")
    assert told["lag"] == "2"
    holder = told["held back by"]
    pid = slow_import.connection.info.backend_pid
    assert holder.startswith(f"process {pid}, application slow import, from ")
    assert ", idle in transaction, in a transaction that began " in holder
    slow_import.rollback()
    assert "held back by" not in doctor()


FACTS = {
    "backend": "postgres",
    "backend_version": "18.4",
    "durability": "full",
    "synchronous_commit": "on",
    "fsync": "on",
}


def test_what_a_server_does_not_tell_is_left_out() -> None:
    assert store_facts.in_words(FACTS) == {
        "server": "PostgreSQL 18.4",
        "durability": "full (synchronous_commit on, fsync on)",
    }
    bare = {"backend": "postgres", "backend_version": "18.4", "durability": "full"}
    assert store_facts.in_words(bare)["durability"] == "full"
    hidden = {**FACTS, "lag": 3, "held_back_by": 7, "held_back_by_application": "psql"}
    told = store_facts.in_words(hidden)
    assert told["held back by"] == "process 7, application psql"


def test_the_place_of_who_holds_readers_back_is_told() -> None:
    held = {
        **FACTS,
        "held_back_by": 7,
        "held_back_by_state": "active",
        "held_back_for_ms": 1500,
    }
    assert store_facts.in_words(held)["held back by"] == (
        "process 7, from the server's own machine, active, in a transaction that "
        "began 1.5 s ago"
    )
    elsewhere = {**held, "held_back_by_address": "10.1.2.3"}
    assert ", from 10.1.2.3, active" in store_facts.in_words(elsewhere)["held back by"]


def test_there_are_warnings_where_a_call_that_returned_may_be_lost() -> None:
    def warned(**facts):
        return [w.split()[0] for w in store_facts.warnings_about({**FACTS, **facts})]

    assert warned() == []
    assert warned(fsync="off") == ["fsync"]
    assert warned(synchronous_commit="off") == ["synchronous_commit"]
    assert warned(synchronous_commit="off", durability="normal") == []
    assert list(store_facts.warnings_about({"backend": "sqlite"})) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_ledger_that_is_not_there_is_not_made(run, url, postgres, command) -> None:
    status, text, complaint = run(command, *COMMANDS[command], "--store", url)
    assert (status, text) == (2, "")
    _, schema = without_schema(url)
    assert schema in complaint
    assert "holds no ledger" in complaint
    assert len(complaint.splitlines()) == 1
    asked = "SELECT 1 AS n FROM pg_namespace WHERE nspname = ?"
    assert postgres.query(url, asked, (schema,)) == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("as_json", [False, True])
def test_no_command_shows_the_password(run, made, command, as_json) -> None:
    options = ["--store", with_password(made), *(["--json"] if as_json else [])]
    status, text, complaint = run(command, *COMMANDS[command], *options)
    assert status == (2 if ID in COMMANDS[command] else 0)
    assert SECRET not in text + complaint


@pytest.mark.parametrize(
    "wrong",
    [
        f"postgresql://ada:{SECRET}@127.0.0.1:1/work",
        f"postgresql://ada@127.0.0.1:1/work?password={SECRET}",
        f"postgresql://ada:{SECRET}@[::1/work",
        f"postgresql://ada:a/{SECRET}@127.0.0.1:1/work",
        f"postgresql://ada:a?{SECRET}@127.0.0.1:1/work",
        f"postgresql://ada:a@{SECRET}@127.0.0.1:1/work",
        f"postgresql://ada:{SECRET}%zz@127.0.0.1:1/work",
        f"postgresql://ada@127.0.0.1:1/work?password=a&{SECRET}",
        f"postgresql://ada:{SECRET}@127.0.0.1:1/work?no_such_option=1",
        f"postgresql://ada:{SECRET}@127.0.0.1:1/work?pool_size=0",
        f"postgres//ada:{SECRET}@127.0.0.1:1/work",
        f"postgresq://ada:{SECRET}@127.0.0.1:1/work",
        f"ada:{SECRET}@127.0.0.1/work",
    ],
)
@pytest.mark.parametrize("command", ["demo", "list", "sweep", "doctor"])
def test_a_url_that_does_not_serve_is_told_without_its_password(
    run, command, wrong
) -> None:
    status, text, complaint = run(command, "--store", wrong)
    assert (status, text) == (2, "")
    assert complaint.startswith("leasehold: ")
    assert len(complaint.splitlines()) == 1
    assert SECRET not in complaint


def test_the_password_may_come_from_the_environment(made) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", ENTRY, "doctor"],
        env={"LEASEHOLD_STORE": with_password(made), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert SECRET not in done.stdout


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///a:b@c.db", "sqlite:///a:b@c.db"),
        ("postgresql://", "postgresql://"),
        ("postgresql://ada:pw@host/db", "postgresql://ada@host/db"),
        ("postgres://ada:p:w@host:1/db?a=b", "postgres://ada@host:1/db?a=b"),
        ("postgresql://:pw@/db", "postgresql://@/db"),
        ("postgresql://host/db?password=pw", "postgresql://host/db"),
        ("postgresql://host/db?x=1&p%61ssword=pw", "postgresql://host/db?x=1"),
        ("postgresql://h/db?sslpassword=pw&schema=a", "postgresql://h/db?schema=a"),
        ("postgresql://h/db?oauth_client_secret=pw", "postgresql://h/db"),
        ("postgresql://a:1@h/db?host=/run:1@x", "postgresql://a@h/db?host=/run:1@x"),
    ],
)
def test_a_url_is_shown_without_what_is_secret(url, shown) -> None:
    assert store_urls.shown(url) == shown


@pytest.mark.parametrize(
    ("url", "with_one"),
    [
        ("postgresql://h/db", "postgresql://h/db?schema=s"),
        ("postgresql://h/db?", "postgresql://h/db?schema=s"),
        ("postgresql://h/db?host=/x", "postgresql://h/db?host=/x&schema=s"),
    ],
)
def test_a_schema_is_put_into_a_url_that_has_none(url, with_one) -> None:
    assert not store_urls.names_a_schema(url)
    assert with_schema(url, "s") == with_one
    assert store_urls.names_a_schema(with_one)
