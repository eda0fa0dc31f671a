"""The commands that change something, and every way of calling one wrongly."""

import json
import time
import uuid
from importlib.metadata import version
from pathlib import Path

import pytest

import leasehold
from leasehold.adapters.command_line import application

BY = ("--actor", "ada", "--reason", "a test")
ID_COMMANDS = ("show", "history", "frames", "cancel", "revoke", "reopen")


@pytest.fixture
def run(capsys, shared_url):
    """Run a command on the store as --json and give its document."""

    def call(*arguments):
        status = application.run([*arguments, "--store", shared_url, "--json"])
        printed = capsys.readouterr()
        assert (status, printed.err) == (0, "")
        return json.loads(printed.out)

    return call


@pytest.fixture
def wrong(capsys):
    """Run a command that must be refused, and give its one line."""

    def call(*arguments):
        assert application.run(list(arguments)) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        assert line.startswith("leasehold: ")
        return line.removeprefix("leasehold: ")

    return call


@pytest.fixture
def held(shared_url):
    """Leave a ledger with one execution under a live lease; give its handle."""
    with leasehold.open(shared_url) as ledger:
        ledger.create_execution()
        return ledger.claim(worker_id="worker-1", lease_ttl_ms=3_600_000)


def last_event(shared_url, execution_id):
    with leasehold.open(shared_url, read_only=True) as ledger:
        return list(ledger.read.history(execution_id))[-1].event


def test_cancel_ends_an_execution_and_names_the_actor(run, held, shared_url):
    row = run("cancel", str(held.execution_id), *BY)
    assert row["public_state"] == "cancelled"
    event = last_event(shared_url, held.execution_id)
    assert (event.actor, event.reason) == ("ada", "a test")
    assert run("cancel", str(held.execution_id), *BY)["public_state"] == "cancelled"


def test_revoke_takes_the_lease_away(run, held, shared_url):
    row = run("revoke", str(held.execution_id), *BY)
    assert row["ownership_state"] == "lease_revoked"
    with (
        leasehold.open(shared_url) as ledger,
        pytest.raises(leasehold.LeaseRevokedError),
    ):
        ledger.complete(held)


def test_reopen_opens_an_ended_execution_again(run, held):
    run("cancel", str(held.execution_id), *BY)
    row = run("reopen", str(held.execution_id), *BY)
    assert (row["public_state"], row["attempt_index"]) == ("pending", 1)


def test_a_command_says_in_a_line_how_things_stand(capsys, held, shared_url):
    name = str(held.execution_id)
    assert application.run(["cancel", name, *BY, "--store", shared_url]) == 0
    expected = f"execution {name} is cancelled, unowned\n"
    assert capsys.readouterr().out == expected


def test_sweep_records_what_has_come_due(run, capsys, shared_url):
    an_hour_ago = time.time_ns() // 1_000_000 - 3_600_000
    with leasehold.open(shared_url, clock=lambda: an_hour_ago) as ledger:
        ledger.create_execution()
        ledger.claim(worker_id="worker-1", lease_ttl_ms=1000)
        ledger.create_execution(delay_until_ms=an_hour_ago + 1000)
        ledger.create_execution(deadline_at_ms=an_hour_ago + 1000)
    swept = {"leases_expired": 1, "delays_due": 1, "deadlines_passed": 1}
    assert run("sweep") == swept
    assert run("sweep") == dict.fromkeys(swept, 0)
    assert application.run(["sweep", "--store", shared_url]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "leases expired: 0",
        "delays due: 0",
        "deadlines passed: 0",
    ]


@pytest.mark.parametrize("command", ["cancel", "revoke", "reopen"])
@pytest.mark.parametrize("given", [BY[:2], BY[2:], ()])
def test_an_operator_gives_a_name_and_a_reason(capsys, shared_url, command, given):
    arguments = [command, str(uuid.uuid4()), *given, "--store", shared_url]
    assert application.run(arguments) == 2
    assert "Missing option" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["cancel", "revoke"])
