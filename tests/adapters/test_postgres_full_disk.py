"""A PostgreSQL server whose disk is full: told, and whole when there is room again."""

import os
import shutil
import subprocess

import pytest
from own_servers import command, url_as
from postgres_server import account

import leasehold

SIZE = "size=24m"
PAYLOAD_BYTES = 1 << 20


@pytest.fixture
def small_disk(own_server):
    """Keep a database on a disk of 24 MiB; give the disk's folder."""
    folder = own_server.directory / "small"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", SIZE, "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mounting, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        (folder / "data").mkdir()
        if account():
            shutil.chown(folder / "data", account()["user"], account()["group"])
        command(own_server.url, f"CREATE TABLESPACE small LOCATION '{folder}/data'")
        command(own_server.url, "CREATE DATABASE small TABLESPACE small")
        yield folder
    finally:
        command(own_server.url, "DROP DATABASE IF EXISTS small WITH (FORCE)")
        command(own_server.url, "DROP TABLESPACE IF EXISTS small")
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_told_and_what_was_acknowledged_is_there(
    small_disk, own_server
) -> None:
    filler = small_disk / "filler"
    with leasehold.open(url_as(own_server, "postgres", "small")) as ledger:
        kept = ledger.create_execution()
        filler.write_bytes(bytes(max(0, shutil.disk_usage(small_disk).free - 65_536)))

        def fill():
            while True:
                stored.append(
                    ledger.create_execution(payload=os.urandom(PAYLOAD_BYTES))
                )

        stored = []
        for _ in range(2):
            with pytest.raises(leasehold.StoreError, match="disk is full") as told:
                fill()
            assert (told.value.code, told.value.retryable) == (
                "store_unavailable",
                True,
            )
            assert "nothing was written" in str(told.value)
        assert ledger.read.counts()["pending"] == 1 + len(stored)
        filler.unlink()
        stored.append(ledger.create_execution(payload=os.urandom(PAYLOAD_BYTES)))
        assert ledger.claim(worker_id="w").execution_id == kept
        assert ledger.verify().ok
