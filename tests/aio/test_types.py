"""What type checkers see of the async ledger: the signatures of the ledger, awaited."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "adapters/facade": "leasehold",
    "adapters": "leasehold/adapters",
    "domain": "leasehold/domain",
    "projections": "leasehold/projections",
}
PROGRAM = """
import leasehold.aio

async def main() -> None:
    async with leasehold.aio.open("sqlite://", limiter=None) as ledger:
        reveal_type(ledger.claim)
        reveal_type(await ledger.read.tenures(limit=3))
        await ledger.claim(worker=1)
        await ledger.read.execution("not an id")
        await ledger.no_such_call()
        async with ledger.as_of(3) as then:
            reveal_type(await then.lanes())
        async for event in ledger.subscribe():
            reveal_type(event)
        running = await ledger.run_projection(None, "name")
        reveal_type(running.catch_up)
        handle = await ledger.claim(worker_id="w")
        if handle is not None:
            async with ledger.hold(handle) as lease:
                reveal_type(lease)
"""
SEEN = """\
6: note: Revealed type is "def (lane_id: str =, *, capabilities: \
typing.Iterable[str] =, worker_id: str, worker_instance_id: str | None =, \
lease_ttl_ms: int =) -> \
typing.Coroutine[Any, Any, leasehold.domain.handles.Handle | None]"
7: note: Revealed type is "list[leasehold.adapters.rows.TenureRow]"
8: error: Unexpected keyword argument "worker"; did you mean "worker_id"?
9: error: Argument 1 has incompatible type "str"; expected "UUID"
10: error: "AsyncLedger" has no attribute "no_such_call"
12: note: Revealed type is "list[str]"
14: note: Revealed type is "leasehold.domain.records.RecordedEvent"
15: error: Argument 1 to "run_projection" of "AsyncLedger" has incompatible type \
"None"; expected "Projection"
16: note: Revealed type is "def () -> typing.Coroutine[Any, Any, int]"
20: note: Revealed type is "leasehold.adapters.holding.awaiting.AsyncHeldLease"
"""


@pytest.fixture
def installed(tmp_path):
    """Lay the modules out as they are installed: checkers do not see it otherwise."""
    for folder, package in FOLDERS.items():
        for module in (ROOT / folder).glob("**/*.py"):
            inside = module.relative_to(ROOT / folder)
            if folder == "adapters" and inside.parts[0] == "facade":
                continue
            target = tmp_path / package / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(module, target)
    (tmp_path / "leasehold" / "py.typed").touch()
    return tmp_path


def test_type_checkers_see_the_arguments_and_results(installed):
    (installed / "program.py").write_text(PROGRAM)
    options = ["--follow-imports=silent", "--hide-error-codes", "--cache-dir=cache"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "program.py"],
        cwd=installed,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    *found, summary = done.stdout.splitlines()
    told = [line.removeprefix("program.py:") for line in found]
    assert told == SEEN.splitlines(), done.stderr
    assert summary.startswith("Found 4 errors in 1 file")
