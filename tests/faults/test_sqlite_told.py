"""What the ledger says where the disk fails."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from disks import FAULTS, Disk, Plan
from scripted_work import NAME
from sqlite_vfs import layer

import leasehold

BY_NAME = {fault.name: fault for fault in FAULTS}


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / NAME}"


@pytest.fixture
def disk(small_work, tmp_path):
    """Stand a disk under SQLite that fails by no plan yet."""
    standing = Disk(tmp_path)
    standing.is_counting = True
    with layer(standing):
        yield standing


def fail(disk, name, *, lasts=True) -> None:
    """Have everything fail from now on that can fail so, or the next such thing."""
    disk.plan = Plan(BY_NAME[name], len(disk.asked), lasts)


def journal_mode(path) -> str:
    with closing(sqlite3.connect(path)) as outsider:
        return outsider.execute("PRAGMA journal_mode").fetchone()[0]


def test_a_store_that_could_not_be_switched_to_wal_is_not_used(
    disk, url, tmp_path
) -> None:
    fail(disk, "a sync fails", lasts=False)
    with pytest.raises(leasehold.StoreError, match="failed to sync"):
        leasehold.open(url)
    disk.heal()
    with leasehold.open(url) as ledger:
        ledger.create_execution()
    assert journal_mode(tmp_path / NAME) == "wal"


def test_a_failed_sync_says_when_the_call_may_be_there_nevertheless(disk, url) -> None:
    with leasehold.open(url) as ledger:
        fail(disk, "a sync fails")
        with pytest.raises(leasehold.StoreError, match="failed to sync") as refused:
            ledger.create_execution(lane_id="refused")
        assert refused.value.code == "store_unavailable"
        assert not refused.value.retryable
        disk.heal()
        assert ledger.read.lanes() == []
        ledger.create_execution(lane_id="later")
        assert ledger.read.lanes() == ["later"]


@pytest.mark.parametrize("call", ["read", "write"])
def test_locks_that_nobody_gives_back_are_told_as_busy(disk, url, call) -> None:
    with leasehold.open(url) as ledger:
        calls = {"read": ledger.read.counts, "write": ledger.create_execution}
        fail(disk, "a lock is held by another")
        with pytest.raises(leasehold.StoreError, match="busy") as refused:
            calls[call]()
        assert refused.value.code == "store_busy"
        assert refused.value.retryable
        disk.heal()
        calls[call]()
