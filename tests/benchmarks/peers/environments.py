"""Environments for the peers, and processes in them that take orders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

HERE = Path(__file__).resolve().parent
_ANSWER_S = 180.0


class PeerError(Exception):
    """A peer could not do what it was asked to; the message is its own error."""


def environment(folder: Path, requirements: Path) -> Path:
    """Return the python of an environment with just these; it is made once."""
    home = folder / "environments" / requirements.stem
    python, pinned = home / "bin" / "python", home / requirements.name
    wanted = requirements.read_text(encoding="utf-8")
    if not pinned.exists() or pinned.read_text(encoding="utf-8") != wanted:
        print(f"making an environment for {requirements.stem}", file=sys.stderr)
        venv.create(home, clear=True, with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "-r"]
        done = subprocess.run([*install, requirements], check=False)
        if done.returncode:
            message = f"pip could not install {requirements.name}"
            raise PeerError(message)
        pinned.write_text(wanted, encoding="utf-8")
    return python


class Script:
    """A process that answers orders; it ends with the block."""

    def __init__(self, python: Path, name: str) -> None:
        """Start it."""
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `__exit__`
        self._process = subprocess.Popen(
            [python, HERE / f"peer_{name}.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={
                name: value
                for name, value in os.environ.items()
                if not name.startswith("PYTHON")
            },
        )

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *error: object) -> None:
        """End it."""
        self.kill()
        self._said.close()

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to an order.

        Raises:
            PeerError: It is an error, or there is none.
        """
        assert self._process.stdin
        assert self._process.stdout
        watchdog = threading.Timer(_ANSWER_S, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last()}
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def _last(self) -> str:
        self._process.wait()
        self._said.seek(0)
        said = self._said.read().strip().splitlines()
        return said[-1] if said else f"no answer in {_ANSWER_S:.0f} s"

    def kill(self) -> None:
        """Kill it, without a word."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
