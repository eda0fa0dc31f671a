"""`leasehold bench soak`, for seconds; an hour of it is `--minutes 60`."""

import os
import random
import signal
import subprocess
import sys
import sysconfig
import time
from dataclasses import replace
from pathlib import Path

import pytest

import leasehold
from leasehold.adapters.benching import fleet, working
from leasehold.adapters.benching import soak as soaks
from leasehold.adapters.benching.judging import judge
from leasehold.adapters.benching.witness import Witness
from leasehold.adapters.command_line import application, soaking

PROGRAM = Path(sysconfig.get_path("scripts")) / "leasehold"
SHORT = (
    *("--minutes", "0.04", "--workers", "2", "--rate", "40", "--seed", "11"),
    *("--fault-every", "0.3", "--lease-ttl-ms", "300", "--work-ms", "20"),
)
KINDS = {
    *("duplicate", "overlap", "late", "lost", "open", "broken"),
    *("verify", "audit"),
}
WITHIN_S = 60

asks_proc = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")


def test_it_ends_well_and_leaves_no_file(bench, tmp_path):
    status, told = bench("soak", *SHORT, "--durability", "normal")
    assert told["texts"] == []
    assert (status, told["ok"]) == (0, True)
    assert told["wrong"] == dict.fromkeys(KINDS, 0)
    assert told["order"]["seed"] == 11
    assert told["circumstances"]["durability"] == "normal"
    assert told["executions"]["in_the_log"] > 0
    assert told["executions"]["events"] == told["judged"]["events_audited"]
    assert told["leases"]["tenures"] >= told["executions"]["in_the_log"]
    assert told["faults"]["processes_started"] >= 3
    assert len(told["quarters"]) == 4
    assert told["kept"] is None
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def soaked(monkeypatch):
    """Stand in for the soak: an empty store, with what its witness is to have found."""

    def plant(*faults):
        def run(url, order, show, metering):
            with leasehold.open(url) as ledger:
                witness = Witness()
                for kind, text in faults:
                    witness.faults.add(kind, text)
                show(standing)
                return soaks.SoakReport(
                    seconds=order.seconds,
                    drained_s=0.5,
                    processes=3,
                    faults={"killed": 2},
                    witness=witness,
                    verdict=judge(ledger, witness, metering),
                    store=ledger.read.store_facts(),
                    quarters=(soaks.Quarter(2.5, 0, None, None),) * 4,
                )

        monkeypatch.setattr(soaking, "soak", run)

    standing = soaks.Standing(1.0, 10, 4, 6, {"killed": 2}, 1, 0)
    return plant


def test_what_must_not_be_ends_it_with_1_and_the_store_stays(soaked, bench):
    soaked(("overlap", "two held it"))
    status, told = bench("soak")
    assert (status, told["ok"], told["texts"]) == (1, False, ["overlap: two held it"])
    assert told["wrong"] == {**dict.fromkeys(KINDS, 0), "overlap": 1}
    with leasehold.open(told["kept"], read_only=True) as ledger:
        assert ledger.read.lanes() == []


