"""The page about faults: each command on it can be given, and its counts are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"`((?:[A-Z_]+=\S+ )*pytest [^`]+)`")
VARIABLE = re.compile(r"([A-Z_]+)=\d+")
COLUMNS = 6
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and "| --- |" not in line and "| command |" not in line
]
COMMANDS = sorted({found for row in ROWS for found in COMMAND.findall(row[-1])})


def read_by_tests() -> str:
    """Return the programs of all tests: one of them reads the variable."""
    folder = ROOT / "tests"
    return "".join(path.read_text("utf-8") for path in sorted(folder.rglob("*.py")))


def test_each_row_says_what_was_done_promised_and_seen_and_by_which_command() -> None:
    assert len(ROWS) > 20
    for row in ROWS:
        assert len(row) == COLUMNS, row
        assert all(row), row
        assert re.search(r"\d", row[2]), row
        assert len(COMMAND.findall(row[-1])) == 1, row


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_can_be_given(command: str) -> None:
    variables, _, arguments = command.partition("pytest ")
    for variable in VARIABLE.findall(variables):
        assert f'environ.get("{variable}"' in read_by_tests()
    paths = [it for it in shlex.split(arguments) if it.startswith("tests/")]
    assert paths
    for path in paths:
        file, _, name = path.partition("::")
        assert (ROOT / file).exists(), file
        if name:
            assert f"def {name}(" in (ROOT / file).read_text("utf-8"), name
