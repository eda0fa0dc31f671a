"""PgBouncer in front of a PostgreSQL server, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from postgres_server import account, remove, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postgres_server import Server

PORT = 6432
START_S_MAX = 20
SETTINGS = {
    "unix_socket_dir": ".",
    "listen_addr": "",
    "listen_port": PORT,
    "auth_type": "any",
    "pool_mode": "transaction",
    "default_pool_size": 4,
    "max_client_conn": 200,
}


def program() -> str | None:
    """Find PgBouncer; Debian keeps it where only root looks."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def start_pgbouncer(server: Server, **settings: Any) -> Iterator[str]:
    """Run it for a block; give the url of the database behind it."""
    directory = scratch()
    process = None
    try:
        url = f"postgresql://postgres@/postgres?host={directory}&port={PORT}"
        process = started(directory, server, {**SETTINGS, **settings})
        begun = time.monotonic()
        while True:
            try:
                psycopg.connect(url, connect_timeout=10).close()
                break
            except psycopg.OperationalError:
                in_time = time.monotonic() < begun + START_S_MAX
                assert in_time, (directory / "log").read_text()
                time.sleep(0.02)
        yield url
    finally:
        if process is not None:
            process.kill()
            process.wait()
        remove(directory)


def started(
    directory: Path, server: Server, settings: dict[str, Any]
) -> subprocess.Popen[bytes]:
    """Start it with what it is told in a file."""
    where = f"host={server.directory} port={server.settings['port']} user=postgres"
    lines = [f"{name} = {value}" for name, value in settings.items()]
    configuration = ["[databases]", f"postgres = {where}", "[pgbouncer]", *lines, ""]
    path = directory / "pgbouncer.ini"
    path.write_text("\n".join(configuration))
    if account():
        shutil.chown(directory, account()["user"], account()["group"])
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(
            [program(), path],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            start_new_session=True,
            **account(),
        )
