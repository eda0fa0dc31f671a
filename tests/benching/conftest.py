"""Run `leasehold bench` in this process; plant in logs what must not be there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from leasehold.adapters.command_line import application

PLANTING = str(Path(__file__).parents[1] / "conformance")
if PLANTING not in sys.path:
    sys.path.insert(0, PLANTING)


@pytest.fixture
def bench(capsys, tmp_path):
    """Run it as --json in a folder of its own; give its status and its document."""

    def call(*arguments):
        status = application.run(
            ["bench", *arguments, "--folder", str(tmp_path), "--json"]
        )
        printed = capsys.readouterr()
        assert printed.err == ""
        return status, json.loads(printed.out)

    return call
