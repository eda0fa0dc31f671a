"""The mutants of the guard are killed, and the survivors that are listed are there.

The full run takes hours: docs/mutation-and-fuzzing.md tells of it.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SURVIVORS = tomllib.loads((HERE / "survivors.toml").read_text(encoding="utf-8"))
LISTED = tomllib.loads((HERE / "modules.toml").read_text(encoding="utf-8"))["modules"]
SURVIVES = """
[[mutant]]
module = "domain.guard"
was = 'f"{attempt.lease_ended_at_ms} ms; {_STOP}"'
now = 'f"{attempt.lease_ended_at_ms} ms;  {_STOP}"'
tests = ["tests/domain/test_guard.py"]
"""


def sample(*options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, HERE / "run.py", "--processes", "1", "--sample", *options],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_guard_that_lets_something_through_fails_the_tests() -> None:
    tried = sample()
    assert tried.returncode == 0, tried.stdout + tried.stderr
    rows = [line.split() for line in tried.stdout.splitlines()[1:]]
    assert {row[0] for row in rows} == {"domain.guard", "domain.attempts"}
    for _, mutants, killed, *others in rows:
        assert (mutants, others) == (killed, ["0", "0", "0"])


def test_a_mutant_that_no_test_notices_is_told(tmp_path) -> None:
    path = tmp_path / "survives.toml"
    path.write_text(SURVIVES, encoding="utf-8")
    tried = sample(path)
    assert tried.returncode == 1
    assert "survived:\n  domain.guard" in tried.stdout


def test_every_module_of_the_domain_is_mutated() -> None:
    modules = {f"domain.{path.stem}" for path in (ROOT / "domain").glob("*.py")}
    # Nothing in these two can be changed.
    untouched = {"domain.__init__", "domain.records"}
    mutated = {name for name in LISTED if name.startswith("domain.")}
    assert modules - untouched == mutated


@pytest.mark.parametrize("module", LISTED)
def test_the_tests_of_a_module_are_there(module) -> None:
    for tests in LISTED[module]:
        assert (ROOT / tests.split(" ")[0]).exists()


@pytest.mark.parametrize(
    "module", sorted({it["module"] for it in SURVIVORS["survivor"]})
)
def test_a_survivor_is_a_change_of_lines_that_are_there(module) -> None:
    path = ROOT / module.replace(".", "/")
    source = path.with_suffix(".py").read_text(encoding="utf-8")
    text = "\n".join(line.strip() for line in source.splitlines())
    of_module = [it for it in SURVIVORS["survivor"] if it["module"] == module]
    for one in of_module:
        assert f"\n{one['was']}\n" in text, one
        assert one["now"] != one["was"]
        assert len(one["reason"]) > 20
    changes = [(it["within"], it["was"], it["now"]) for it in of_module]
    assert len(set(changes)) == len(changes)
