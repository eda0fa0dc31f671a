"""The commands about checkpoints: made, signed, kept in a file, and held against."""

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import leasehold
from leasehold.adapters.command_line import application

ENTRY = "from leasehold.adapters.command_line.entry import main; main()"
SOUND = "no fault: 7 events of 2 executions, 6 rows"


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
        words = [str(argument) for argument in arguments]
        status = application.run([*words, "--store", shared_url])
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err

    return call


@pytest.fixture
def kept(run, made, tmp_path):
    """Keep a file with a checkpoint in it."""
    path = tmp_path / "checkpoints.ndjson"
    status, (line,), complaint = run("checkpoint", "--append", path)
    assert (status, complaint) == (0, "")
    assert json.loads(line)["position"] == 7
    assert path.read_text() == line + "\n"
    return path


@pytest.fixture
def keys(tmp_path):
    """Keep a private key and its public half in files."""
    secret, public = tmp_path / "secret.pem", tmp_path / "public.pem"
    key = Ed25519PrivateKey.generate()
    secret.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    form = PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, form))
    return secret, public


def test_a_store_is_held_against_a_checkpoint(run, made, kept, outsider):
    assert run("verify", "--checkpoint", kept) == (0, [f"{SOUND}, 1 checkpoint"], "")
    outsider.lift_the_guard()
    outsider.execute("DELETE FROM stored_events WHERE notification_id = 7")
    outsider.execute("DELETE FROM exec_state WHERE execution_id = ?", str(made[1]))
    assert run("verify")[0] == 0, "without a checkpoint a cut tail is not seen"
    status, lines, _ = run("verify", "--checkpoint", kept)
    assert status == 1
    assert lines[0].startswith("checkpoint: the checkpoint of 20")


def test_all_lines_of_the_file_must_hold(run, made, kept, shared_url):
    with leasehold.open(shared_url) as ledger:
        ledger.create_execution()
    _, (later,), _ = run("checkpoint", "--append", kept)
    assert json.loads(later)["position"] == 8
    status, lines, _ = run("verify", "--checkpoint", kept)
    told = "no fault: 8 events of 3 executions, 7 rows, 2 checkpoints"
    assert (status, lines) == (0, [told])
    earlier = json.loads(kept.read_text().splitlines()[0])
    wrong = json.dumps({**earlier, "sha256": "0" * 64})
    kept.write_text(f"{wrong}\n\n{later}\n\n")
    status, lines, _ = run("verify", "--checkpoint", kept)
    assert status == 1
    assert lines[0].startswith("checkpoint: the checkpoint of 20")
    assert "at position 7 does not hold" in lines[0]
    assert "at position 8, holds" in lines[0]
    status, (line,), _ = run("verify", "--checkpoint", kept, "--json")
    report = json.loads(line)
    assert (report["checkpoints"], report["fault_count"]) == (2, 1)


def test_checkpoints_may_come_from_a_pipe(kept, shared_url):
    done = subprocess.run(
        [sys.executable, "-P", "-c", ENTRY, "verify", "--checkpoint", "-"],
        env={"LEASEHOLD_STORE": shared_url, "PATH": ""},
        input=kept.read_text(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{SOUND}, 1 checkpoint\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file or directory"),
        ("\n \n", "has no line: `leasehold checkpoint` prints one"),
        ("{}\n", "a checkpoint is a JSON object"),
        ("\x1b[31m\n", "a checkpoint is a JSON object"),
    ],
)
def test_a_file_without_a_checkpoint_is_refused(run, made, tmp_path, content, why):
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content)
    status, lines, complaint = run("verify", "--checkpoint", path)
    assert (status, lines) == (2, [])
    assert why in complaint
    assert complaint.rstrip("\n").isprintable()


def test_a_line_that_is_none_is_named(run, kept):
    kept.write_text(kept.read_text() + "{}\n")
    status, _, complaint = run("verify", "--checkpoint", kept)
    assert status == 2
    assert "checkpoint 2 of those given: a checkpoint is a JSON object" in complaint


def test_signed_lines_are_checked_by_the_public_key(run, made, keys, tmp_path):
    secret, public = keys
    path = tmp_path / "signed.ndjson"
    for _ in range(2):
        assert run("checkpoint", "--sign", secret, "--append", path)[0] == 0
    told = f"{SOUND}, 2 checkpoints"
    status, lines, _ = run("verify", "--checkpoint", path, "--public-key", public)
    assert (status, lines) == (
        0,
        ["signed: 2 signatures checked by the key given", told],
    )
    status, lines, _ = run("verify", "--checkpoint", path)
    assert (status, lines) == (
        0,
        ["signed: 2 signatures not checked, as no --public-key was given", told],
    )


def test_an_unsigned_line_is_refused_where_a_key_is_given(run, kept, keys):
    _, public = keys
    status, lines, complaint = run(
        "verify", "--checkpoint", kept, "--public-key", public
    )
    assert (status, lines) == (2, [])
    assert "is not signed, and a key to check signatures by was given" in complaint
    status, _, complaint = run("verify", "--public-key", public)
    assert status == 2
    assert "give both" in complaint


def test_a_key_that_does_not_serve_is_refused(run, kept, keys):
    secret, public = keys
    before = kept.read_text()
    for arguments, why in (
        (("checkpoint", "--sign", public), "is a public key"),
        (("checkpoint", "--sign", kept, "--append", kept), "cannot be read as a"),
        (("checkpoint", "--sign", f"{secret}-2"), "No such file"),
        (("verify", "--checkpoint", kept, "--public-key", secret), "is a private key"),
    ):
        status, lines, complaint = run(*arguments)
        assert (status, lines) == (2, []), arguments
        assert why in complaint
        assert len(complaint.splitlines()) == 1
    assert kept.read_text() == before


@pytest.mark.parametrize("content", ["SQLite format 3\0", "hello\n", "{}\n"])
def test_nothing_but_checkpoints_is_appended_to(run, made, content, tmp_path):
    path = tmp_path / "other"
    path.write_text(content)
    status, lines, complaint = run("checkpoint", "--append", path)
    assert (status, lines) == (2, [])
    assert "does not end with a checkpoint" in complaint
    assert path.read_text() == content


def test_a_line_that_has_no_end_gets_one(run, kept):
    first = kept.read_text().rstrip("\n")
    kept.write_text(first)
    _, (second,), _ = run("checkpoint", "--append", kept)
    assert kept.read_text() == f"{first}\n{second}\n"
    kept.write_text("")
    _, (third,), _ = run("checkpoint", "--append", kept)
    assert kept.read_text() == f"{third}\n"


def test_a_place_that_cannot_be_written_is_told(run, made, tmp_path):
    for name, why in (
        (tmp_path, "cannot be written: Is a directory"),
        (tmp_path / "not" / "there", "is not there"),
    ):
        status, lines, complaint = run("checkpoint", "--append", name)
        assert (status, lines) == (2, [])
        assert why in complaint


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_named_pipe_is_written_to(run, made, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    thread = threading.Thread(target=lambda: read.append(pipe.read_text()))
    thread.start()
    status, (line,), _ = run("checkpoint", "--append", pipe)
    thread.join(20)
    assert (status, read) == (0, [line + "\n"])
    assert stat.S_ISFIFO(pipe.stat().st_mode)


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="only some systems have it")
def test_a_full_disk_is_told(run, made):
    status, lines, complaint = run("checkpoint", "--append", FULL)
    assert (status, lines) == (2, [])
    assert "cannot be written: No space left on device" in complaint
