"""The commands that prove a store: verify, checkpoint, rebuild."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import leasehold
from leasehold.adapters.command_line import application, progressing, proving

ENTRY = "from leasehold.adapters.command_line.entry import main; main()"
HOSTILE = "\x1b]0;owned\x07"


@pytest.fixture
def made(shared_url):
    """Leave an execution that was done and one that waits; give their ids."""
    with leasehold.open(shared_url) as ledger:
        done = ledger.create_execution(payload=b"input")
        handle = ledger.claim(worker_id="worker-1")
        ledger.progress(handle, 40, "on the way")
        ledger.complete(handle, b"result")
        return done, ledger.create_execution()


@pytest.fixture
def run(capsys, shared_url):
    """Run a command on the store; give its status, its lines and its complaints."""

    def call(*arguments):
        status = application.run([*arguments, "--store", shared_url])
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err

    return call


def test_a_sound_store_is_verified_in_one_line(run, made):
    assert run("verify") == (0, ["no fault: 7 events of 2 executions, 6 rows"], "")
    status, (line,), _ = run("verify", "--json")
    report = json.loads(line)
    assert (status, report["ok"], report["events"]) == (0, True, 7)
    assert (report["faults"], report["fault_count"]) == ([], 0)


def test_verify_names_each_fault_and_ends_with_1(run, made, outsider):
    done, waiting = map(str, made)
    outsider.execute(
        "UPDATE exec_state SET lane_id = ? WHERE execution_id = ?", HOSTILE, done
    )
    outsider.execute("DELETE FROM exec_state WHERE execution_id = ?", waiting)
    status, lines, complaint = run("verify")
    assert (status, complaint) == (1, "")
    assert len(lines) == 3
    (missing,) = [
        line for line in lines if line.startswith(f"row: exec_core ({waiting}")
    ]
    assert missing.endswith("the row is missing (set by the event at position 7)")
    (changed,) = [line for line in lines if line.startswith(f"row: exec_core ({done}")]
    assert "the replay gives 'default' (set by the event at position 1)" in changed
    assert all(line.isprintable() for line in lines)
    assert lines[-1].startswith("2 faults: 7 events")
    status, (line,), _ = run("verify", "--json")
    assert status == 1
    faults = json.loads(line)["faults"]
    assert {fault["kind"] for fault in faults} == {"row"}
    assert {fault["position"] for fault in faults} == {1, 7}
    (columns,) = [fault["columns"] for fault in faults if fault["columns"]]
    assert columns == {"lane_id": [HOSTILE, "default"]}


def test_verify_names_a_fault_of_the_log(run, made, outsider):
    outsider.lift_the_guard()
    outsider.execute("DELETE FROM stored_events WHERE notification_id = 2")
    status, lines, _ = run("verify")
    assert status == 1
    assert any(line.startswith("version: stream ") for line in lines)


def test_more_faults_than_are_named_are_counted(capsys):
    fault = leasehold.VerifyFault(leasehold.FaultKind.ORDER, 7, None, "text")
    proving._print_report(leasehold.VerifyReport(9, 3, 2, (fault,), 5, ("abc",)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["order: text", "… and 4 more"]
    assert lines[2].startswith("redacted: taken in without payloads, results, frames")
    assert "the original bundle has the digest abc" in lines[2]
    assert lines[3:] == ["5 faults: 9 events of 3 executions, 2 rows"]


def test_rebuild_says_that_nothing_differs(run, made):
    assert run("rebuild") == (0, ["every row is what the events add up to"], "")
    assert run("rebuild", "--json") == (0, [], "")


def test_rebuild_puts_rows_right_and_tells_them(run, made, outsider, shared_url):
    done, _ = map(str, made)
    spoil = "UPDATE exec_state SET priority = 9 WHERE execution_id = ?"
    outsider.execute(spoil, done)
    outsider.execute("DELETE FROM lease_event")
    status, lines, _ = run("rebuild")
    assert status == 1
    assert lines[0] == f"execution {done}"
    assert "      priority  9 → 0" in lines
    assert "  + lease_event event_id=3" in lines
    assert lines[-1] == "3 rows were not what the events add up to, and put right"
    assert run("verify")[0] == 0
    assert run("rebuild")[0] == 0
    outsider.execute(spoil, done)
    status, (line,), _ = run("rebuild", "--json")
    assert status == 1
    assert json.loads(line)["columns"] == {"priority": {"before": 9, "after": 0}}


@pytest.mark.parametrize("command", ["verify", "checkpoint", "rebuild"])
def test_a_store_that_is_not_there_is_not_made(run, command):
    status, lines, complaint = run(command)
    assert (status, lines) == (2, [])
    assert len(complaint.splitlines()) == 1
    assert run("list")[0] == 2


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_on_a_terminal_when_it_takes_long(monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    with progressing.meter("verifying") as meter:
        meter(1, 2)
        assert screen.getvalue() == ""
        meter._draw_at = 0
        meter(1, 2)
        meter._draw_at = 0
        meter(2, 2)
    assert "verifying" in screen.getvalue()
    assert "events" in screen.getvalue()


def test_progress_is_silent_elsewhere(monkeypatch):
    monkeypatch.setattr(sys, "stderr", pipe := io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progressing.meter("replaying", 5) as meter:
        meter._draw_at = 0
        meter(1, 2)
    assert pipe.getvalue() == ""


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="only some systems have it")
def test_a_full_disk_is_not_taken_for_a_fault_of_the_store(made, shared_url):
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-c", ENTRY, "verify"],
            env={"LEASEHOLD_STORE": shared_url, "PATH": ""},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "leasehold: the output cannot be written: No space left on device\n"
    )
