"""The commands that carry histories: export and import, by file and by pipe."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import leasehold
from leasehold.adapters.command_line import application

ENTRY = "from leasehold.adapters.command_line.entry import main; main()"
FULL = Path("/dev/full")


@pytest.fixture
def made(shared_url):
    """Leave an execution that was done and one that waits; give their ids."""
    with leasehold.open(shared_url) as ledger:
        done = ledger.create_execution(payload=b"secret", idempotency_key="k")
        ledger.complete(ledger.claim(worker_id="worker-1"), b"result")
        return done, ledger.create_execution()


@pytest.fixture
def run(capsys):
    """Run a command; give its status, its lines and its complaints."""

    def call(*arguments):
        status = application.run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err

    return call


@pytest.fixture
def bundle(run, made, shared_url, tmp_path):
    """Export the store to a file."""
    path = tmp_path / "bundle.ndjson"
    status, (line,), complaint = run("export", path, "--store", shared_url)
    assert (status, complaint) == (0, "")
    last = json.loads(path.read_text().splitlines()[-1])
    sha256 = last["sha256"]
    assert line == f"{path}: 6 events of 2 executions, sha256 {sha256}"
    return path


def rows_of(url):
    with leasehold.open(url, read_only=True) as ledger:
        return ledger.read.events(), ledger.read.executions()


def piped(url, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-P", "-c", ENTRY, *arguments],
        env={"LEASEHOLD_STORE": url, "PATH": ""},
        capture_output=True,
        check=False,
        **options,
    )


def test_a_bundle_goes_into_another_store_whole(run, bundle, shared_url, another_url):
    status, (line,), _ = run("import", bundle, "--create", "--store", another_url)
    assert status == 0
    assert line.startswith("taken in: 6 events of 2 executions, sha256 ")
    assert rows_of(another_url) == rows_of(shared_url)
    again = bundle.with_name("again.ndjson")
    assert run("export", again, "--store", another_url)[0] == 0
    assert again.read_bytes() == bundle.read_bytes()


def test_a_bundle_goes_through_a_pipe(bundle, shared_url, another_url):
    exported = piped(shared_url, "export", "-")
    assert (exported.returncode, exported.stderr) == (0, b"")
    assert exported.stdout == bundle.read_bytes()
    taken = piped(another_url, "import", "-", "--create", input=exported.stdout)
    assert (taken.returncode, taken.stderr) == (0, b"")
    assert rows_of(another_url) == rows_of(shared_url)


def test_summaries_are_told_as_json(run, bundle, shared_url, another_url):
    _, (line,), _ = run("export", bundle, "--json", "--store", shared_url)
    exported = json.loads(line)
    assert (exported["events"], exported["executions"]) == (6, 2)
    assert exported["header"] == {"redacted": False, "original_sha256": None}
    _, (line,), _ = run("import", bundle, "--json", "--create", "--store", another_url)
    assert json.loads(line) == exported


def test_chosen_executions_are_exported(run, made, bundle, shared_url):
    waiting = str(made[1])
    arguments = ("--execution", waiting, "--store", shared_url)
    status, (line,), _ = run("export", bundle, *arguments)
    assert status == 0
    assert ": 1 event of 1 execution, " in line
    assert waiting in bundle.read_text()
    assert str(made[0]) not in bundle.read_text()
    both = [part for name in made for part in ("--execution", name)]
    assert run("export", bundle, *both, "--store", shared_url)[0] == 0
    status, _, complaint = run(
        *("export", bundle, "--store", shared_url),
        *("--execution", "01942000-0000-7000-8000-000000000009"),
    )
    assert (status, "is not in this store" in complaint) == (2, True)
    status, _, complaint = run("export", "x", "--execution", "7", "--store", shared_url)
    assert (status, "is not an execution id" in complaint) == (2, True)


def test_a_redacted_bundle_says_so_wherever_it_goes(
    run, bundle, shared_url, another_url
):
    original = json.loads(bundle.read_text().splitlines()[-1])["sha256"]
    status, (line,), _ = run("export", bundle, "--redact", "--store", shared_url)
    assert status == 0
    assert line.endswith(f", redacted from {original}")
    assert "secret" not in bundle.read_text()
    assert json.loads(bundle.read_text().splitlines()[0])["redacted"] is True
    _, (line,), _ = run("import", bundle, "--create", "--store", another_url)
    assert line.endswith(f", redacted from {original}")
    status, lines, _ = run("verify", "--store", another_url)
    assert (status, len(lines)) == (0, 2)
    assert lines[0] == (
        "redacted: taken in without payloads, results, frames and texts, and hashed "
        f"anew; the original bundle has the digest {original}; what was left out "
        "cannot be verified here"
    )
    _, (line,), _ = run("verify", "--json", "--store", another_url)
    assert json.loads(line)["redacted_from"] == [original]


def test_a_checkpoint_of_the_original_does_not_hold_after_redaction(
    run, bundle, shared_url, another_url, tmp_path
):
    kept = tmp_path / "checkpoints.ndjson"
    assert run("checkpoint", "--append", kept, "--store", shared_url)[0] == 0
    checked = ("verify", "--checkpoint", kept, "--store")
    run("import", bundle, "--create", "--store", another_url)
    assert run(*checked, another_url)[0] == 0
    redacted = f"sqlite:///{tmp_path / 'redacted.db'}"
    run("export", bundle, "--redact", "--store", shared_url)
    run("import", bundle, "--create", "--store", redacted)
    assert run(*checked, redacted)[0] == 1


def test_an_altered_bundle_is_refused_and_leaves_nothing(run, bundle, another_url):
    leasehold.open(another_url).close()
    lines = bundle.read_bytes().splitlines(keepends=True)
    for altered in (lines[:-1], [*lines[:2], *lines[3:]], [*lines, lines[-1]]):
        bundle.write_bytes(b"".join(altered))
        status, printed, complaint = run("import", bundle, "--store", another_url)
        assert (status, printed) == (2, [])
        assert complaint.startswith("leasehold: line ")
        assert len(complaint.splitlines()) == 1
        assert rows_of(another_url) == ([], [])


def test_what_is_known_is_refused(run, bundle, shared_url):
    before = rows_of(shared_url)
    status, _, complaint = run("import", bundle, "--store", shared_url)
    assert (status, "is in this store already" in complaint) == (2, True)
    assert rows_of(shared_url) == before


def test_import_makes_no_ledger_unasked(run, bundle, another_url):
    status, _, complaint = run("import", bundle, "--store", another_url)
    assert (status, len(complaint.splitlines())) == (2, 1)
    assert run("list", "--store", another_url)[0] == 2
    gone = bundle.with_name("gone.ndjson")
    assert run("import", gone, "--create", "--store", another_url)[0] == 2
    assert run("list", "--store", another_url)[0] == 2, "the file is looked at first"
    status, _, complaint = run("import", bundle, "--create", "--store", "sqlite://")
    assert (status, "is private to the process" in complaint) == (2, True)


def test_import_makes_no_ledger_for_a_bundle_that_is_refused(
    run, bundle, shared_url, another_url
):
    bundle.write_bytes(bundle.read_bytes()[:-1])
    status, _, complaint = run("import", bundle, "--create", "--store", another_url)
    assert (status, "without its closing line" in complaint) == (2, True)
    assert run("list", "--store", another_url)[0] == 2
    assert run("export", bundle, "--store", shared_url)[0] == 0
    assert run("import", bundle, "--create", "--store", another_url)[0] == 0


def test_a_bundle_from_a_pipe_makes_a_ledger_if_it_is_whole(
    bundle, shared_url, another_url
):
    content = bundle.read_bytes()
    for given, status in ((content[:-1], 2), (content, 0)):
        done = piped(another_url, "import", "-", "--create", input=given)
        assert done.returncode == status, done.stderr
        there = piped(another_url, "list")
        assert there.returncode == status
    assert rows_of(another_url) == rows_of(shared_url)


def test_nothing_but_a_bundle_is_overwritten(run, made, shared_url, tmp_path):
    other = tmp_path / "precious.db"
    other.write_bytes(b"precious")
    for target, why in (
        (other, "is no bundle: it is not overwritten"),
        (tmp_path, "is a folder; name a file in it"),
        (tmp_path / "no" / "file", "is not there"),
    ):
        status, _, complaint = run("export", target, "--store", shared_url)
        assert status == 2
        assert why in complaint
    assert other.read_bytes() == b"precious"
    other.write_bytes(b"")
    assert run("export", other, "--store", shared_url)[0] == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_named_pipe_is_written_to_and_read_from(
    run, bundle, shared_url, another_url, tmp_path
):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reading = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reading.start()
    assert run("export", pipe, "--store", shared_url)[0] == 0
    reading.join()
    assert read == [bundle.read_bytes()]
    writing = threading.Thread(target=lambda: pipe.write_bytes(read[0]))
    writing.start()
    assert run("import", pipe, "--create", "--store", another_url)[0] == 0
    writing.join()
    assert rows_of(another_url) == rows_of(shared_url)


@pytest.mark.skipif(not FULL.exists(), reason="only some systems have it")
def test_a_full_disk_is_told_in_a_line(made, shared_url):
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-c", ENTRY, "export", "-"],
            env={"LEASEHOLD_STORE": shared_url, "PATH": ""},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "leasehold: standard output cannot be written: No space left on device\n"
    )


def test_a_bundle_is_not_for_a_terminal(run, made, shared_url, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    status, lines, complaint = run("export", "-", "--store", shared_url)
    assert (status, lines) == (2, [])
    assert "a bundle is not for a terminal" in complaint


def test_a_reader_that_goes_away_is_no_error(shared_url):
    with leasehold.open(shared_url) as ledger:
        ledger.create_executions([{"payload": b"x" * 100}] * 1000)
    exporting = subprocess.Popen(
        [sys.executable, "-P", "-c", ENTRY, "export", "-"],
        env={"LEASEHOLD_STORE": shared_url, "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with exporting:
        exporting.stdout.readline()
        exporting.stdout.close()
        complaint = exporting.stderr.read()
    assert (exporting.returncode, complaint) == (0, b"")


def test_a_ledger_goes_from_sqlite_to_postgresql_and_back(run, new_store, tmp_path):
    begin, middle, end = (
        new_store("file"),
        new_store("postgres"),
        new_store("file", "b"),
    )
    with leasehold.open(begin) as ledger:
        ledger.create_execution(payload="Grüße".encode(), tags={"k": "世"})
        handle = ledger.claim(worker_id="w")
        frame = leasehold.Frame(b'{"a":1}', mode=leasehold.Summary())
        ledger.append_frame(handle, frame)
        ledger.complete(handle)
    bundles = [tmp_path / f"{number}.ndjson" for number in range(3)]
    assert run("export", bundles[0], "--store", begin)[0] == 0
    for before, (url, bundle) in zip(
        bundles, [(middle, bundles[1]), (end, bundles[2])], strict=False
    ):
        assert run("import", before, "--create", "--store", url)[0] == 0
        assert run("export", bundle, "--store", url)[0] == 0
        assert run("verify", "--store", url)[0] == 0
        assert bundle.read_bytes() == bundles[0].read_bytes()
