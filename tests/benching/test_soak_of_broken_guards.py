"""A soak catches guards that are broken on purpose.

What is caught in a few seconds is chance, so that this takes a while, and runs where
`LEASEHOLD_BROKEN_SOAK_S` says for how many seconds: 30 do.
"""

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

PROGRAM = Path(sysconfig.get_path("scripts")) / "leasehold"
SECONDS = float(os.environ.get("LEASEHOLD_BROKEN_SOAK_S", "0"))

# Loaded by every process before anything else.
BREAKS = {
    "expiry ignored": """
from leasehold.domain import errors, guard
checked = guard.check_guard
def check_guard(*arguments, **keywords):
    try:
        checked(*arguments, **keywords)
    except errors.LeaseExpiredError:
        pass
guard.check_guard = check_guard
""",
    "holder not compared": """
from leasehold.domain import guard
guard._is_current = lambda attempt, lease: True
""",
}


@pytest.mark.skipif(not SECONDS, reason="LEASEHOLD_BROKEN_SOAK_S is not set")
@pytest.mark.parametrize("broken", BREAKS)
def test_a_soak_catches_a_broken_guard(broken, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BREAKS[broken])
    arguments = ["--minutes", str(SECONDS / 60), "--fault-every", "0.7"]
    done = subprocess.run(
        [PROGRAM, "bench", "soak", *arguments, "--lease-ttl-ms", "1000", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=SECONDS + 300,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    told = json.loads(done.stdout)
    print(broken, told["wrong"])
    assert told["kept"]
    assert told["wrong"]["late"] + told["wrong"]["overlap"] + told["wrong"]["audit"]
