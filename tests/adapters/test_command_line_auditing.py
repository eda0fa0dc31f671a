"""The command that audits: figures, findings, a verdict, and its exit status."""

import html
import json
import subprocess
import sys

import pytest

import leasehold
from leasehold.adapters.command_line import application, store_urls

ENTRY = "from leasehold.adapters.command_line.entry import main; main()"
HOSTILE = "~\\[red]"
START_MS = 1_700_000_000_000


@pytest.fixture
def made(shared_url, clock):
    """Leave an execution that was lost, taken over and done, and one that waits."""
    with leasehold.open(shared_url, clock=clock) as ledger:
        lost = ledger.create_execution(lane_id="left")
        old = ledger.claim("left", worker_id=HOSTILE, lease_ttl_ms=1_000)
        clock.advance(1_500)
        new = ledger.claim("left", worker_id="new", lease_ttl_ms=1_000)
        clock.advance(100)
        with pytest.raises(leasehold.LeaseConflictError):
            ledger.complete(old)
        ledger.complete(new)
        ledger.create_execution(lane_id="right")
        return lost


@pytest.fixture
def run(capsys, shared_url):
    """Run a command on the store; give its status, its lines and its complaints."""

    def call(*arguments):
        status = application.run([*arguments, "--store", shared_url])
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err

    return call


def test_a_good_history_ends_with_0_and_warns(run, made):
    status, lines, complaint = run("audit")
    assert (status, complaint) == (0, "")
    figures = dict(line.rsplit("  ", 1) for line in lines[2:18])
    told = {name.strip(): value.strip() for name, value in figures.items()}
    assert told["tenures"] == "2"
    assert told["reclaims"] == "1"
    assert told["false reclaims"] == "1"
    assert told["time to reclaim, mean"] == "0.500 s"
    assert told["attempts per execution, mean"] == "2.00"
    assert told["longest tenure"] == "1.000 s"
    assert lines[18] == "by lane"
    assert lines[19].split() == [
        "lane",
        "tenures",
        "renewals",
        "refusals",
        "reclaims",
        "false_reclaims",
        "expiries",
        "held",
        "orphaned",
    ]
    assert lines[20].split() == ["left", *"201111", "1.100", "s", "0.500", "s"]
    (warning,) = [line for line in lines if line.startswith("warning")]
    assert warning.startswith(f"warning refused_write: execution {made} position ")
    assert "presented epoch 1, which had ended 0.600 s before" in warning
    assert lines[-1] == "no error, 1 warning: 11 events of 2 executions, 2 tenures"


def test_it_goes_into_json(run, made):
    status, (line,), _ = run("audit", "--json")
    report = json.loads(line)
    assert (status, report["ok"], report["rows"]) == (0, True, True)
    assert report["counts"] == {"refused_write": 1}
    (finding,) = report["findings"]
    assert (finding["check"], finding["severity"]) == ("refused_write", "warning")
    assert finding["execution_id"] == str(made)
    assert report["figures"]["time_to_reclaim_ms"] == {
        "count": 1,
        "mean": 500.0,
        "p95": 500,
        "max": 500,
    }
    assert report["figures"]["by_worker"][HOSTILE]["false_reclaims"] == 1
    assert report["redacted_from"] == []


def test_an_error_ends_with_1_and_is_named(run, made, outsider):
    outsider.execute("UPDATE exec_state SET priority = 7")
    status, lines, _ = run("audit")
    assert status == 1
    errors = [line for line in lines if line.startswith("error row_differs: execution")]
    assert len(errors) == 2
    assert "priority is 7, the replay gives 0" in errors[0]
    assert lines[-1].startswith("2 errors, 1 warning: ")
    assert all(line.isprintable() for line in lines)


def test_rows_may_be_left_alone(run, made, outsider):
    outsider.execute("UPDATE exec_state SET priority = 7")
    status, lines, _ = run("audit", "--no-rows")
    assert status == 0
    assert lines[-1].endswith("2 tenures, rows not compared")


def test_only_what_happened_since_is_told(run, made, clock):
    status, lines, _ = run("audit", "--since", f"@{clock() + 1}")
    assert status == 0
    assert lines[0].endswith(", since 2023-11-14 22:13:21.601Z")
    assert lines[-1].startswith("no error, no warning: 11 events")
    assert "by lane" not in lines
    status, lines, complaint = run("audit", "--since", "yesterday")
    assert (status, lines) == (2, [])
    assert complaint.startswith("leasehold: 'yesterday' is no time")


def test_an_earlier_state_is_audited(run, made, clock):
    status, lines, _ = run("as-of", f"@{START_MS + 1_500}", "audit")
    assert status == 0
    assert lines[0] == "leases as of 2023-11-14 22:13:21.500Z"
    assert lines[-1].startswith("no error, no warning: 7 events of 1 execution,")
    status, lines, _ = run("as-of", f"@{START_MS + 1_499}", "audit")
    (warning,) = [line for line in lines if line.startswith("warning")]
    assert warning.startswith(f"warning orphan: execution {made} position 3")


def test_what_is_not_named_is_counted(run, made, monkeypatch):
    from leasehold.adapters import auditing

    monkeypatch.setattr(auditing, "FINDINGS_MAX", 0)
    _, lines, _ = run("audit")
    assert lines[-2:] == [
        "… and 1 warning more",
        "no error, 1 warning: 11 events of 2 executions, 2 tenures",
    ]


def test_a_redacted_origin_is_told(run, made, shared_url, tmp_path, capsys):
    bundle, copy = tmp_path / "bundle", f"sqlite:///{tmp_path}/copy.db"
    with leasehold.open(shared_url) as ledger:
        ledger.export(bundle, redact=True)
    with leasehold.open(copy) as other:
        digest = other.import_bundle(bundle).header.original_sha256
    assert application.run(["audit", "--store", copy]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("redacted: taken in without payloads, frames and texts")
    assert lines[-2].endswith(f"the original bundle has the digest {digest}")


def test_it_is_written_as_a_page(run, made, shared_url, tmp_path):
    shown = store_urls.shown(shared_url)
    page = tmp_path / "audit.html"
    status, lines, _ = run("audit", "--html", str(page))
    assert (status, lines[-1][:8]) == (0, "no error")
    written = page.read_text(encoding="utf-8")
    assert written.startswith("<!DOCTYPE html>")
    assert f"<title>Lease audit of {html.escape(shown)}" in written
    status, lines, complaint = run("audit", "--html", str(tmp_path / "no" / "page"))
    assert (status, lines) == (2, [])
    assert "is not there" in complaint


def test_the_program_is_silent_beside_its_report(made, shared_url):
    ran = subprocess.run(
        [sys.executable, "-c", ENTRY, "audit", "--store", shared_url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith("11 events of 2 executions, 2 tenures\n")
