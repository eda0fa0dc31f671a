"""What is too large, too deep or without an end costs little memory and work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROCESS = Path(__file__).with_name("hostile_process.py")
REFUSED = {"invalid_input", "corrupt_handle", "corrupt_event"}
# A file of checkpoints is read to 64 MiB, the longest line of a bundle has 48.
READ_MOST = (64 + 8) << 20


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="Linux counts reads")
def test_the_boundless_is_refused_in_bounds(tmp_path) -> None:
    """The process has 256 MiB to spare, and 2 GiB are announced to it."""
    told = subprocess.run(
        [sys.executable, "-P", PROCESS, tmp_path],
        stdout=subprocess.PIPE,
        check=True,
        env={"PYTHONPATH": str(PROCESS.parent), "HOME": str(tmp_path)},
    )
    met = json.loads(told.stdout)
    assert len(met) > 20
    assert {name: code for name, (code, _) in met.items() if code not in REFUSED} == {}
    assert {name: read for name, (_, read) in met.items() if read > READ_MOST} == {}
