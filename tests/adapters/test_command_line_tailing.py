"""The command that follows the log: tail, in a pipe and until it is interrupted."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest

import leasehold
from leasehold.adapters.command_line import application

ENTRY = "from leasehold.adapters.command_line.entry import main; main()"


@pytest.fixture
def ids(shared_url):
    """Leave two executions, one of them claimed; give their ids."""
    with leasehold.open(shared_url) as ledger:
        one = ledger.create_execution(lane_id="a")
        two = ledger.create_execution(lane_id="b")
        ledger.claim("b", worker_id="worker-1")
    return one, two


@pytest.fixture
def tail(shared_url):
    """Follow the log in a process of its own."""
    begun = []

    def begin(*arguments):
        following = subprocess.Popen(
            [sys.executable, "-P", "-c", ENTRY, "tail", *arguments],
            env={"LEASEHOLD_STORE": shared_url, "PATH": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(following)
        return following

    yield begin
    for following in begun:
        following.kill()
        with following:
            pass


def run(capsys, url, *arguments):
    status = application.run(["tail", *arguments, "--store", url])
    printed = capsys.readouterr()
    assert (status, printed.err) == (0, "")
    return printed.out.splitlines()


def test_each_event_is_a_line(capsys, shared_url, ids):
    lines = run(capsys, shared_url, "--after", "0", "--limit", "4")
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4"]
    assert str(ids[0]) in lines[0]
    assert "execution.created" in lines[0]
    assert lines[0].endswith("created in lane a")
    assert "  1  worker-1 " in lines[3]
    assert lines[3].endswith("started attempt 0; its lease runs 30 s")


def test_json_is_one_document_a_line(capsys, shared_url, ids):
    lines = run(capsys, shared_url, "--after", "1", "--limit", "2", "--json")
    told = [json.loads(line) for line in lines]
    assert [record["position"] for record in told] == [2, 3]
    assert told[1]["event"]["worker_id"] == "worker-1"


def test_events_are_chosen_by_topic_and_execution(capsys, shared_url, ids):
    two = ("--topic", "execution.claimed", "--topic", "attempt.started")
    lines = run(capsys, shared_url, "--after", "0", *two, "--limit", "2")
    assert [line.split()[0] for line in lines] == ["3", "4"]
    of_one = ("--execution", str(ids[1]))
    lines = run(capsys, shared_url, "--after", "0", *of_one, "--limit", "3")
    assert [line.split()[0] for line in lines] == ["2", "3", "4"]


def test_a_terminal_gets_short_lines_under_days(capsys, shared_url, ids, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    for width, name in (
        (80, f"…{str(ids[0]).rpartition('-')[2]}"),
        (120, str(ids[0])),
    ):
        monkeypatch.setenv("COLUMNS", str(width))
        lines = run(capsys, shared_url, "--after", "0", "--limit", "1")
        assert lines[0].removesuffix("\x1b[0m").endswith(" UTC")
        assert name in lines[1]
    of_one = ("--execution", str(ids[0]), "--limit", "1")
    lines = run(capsys, shared_url, "--after", "0", *of_one)
    assert str(ids[0])[-12:] not in lines[1]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--topic", "execution.made"), "topics must be of execution.created"),
        (("--execution", "7"), "is not an execution id"),
        (("--execution", "01942000-0000-7000-8000-000000000009"), "no execution 0194"),
    ],
)
def test_what_is_not_there_is_refused(capsys, shared_url, ids, arguments, why):
    assert application.run(["tail", *arguments, "--store", shared_url]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert why in printed.err
    assert len(printed.err.splitlines()) == 1


def test_it_goes_on_as_others_write(tail, shared_url, ids):
    following = tail("--after", "3", "--json")
    assert json.loads(following.stdout.readline())["position"] == 4
    with leasehold.open(shared_url) as ledger:
        for _ in range(3):
            made = ledger.create_execution()
            told = json.loads(following.stdout.readline())
            assert told["event"]["execution_id"] == str(made)


@pytest.mark.skipif(sys.platform == "win32", reason="the signal is POSIX")
def test_it_begins_now_and_ends_quietly_when_interrupted(tail, shared_url, ids):
    following = tail()
    seen = threading.Event()
    with leasehold.open(shared_url) as ledger:

        def write():
            while not seen.wait(0.05):
                ledger.create_execution()

        writing = threading.Thread(target=write)
        writing.start()
        line = following.stdout.readline()
        seen.set()
        writing.join()
    assert int(line.split()[0]) > 4
    following.send_signal(signal.SIGINT)
    complaint = following.stderr.read()
    assert (following.wait(10), complaint) == (130, "")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are polled on POSIX")
def test_it_ends_when_its_reader_went_away(tail, ids):
    following = tail("--after", "0")
    assert following.stdout.readline().split()[0] == "1"
    following.stdout.close()
    complaint = following.stderr.read()
    assert (following.wait(10), complaint) == (0, "")


def test_it_ends_when_its_reader_goes_away_while_it_waits(tail, ids):
    following = tail("--after", "3")
    assert following.stdout.readline().split()[0] == "4"
    time.sleep(0.2)
    following.stdout.close()
    complaint = following.stderr.read()
    assert (following.wait(10), complaint) == (0, "")
