"""The conformance kit on ledgers, in this process and by its command.

`LEASEHOLD_CONFORMANCE_ROUNDS` sets how many histories are made by chance for each check
that does.
"""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest

import leasehold
from leasehold.adapters.conformance import command, ledger_store
from leasehold.testing import conformance

ROUNDS = int(os.environ.get("LEASEHOLD_CONFORMANCE_ROUNDS", "10"))
SETTINGS = conformance.Settings(rounds=ROUNDS, patience_s=0.05)
RANDOM = conformance.FORCED[-1]
PROCESSES = conformance.CHECKS[-1]
PROGRAM = "leasehold.testing.conformance"


def test_a_ledger_keeps_every_rule(store_url):
    processes = 0 if store_url == "sqlite://" else 2
    settings = replace(SETTINGS, processes=processes)
    with conformance.LedgerStore(store_url) as open_store:
        report = conformance.run(open_store, settings=settings)
    skipped = {one.check for one in report.results if one.verdict == "skipped"}
    assert report.ok, str(report)
    assert skipped == (set() if processes else {PROCESSES.__name__})
    assert len(report.results) == 13


def test_threads_that_share_a_ledger_keep_every_rule(file_url):
    with conformance.LedgerStore(file_url, shares=True) as open_store:
        report = conformance.run(open_store, settings=SETTINGS)
    assert report.ok, str(report)


def test_what_the_kit_has_left_is_audited_clean(file_url):
    with conformance.LedgerStore(file_url) as open_store:
        RANDOM(open_store, SETTINGS)
    with leasehold.open(file_url) as ledger:
        assert ledger.verify().ok
        assert ledger.audit().ok
        assert len(ledger.read.lanes()) == ROUNDS


def test_a_ledger_with_other_work_is_not_written_to(file_url):
    with leasehold.open(file_url) as ledger:
        ledger.create_execution(lane_id="encode")
        before = ledger.read.settled_position()
    with (
        conformance.LedgerStore(file_url) as open_store,
        pytest.raises(leasehold.InvalidInputError, match="that the kit has not made"),
    ):
        RANDOM(open_store, SETTINGS)
    with leasehold.open(file_url) as ledger:
        assert ledger.read.settled_position() == before


def test_the_same_ledger_can_be_checked_again(file_url):
    for _ in range(2):
        with conformance.LedgerStore(file_url) as open_store:
            conformance.FORCED[0](open_store, SETTINGS)


def test_a_way_to_open_goes_to_another_process(file_url):
    with conformance.LedgerStore(file_url) as first:
        resource = first(int, int).create()
        with pickle.loads(pickle.dumps(first)) as second:
            assert second(int, int).read(resource) == conformance.Record()
            with pytest.raises(LookupError):
                second(int, int).read("00000000-0000-4000-8000-000000000000")


def test_a_ledger_that_is_broken_is_caught(file_url, monkeypatch):
    write = ledger_store.LedgerSession.write

    def lying(self, lease, how, value):
        try:
            write(self, lease, how, value)
        except conformance.Refused:
            return

    monkeypatch.setattr(ledger_store.LedgerSession, "write", lying)
    with conformance.LedgerStore(file_url) as open_store:
        report = conformance.run(
            open_store, settings=SETTINGS, checks=conformance.FORCED
        )
    assert "every_write_is_fenced" in report.failed
    assert RANDOM.__name__ in report.failed


def test_a_store_that_is_gone_is_told(file_url):
    with conformance.LedgerStore(file_url) as open_store:
        session = open_store(int, int)
    with pytest.raises(conformance.Unknown):
        session.claim("nothing", "a", 1_000)


def test_the_command_checks_a_ledger(tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/scratch.db"
    assert command.main([url, "--rounds=2", "--calls=5", "--processes=0"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "passed   one_holder_at_a_time"
    assert told[-1] == "12 passed, 0 failed, 1 skipped"
    assert (tmp_path / "scratch.db").exists()


MINE = """
import sys
assert "pytest" not in sys.modules
from leasehold.testing import conformance

class Stores:
    lost = conformance.broken.ExpiryIgnored()
"""


def test_the_command_checks_a_store_of_ones_own_without_pytest(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    arguments = ["mine:Stores.lost", "--threads", "0", "--json", "--seed", "3"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", PROGRAM, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    assert report["ok"] is False
    verdicts = {one["check"]: one["verdict"] for one in report["results"]}
    assert verdicts["a_lease_runs_out"] == "failed"
    assert verdicts["one_holder_at_a_time"] == "passed"
    assert verdicts["concurrent_histories_are_linearizable"] == "skipped"


def test_the_command_makes_a_store_of_a_class(capsys):
    target = f"{PROGRAM}:ReferenceStore"
    assert command.main([target, "--rounds", "1", "--ttl-ms", "50"]) == 0
    told = capsys.readouterr().out
    assert told.endswith("12 passed, 0 failed, 1 skipped\n")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nonsense", "neither the url of a ledger nor MODULE:NAME"),
        (":nothing", "neither the url of a ledger nor MODULE:NAME"),
        ("mysql://host/db", "url must be one of"),
        ("sqlite:///missing/folder/x.db", "make it first"),
        ("no_such_module:store", "No module named 'no_such_module'"),
        ("json:no_such_name", "has no attribute 'no_such_name'"),
    ],
)
def test_a_wrong_target_is_told(target, why, capsys):
    assert command.main([target]) == 2
    told = capsys.readouterr()
    assert why in told.err
    assert told.out == ""


@pytest.mark.parametrize("number", ["-1", "many"])
def test_a_wrong_number_is_told(number, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["sqlite://", "--rounds", number])
    assert ended.value.code == 2
    assert "--rounds" in capsys.readouterr().err


FAILING = """
import multiprocessing
from leasehold.testing import conformance

store = conformance.ReferenceStore()

def open_store(clock, host_clock):
    if multiprocessing.parent_process() is not None:
        raise OSError("not in a child")
    return store(clock, host_clock)
"""


def test_what_goes_wrong_in_another_process_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "failing.py").write_text(FAILING)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert command.main(["failing:open_store", "--rounds=1", "--processes=1"]) == 1
    told = capsys.readouterr().out
    assert "RuntimeError: a process could not go on:" in told
    assert "OSError: not in a child" in told
    assert told.endswith("12 passed, 1 failed, 0 skipped\n")
