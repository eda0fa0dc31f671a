"""Run tests against a module whose source is another, in a process of its own."""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import hypothesis
import pydantic
import pytest

ROOT = Path(__file__).parents[2]
# Of the processor, so that a slow machine changes no verdict.
CPU_SECONDS_MAX = 60
# For a mutant that waits for what never comes.
WALL_SECONDS_MAX = 240
BYTES_MAX = 4 << 30
LOADED_FOR_ALL = (hypothesis, pydantic)
"""Imported here once, before the processes part."""

Verdict = Literal["killed", "survived", "stopped"]
_ARGUMENTS = (
    "-q",
    "-x",
    "--no-header",
    "--tb=no",
    "-o",
    "addopts=",
    "--import-mode=importlib",
    "-p",
    "no:cacheprovider",
)


@dataclass(frozen=True)
class Trial:
    """A module with another source, and the tests that should not pass with it.

    Attributes:
        module: By its name when installed.
        source: Whole.
        tests: Files, or arguments of pytest that begin with one, run in this order
            until one fails.
    """

    module: str
    source: str
    tests: Sequence[str]


class _Source(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Import one module from a text."""

    def __init__(self, module: str, source: str, path: str) -> None:
        self._module = module
        self._source = source
        self._path = path

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=self._path)

    def get_source(self, fullname: str) -> str:
        return self._source

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self._path
        exec(compile(self._source, self._path, "exec"), module.__dict__)


def path_of(module: str) -> Path:
    """Return the file of a module by the name that it is installed under."""
    return ROOT / Path(*module.split(".")[1:]).with_suffix(".py")


def start(trial: Trial, *, has_output: bool = False) -> int:
    """Begin a trial in a process that `ended` waits for, and return its id."""
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        code = 70
        try:
            code = _run(trial, has_output=has_output)
        finally:
            os._exit(code)
    return process


def ended(process: int, started: float) -> Verdict | None:
    """Say how a trial ended; None while it goes on.

    Raises:
        RuntimeError: No test was run.
    """
    found, status = os.waitpid(process, os.WNOHANG)
    if not found:
        if time.monotonic() - started < WALL_SECONDS_MAX:
            return None
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        return "stopped"
    shutil.rmtree(_folder_of(process), ignore_errors=True)
    if os.WIFSIGNALED(status):
        return "stopped"
    code = os.waitstatus_to_exitcode(status)
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise RuntimeError("no tests were run: see `tests` of modules.toml")
    return "survived" if code == 0 else "killed"


def _folder_of(process: int) -> Path:
    return Path(tempfile.gettempdir()) / f"leasehold-mutant-{process}"


def _run(trial: Trial, *, has_output: bool) -> int:
    """Run the tests in this process until a file of them fails."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_MAX, CPU_SECONDS_MAX))
    resource.setrlimit(resource.RLIMIT_AS, (BYTES_MAX, BYTES_MAX))
    folder = _folder_of(os.getpid())
    folder.mkdir()
    os.environ |= {
        # Nothing of the tests needs more plugins, and each costs a start.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # Options of those plugins would end it before it begins.
        "PYTEST_ADDOPTS": "",
        # What is found out about a mutant is not kept for the code.
        "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
    }
    os.chdir(ROOT)
    for name in [name for name in sys.modules if name.split(".")[0] == "leasehold"]:
        del sys.modules[name]
    path = str(path_of(trial.module))
    sys.meta_path.insert(0, _Source(trial.module, trial.source, path))
    with contextlib.ExitStack() as stack:
        if not has_output:
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        for number, tests in enumerate(trial.tests):
            basetemp = f"--basetemp={folder / str(number)}"
            code = pytest.main([*_ARGUMENTS, basetemp, *shlex.split(tests)])
            if code != pytest.ExitCode.OK:
                return int(code)
    return 0
