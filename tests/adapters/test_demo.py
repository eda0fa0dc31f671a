"""`leasehold demo`: a newcomer's first minute, run as a newcomer runs it."""

import json
import os
import pty
import shlex
import subprocess
import sys
import sysconfig
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from outsiders import without_schema

import leasehold
from leasehold.adapters.command_line import (
    demo_jobs,
    demo_places,
    demo_processes,
    demo_report,
)

PROGRAM = Path(sysconfig.get_path("scripts")) / "leasehold"
SECONDS_MAX = 15
DONE = "completed"


def demo(folder, *arguments, program=PROGRAM):
    began = time.monotonic()
    done = subprocess.run(
        [program, "demo", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < SECONDS_MAX
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def piped(tmp_path_factory):
    """Run it once in a pipe; give its folder and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, demo(folder)


def test_it_tells_its_story_in_plain_lines(piped):
    _, text = piped
    assert "\x1b" not in text
    for piece in (
        "12 executions wait in the lanes render and billing",
        "SIGKILL to process",
        "takes over film (attempt 1, epoch 2)",
        "must retry card-charge",
        "gives up on refund",
        "old handle completes:",
    ):
        assert piece in text
    assert "FAILED" not in text


def test_it_tells_the_leases_of_the_one_taken_over_epoch_by_epoch(piped):
    _, text = piped
    story = text.partition("the leases of film")[2].partition("what had to")[0]
    first, second = story.partition("epoch 2:")[::2]
    for event in ("acquired", "renewed", "expired", "refused"):
        assert event in first
    for event in ("reclaimed", "revoked"):
        assert event in second
    assert "complete came too late" in first


def test_it_shows_a_dozen_executions_on_two_lanes(piped):
    _, text = piped
    table = text.partition("the executions\n")[2].partition("\n\n")[0]
    rows = table.splitlines()[1:]
    assert len(rows) == 12
    assert sum("  completed  " in row for row in rows) == 11
    assert {row.split()[1] for row in rows} == {"render", "billing"}


def test_the_three_commands_work_as_printed(piped):
    folder, text = piped
    commands = [line.strip() for line in text.partition("Try next:\n")[2].splitlines()]
    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(
            shlex.split(command),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout
    assert [shlex.split(command)[1] for command in commands] == [
        "list",
        "show",
        "history",
    ]


def test_the_ledger_holds_what_was_shown(piped):
    folder, _ = piped
    with leasehold.open(
        f"sqlite:///{folder}/leasehold-demo.db", read_only=True
    ) as ledger:
        counts = ledger.read.counts()
        assert counts[leasehold.PublicState.COMPLETED] == 11
        assert counts[leasehold.PublicState.FAILED] == 1
        assert ledger.read.lanes() == ["billing", "render"]
        (film,) = [
            row for row in ledger.read.executions() if row.tags["name"] == "film"
        ]
        attempts = ledger.read.attempts(film.execution_id)
        assert [attempt.outcome for attempt in attempts] == [
            "interrupted_reclaimed",
            "success",
        ]
        assert ledger.read.frames(film.execution_id, 0)
        assert ledger.read.summary(film.execution_id, 1).document["done"] == 10
        types = {row.event_type for row in ledger.read.lease_events(film.execution_id)}
        assert types == set(leasehold.LeaseEventType)


def test_as_json_it_is_one_document_and_leaves_the_first_file_alone(piped):
    folder, _ = piped
    before = (folder / "leasehold-demo.db").stat().st_mtime_ns
    report = json.loads(demo(folder, "--json"))
    assert report["ok"] is True
    assert all(check["ok"] for check in report["checks"])
    assert report["store"] == "sqlite:///leasehold-demo-2.db"
    assert len(report["executions"]) == 12
    assert len(report["next"]) == 3
    assert report["remove"] is None
    assert (folder / "leasehold-demo.db").stat().st_mtime_ns == before


def test_it_wants_a_ledger_of_its_own(piped):
    folder, _ = piped
    done = subprocess.run(
        [PROGRAM, "demo", "--store", "sqlite:///leasehold-demo.db"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("leasehold: leasehold-demo.db is there already")


def test_it_does_not_touch_the_store_of_the_environment(tmp_path, monkeypatch):
    kept = tmp_path / "kept.db"
    monkeypatch.setenv("LEASEHOLD_STORE", f"sqlite:///{kept}")
    target = f"sqlite:///{tmp_path}/with space.db"
    report = json.loads(demo(tmp_path, "--json", "--store", target))
    assert not kept.exists()
    assert shlex.split(report["next"][0])[-1] == target


def test_on_a_terminal_it_is_live_and_ends_as_well(tmp_path):
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    process = subprocess.Popen(
        [PROGRAM, "demo"],
        cwd=tmp_path,
        env=environment,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    text = b""
    with open(leader, "rb", buffering=0) as screen:  # noqa: PTH123 - a descriptor
        while True:
            try:
                piece = screen.read(65536)
            except OSError:
                break
            if not piece:
                break
            text += piece
    assert process.wait(timeout=30) == 0
    assert b"\x1b[" in text
    assert "━".encode() in text
    assert b"Try next:" in text


def test_it_does_not_call_good_what_is_not(tmp_path, monkeypatch):
    report = demo_report.Report(
        place=demo_places.Place(""),
        seconds=0,
        executions=[],
        workers={},
        story=[],
        checks=[demo_report.Check("good", ok=True), demo_report.Check("bad", ok=False)],
        complaints=["a worker said why"],
        commands=[],
    )
    assert not report.ok


def test_a_broken_worker_makes_it_fail_and_says_why(tmp_path):
    # Nobody works, so nothing comes out as it should; each process says why.
    broken = (
        "import sys\n"
        "from leasehold.adapters.command_line import demo_processes, application\n"
        "demo_processes._MODULE = 'leasehold.no_such_module'\n"
        "sys.exit(application.run(['demo']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", broken],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "FAILED  every execution ended as meant" in done.stdout
    assert "no_such_module" in done.stdout


@pytest.fixture
def server(postgres, new_store):
    """Name the database of the tests, without a schema."""
    return without_schema(new_store("postgres"))[0]


def schemas_in(server):
    with closing(psycopg.connect(server)) as connection:
        rows = connection.execute("SELECT nspname FROM pg_namespace").fetchall()
    return {name for (name,) in rows}


def test_in_postgresql_it_works_in_a_schema_of_its_own(server, tmp_path) -> None:
    before = schemas_in(server)
    text = demo(tmp_path, "--store", server)
    (schema,) = schemas_in(server) - before
    assert schema.startswith("leasehold_demo")
    assert f"a new ledger in {server}" in text
    assert f"the ledger stays in {server}" in text
    assert "FAILED" not in text
    assert list(tmp_path.iterdir()) == []

    again = json.loads(demo(tmp_path, "--store", server, "--json"))
    assert again["ok"] is True
    (other,) = schemas_in(server) - before - {schema}
    assert again["store"].endswith(f"schema={other}")
    assert "password" not in again["store"]

    assert text.endswith(f"To remove it: DROP SCHEMA {schema} CASCADE;\n")
    with closing(psycopg.connect(server, autocommit=True)) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE")
        connection.execute(again["remove"])
    assert schemas_in(server) == before


def test_in_postgresql_it_works_in_the_schema_that_is_named(
    new_store, tmp_path
) -> None:
    url = new_store("postgres")
    secret = url.replace("postgres@", "postgres:hunter2@", 1)
    text = demo(tmp_path, "--store", secret)
    assert "hunter2" not in text
    assert f"the ledger stays in {url}. Try next:" in text
    assert text.endswith("The password is left out: give it as PGPASSWORD.\n")
    for line in text.partition("Try next:\n")[2].splitlines()[:3]:
        command = shlex.split(line)
        assert command[-1] == url
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    done = subprocess.run(
        [PROGRAM, "demo", "--store", secret],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"leasehold: {url} is there already: the demo wants a ledger of its own\n"
    )


def test_it_leaves_nothing_in_a_database_that_it_cannot_write_to(tmp_path) -> None:
    url = "postgresql://ada:hunter2@127.0.0.1:1/work"
    done = subprocess.run(
        [PROGRAM, "demo", "--store", url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr


def test_no_process_is_told_a_password_that_others_can_read(monkeypatch) -> None:
    told = []

    def noted(arguments, *, env, **_options):
        told.append((arguments, env))
        raise InterruptedError

    monkeypatch.setattr(subprocess, "Popen", noted)
    url = "postgresql://ada:hunter2@host/work"
    with pytest.raises(InterruptedError):
        demo_processes.Workers(url).__enter__()
    ((arguments, environment),) = told
    assert not [word for word in arguments if "hunter2" in word]
    assert environment[demo_jobs.STORE_VARIABLE] == url
