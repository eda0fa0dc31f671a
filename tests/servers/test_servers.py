"""The servers of the tests: what is committed stays, and nothing else does."""

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from postgres_server import server_version, start_server

HERE = Path(__file__).parent
STARTED_BY_ONE_THAT_IS_KILLED = f"""
import os, signal, sys
sys.path.insert(0, {str(HERE)!r})
from postgres_server import FAST, start_server
with start_server(**FAST) as server:
    print(server.directory, server.url, sep="\\n", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def ask(server, statement):
    with closing(psycopg.connect(server.url, autocommit=True)) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_a_killed_postgres_server_has_kept_what_was_committed() -> None:
    with start_server(fsync="off") as server:
        ask(server, "CREATE TABLE kept AS SELECT 1 AS n")
        with closing(psycopg.connect(server.url)) as connection:
            killed = server.pid
            server.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        server.restart()
        assert server.pid != killed
        assert ask(server, "SELECT n FROM kept") == [(1,)]
        assert ask(server, "SHOW fsync") == [("off",)]
        server.restart(fsync="on")
        assert ask(server, "SHOW fsync") == [("on",)]
    assert not server.directory.exists()


@pytest.mark.parametrize("version", [16, 18])
def test_a_postgres_server_has_the_version_asked_for(version) -> None:
    with start_server(version=version) as server:
        assert server_version(server.url).startswith(f"{version}.")


def test_a_postgres_server_goes_with_the_process_that_started_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTED_BY_ONE_THAT_IS_KILLED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    directory, url = done.stdout.splitlines()
    until = time.monotonic() + 20
    while Path(directory).exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(directory).exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