def test_people_read_the_same(soaked, capsys, tmp_path):
    soaked()
    command = ["bench", "soak", "--folder", str(tmp_path), "--minutes", "20"]
    assert application.run([*command, "--seed", "5"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = [line.split() for line in printed.out.splitlines()]
    for words in (
        ["minutes", "20.0"],
        ["faults", "one", "every", "2", "s,", "seed", "5"],
        ["workers_killed", "2"],
        ["overlap", "0"],
        ["1", "2.5", "0", "-", "-"],
        ["all", "is", "as", "it", "should", "be"],
    ):
        assert words in lines, printed.out
    soaked(("late", "so late"))
    assert application.run(command) == 1
    printed = capsys.readouterr()
    assert "late: so late" in printed.out
    assert "the store stays: sqlite:///" in printed.out
    assert "something is wrong" in printed.out


def test_a_line_says_how_it_stands():
    order = soaks.SoakOrder(60, 2, 25, 2, 2_000, 100, 0.0, "full", 1)
    standing = soaks.Standing(1.0, 10, 4, 6, {"killed": 2}, 1, 0)
    assert soaking._line(standing, order) == (
        "1 of 60 s: 10 created, 4 open, 6 ended; killed 2; 1 refused; wrong 0"
    )
    assert "no fault yet" in soaking._line(replace(standing, faults={}), order)


def test_half_of_what_is_taken_over_takes_one_to_two_ttls():
    with leasehold.open("sqlite://") as ledger:
        ledger.create_execution()
        fresh = ledger.claim(worker_id="amber")
    taken = fresh.replace(kind=leasehold.HandleKind.RECLAIMED)
    order = working.WorkOrder(
        worker="amber",
        kind="loop",
        durability="full",
        lease_ttl_ms=2_000,
        work_ms=100,
        failing=0.0,
        draws="",
    )
    chance = random.Random(1)
    assert max(working.drawn_s(order, fresh, chance) for _ in range(400)) <= 0.2
    again = [working.drawn_s(order, taken, chance) for _ in range(400)]
    long = [lasting_s for lasting_s in again if lasting_s > 0.2]
    assert 150 < len(long) < 250
    assert all(2 <= lasting_s <= 4 for lasting_s in long)


def test_a_process_that_ends_by_itself_is_found(tmp_path):
    witness = Witness()
    order = fleet.FleetOrder(
        url=f"sqlite:///{tmp_path}/not-there.db",
        durability="full",
        kinds=("loop",),
        lease_ttl_ms=2_000,
        work_ms=100,
        failing=0.0,
        seed=1,
    )
    with fleet.Fleet(order, witness) as running:
        running.start("loop-1")

        def look():
            running.look_after()
            return witness.faults.texts

        (text,) = wait_until(look)
        assert running.started["loop-1"] == 2
    assert text.startswith("broken: loop-1.1 ended with status 1: ")
    assert "not-there.db" in text
    assert list(tmp_path.iterdir()) == []


@asks_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_file_and_no_process(number, tmp_path):
    running = subprocess.Popen(
        [PROGRAM, "bench", "soak", *SHORT[2:], "--minutes", "10"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        children = three_children_of(running)
        running.send_signal(number)
        out, err = running.communicate(timeout=WITHIN_S)
    finally:
        running.kill()
    assert (running.returncode, out, err) == (130, "", "")
    assert list(tmp_path.iterdir()) == []
    # One that was only just being started ends by itself.
    wait_until(lambda: not any(map(is_alive, children)))


@asks_proc
def test_when_it_is_killed_its_processes_end(tmp_path):
    running = subprocess.Popen(
        [PROGRAM, "bench", "soak", *SHORT[2:], "--minutes", "10"], cwd=tmp_path
    )
    try:
        children = three_children_of(running)
        # One that stands still cannot see that its parent is gone.
        os.kill(children[0], signal.SIGSTOP)
        wait_until(lambda: state_of(children[0]) == "T")
    finally:
        running.kill()
        running.wait()
    wait_until(lambda: not any(map(is_alive, children)))


def wait_until(true):
    until_s = time.monotonic() + WITHIN_S
    while not (found := true()):
        assert time.monotonic() < until_s
        time.sleep(0.01)
    return found


def three_children_of(running):
    """Return the ids of its first processes, once there are as many."""

    def look():
        assert running.poll() is None
        # Threads start processes, too, and each has a list of its own.
        lists = Path(f"/proc/{running.pid}/task").glob("*/children")
        there = [int(one) for path in lists for one in path.read_text().split()]
        return there if len(there) >= 3 else None

    return wait_until(look)


def is_alive(process_id):
    return state_of(process_id) not in {None, "Z"}


def state_of(process_id):
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except FileNotFoundError:
        return None
    return stat.rpartition(")")[2].split()[0]