def test_a_state_that_does_not_allow_it_is_told(wrong, held, shared_url, command):
    with leasehold.open(shared_url) as ledger:
        ledger.complete(held)
    line = wrong(command, str(held.execution_id), *BY, "--store", shared_url)
    assert "completed" in line


def test_a_live_execution_is_not_reopened(wrong, held, shared_url):
    line = wrong("reopen", str(held.execution_id), *BY, "--store", shared_url)
    assert "running" in line


def arguments_for(command, name):
    return [command, name, *(BY if command in {"cancel", "revoke", "reopen"} else ())]


@pytest.mark.parametrize("command", ID_COMMANDS)
def test_what_is_no_id_is_refused(wrong, held, shared_url, command):
    line = wrong(*arguments_for(command, "nonsense"), "--store", shared_url)
    assert line == "'nonsense' is not an execution id: `leasehold list` shows them"


@pytest.mark.parametrize("command", ID_COMMANDS)
def test_an_execution_that_is_not_there_is_named(wrong, held, shared_url, command):
    missing = str(uuid.uuid4())
    line = wrong(*arguments_for(command, missing), "--store", shared_url)
    assert missing in line


@pytest.mark.parametrize("command", ["list", "sweep", "doctor", *ID_COMMANDS])
def test_a_store_that_is_not_there_is_not_made(wrong, tmp_path, command):
    path = tmp_path / "typo.db"
    name = [] if command in {"list", "sweep", "doctor"} else [str(uuid.uuid4())]
    by = BY if command in {"cancel", "revoke", "reopen"} else ()
    line = wrong(command, *name, *by, "--store", f"sqlite:///{path}")
    assert line.startswith(f"there is no ledger at {path}")
    assert not path.exists()


def test_a_path_for_a_url_is_answered_with_the_url(wrong, file_path):
    line = wrong("list", "--store", str(file_path))
    assert line.endswith(f"for that file, sqlite:///{file_path}")
    assert wrong("list", "--store", "a.db").endswith("for that file, sqlite:///a.db")


def test_a_private_store_is_refused(wrong):
    assert "private" in wrong("list", "--store", "sqlite://")
    assert "private" in wrong("demo", "--store", "sqlite://")


def test_a_file_that_is_no_ledger_is_told(wrong, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, and not a database at all\n" * 100)
    assert str(path) in wrong("list", "--store", f"sqlite:///{path}")


def test_what_was_typed_reaches_the_terminal_escaped(wrong, shared_url, held):
    line = wrong("show", "\x1b[31m", "--store", shared_url)
    assert line.isprintable()


def test_the_store_may_come_from_the_environment(capsys, monkeypatch, shared_url, held):
    monkeypatch.setenv("LEASEHOLD_STORE", shared_url)
    assert application.run(["list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_without_a_store_the_library_s_own_default_counts(
    wrong, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LEASEHOLD_STORE", raising=False)
    assert "no ledger at leasehold.db" in wrong("list")
    leasehold.open().close()
    assert Path("leasehold.db").exists()
    assert application.run(["list"]) == 0
    assert capsys.readouterr().err == ""


def test_the_version_is_told(capsys):
    assert application.run(["--version"]) == 0
    assert capsys.readouterr().out == f"leasehold {version('leasehold')}\n"


@pytest.mark.parametrize("command", application.COMMANDS)
def test_every_command_has_help_and_json(capsys, command):
    assert application.run([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--store" in text
    assert "--json" in text


@pytest.mark.parametrize("arguments", [["nonsense"], ["list", "--limit", "0"]])
def test_a_wrong_call_ends_with_two(capsys, arguments):
    assert application.run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_interrupt_ends_with_the_status_of_one(monkeypatch, shared_url, held):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(leasehold.Reader, "executions", interrupted)
    assert application.run(["list", "--store", shared_url]) == 130
