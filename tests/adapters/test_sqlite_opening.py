"""Opening in SQLite: how files are named, and files that cannot be opened."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import leasehold


def test_a_file_is_created_when_missing_and_kept(file_url, file_path) -> None:
    with leasehold.open(file_url) as ledger:
        execution_id = ledger.create_execution(payload=b"kept")
    assert file_path.is_file()
    with leasehold.open(file_url) as ledger:
        assert ledger.read.execution(execution_id).payload == b"kept"


def test_a_url_with_three_slashes_is_relative(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    leasehold.open("sqlite:///name.db").close()
    assert (tmp_path / "name.db").is_file()


def test_without_a_url_the_file_is_called_leasehold_db(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    leasehold.open().close()
    assert (tmp_path / "leasehold.db").is_file()


@pytest.mark.parametrize(
    "name", ["with space.db", "pro%cent.db", "ünïcode.db", "a#b.db"]
)
def test_a_file_may_have_any_name(name, tmp_path) -> None:
    with leasehold.open(f"sqlite:///{tmp_path / name}") as ledger:
        ledger.create_execution()
    assert (tmp_path / name).is_file()


def test_two_stores_in_memory_are_two_stores(clock) -> None:
    with leasehold.open("sqlite://") as one, leasehold.open("sqlite://") as two:
        execution_id = one.create_execution()
        assert two.read.execution(execution_id) is None


def test_a_store_in_memory_leaves_no_file(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with leasehold.open("sqlite://") as ledger:
        ledger.create_execution()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("durability", ["", "FULL", "sloppy", None, 1])
def test_an_unknown_durability_is_refused_by_name(
    durability, file_url, file_path
) -> None:
    with pytest.raises(leasehold.InvalidInputError, match="durability"):
        leasehold.open(file_url, durability=durability)
    assert not file_path.exists()


def test_a_directory_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(leasehold.StoreError, match="missing") as refused:
        leasehold.open(f"sqlite:///{tmp_path}/missing/ledger.db")
    assert refused.value.code == "store_unavailable"
    assert not (tmp_path / "missing").exists()


def test_a_directory_in_place_of_the_file_is_named(tmp_path) -> None:
    with pytest.raises(leasehold.StoreError, match=tmp_path.name):
        leasehold.open(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("content", [b"not a database at all\n" * 200, b"\0" * 5_000])
def test_a_file_that_is_not_a_database_is_named_and_left_alone(
    content, read_only, file_url, file_path
) -> None:
    file_path.write_bytes(content)
    with pytest.raises(leasehold.StoreError, match=r"ledger\.db") as refused:
        leasehold.open(file_url, read_only=read_only)
    assert refused.value.code == "store_unavailable"
    assert file_path.read_bytes() == content


UNPRIVILEGED = 65_534
OPEN_AND_WRITE = """
import os, sys, leasehold
with leasehold.open("sqlite://") as ledger:  # Load everything while it can be read.
    ledger.create_execution()
if os.geteuid() == 0:
    os.setuid(int(sys.argv[2]))
try:
    with leasehold.open(sys.argv[1]) as ledger:
        ledger.create_execution()
except leasehold.StoreError as error:
    print(error.code, error)
    sys.exit(3)
"""


def test_a_read_only_file_is_named() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "ledger.db"
        leasehold.open(f"sqlite:///{path}").close()
        path.chmod(0o444)
        arguments = (f"sqlite:///{path}", str(UNPRIVILEGED))
        done = subprocess.run(
            [sys.executable, "-c", OPEN_AND_WRITE, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 3, done.stderr
    assert "store_unavailable" in done.stdout
    assert "ledger.db" in done.stdout
    assert "read-only" in done.stdout


def test_read_only_never_creates(file_url, file_path) -> None:
    with pytest.raises(leasehold.StoreError, match=r"ledger\.db"):
        leasehold.open(file_url, read_only=True)
    assert not file_path.exists()
    assert list(file_path.parent.iterdir()) == []


def test_read_only_leaves_the_file_as_it_was(file_url, file_path, clock) -> None:
    with leasehold.open(file_url, clock=clock) as ledger:
        execution_id = ledger.create_execution(delay_until_ms=clock() + 1)
        ledger.create_execution()
        handle = ledger.claim(worker_id="w")
        grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w")
    before = file_path.read_bytes()
    clock.advance(1_000_000)
    with leasehold.open(file_url, clock=clock, read_only=True) as ledger:
        assert ledger.read.execution(execution_id).public_state == "delayed"
        assert len(ledger.read.events()) == 5
        for call in (
            ledger.create_execution,
            lambda: ledger.claim(worker_id="w"),
            lambda: ledger.renew(handle),
            lambda: ledger.complete(handle),
            lambda: ledger.claim_from_resume_grant(grant, worker_id="w"),
            lambda: ledger.cancel_execution(execution_id, actor="a", reason="r"),
            ledger.sweep,
        ):
            with pytest.raises(leasehold.LeaseholdError, match=r"(?i)read.only"):
                call()
    assert file_path.read_bytes() == before
