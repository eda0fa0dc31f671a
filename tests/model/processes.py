"""Programs that run at the same time: they begin together and print what they found.

A program calls `begin_together` when it is ready, and prints one line of JSON at the
end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

READY = "ready"


def begin_together() -> None:
    """Say that this process is ready, and wait until all are."""
    print(READY, flush=True)
    sys.stdin.readline()


def run_together(
    program: Path, arguments: Iterable[Iterable[object]], *, timeout_s: float
) -> list[Any]:
    """Run a process for each row of arguments; return what each of them printed."""
    running = [
        subprocess.Popen(
            [sys.executable, program, *map(str, row)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for row in arguments
    ]
    try:
        for process in running:
            assert process.stdout is not None
            if process.stdout.readline().strip() != READY:
                raise AssertionError(process.communicate(timeout=timeout_s)[1])
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return [printed_by(process, timeout_s) for process in running]
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.communicate()


def printed_by(process: subprocess.Popen[str], timeout_s: float) -> Any:
    """Wait for the end of a process and return what it printed."""
    output, errors = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, errors
    return json.loads(output)
