"""An event that `evolve` does not handle fails the type check."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import leasehold.domain

FORGOTTEN = '''
class {name}({base}):
    """An event that nobody handles."""

    TOPIC: ClassVar[str] = "{topic}"
'''
DOMAIN = Path(leasehold.domain.__file__).parent


def copy_domain(folder: Path) -> Path:
    package = folder / "leasehold"
    package.mkdir()
    (package / "__init__.py").write_text('"""A copy."""\n')
    shutil.copytree(
        DOMAIN, package / "domain", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "mypy.ini").write_text(
        "[mypy]\nstrict = True\nplugins = pydantic.mypy\n"
        "[pydantic-mypy]\ninit_forbid_extra = True\ninit_typed = True\n"
    )
    return package / "domain"


def type_check(folder: Path) -> str:
    """Return what mypy complains of."""
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "-p", "leasehold.domain", "--no-color-output"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert checked.returncode in (0, 1), checked.stdout + checked.stderr
    return checked.stdout


@pytest.fixture(scope="module")
def checked_folder(tmp_path_factory) -> Path:
    """Give a folder where the domain was checked as it is, with a warm cache."""
    folder = tmp_path_factory.mktemp("checked")
    copy_domain(folder)
    told = type_check(folder)
    assert told.startswith("Success"), told
    return folder


EXECUTION = ("ExecutionForgotten", "DomainEvent", "execution.forgotten")
ATTEMPT = ("AttemptForgotten", "AttemptEvent", "attempt.forgotten")
IN_THE_UNION = (
    "    | ExecutionReplayed\n)\n",
    "    | ExecutionReplayed\n    | {}\n)\n",
)
IN_THE_FOLD = ("    | ExecutionReplayed,\n", "    | ExecutionReplayed\n    | {},\n")
IN_THE_ENDS = ("AttemptEnd = (\n", "AttemptEnd = (\n    {}\n    |")
IN_ALL = ("    | AttemptEnd\n)\n", "    | AttemptEnd\n    | {}\n)\n")
CASES = {
    "an execution's, in the union": (
        ("executions.py", EXECUTION, (IN_THE_UNION,)),
        'Argument 2 to "_evolve"',
    ),
    "an execution's, in the fold's argument too": (
        ("executions.py", EXECUTION, (IN_THE_UNION, IN_THE_FOLD)),
        'Argument 1 to "assert_never" has incompatible type "ExecutionForgotten"',
    ),
    "an attempt's, in the union": (
        ("attempts.py", ATTEMPT, (IN_ALL,)),
        'Argument 2 to "_closed" has incompatible type',
    ),
    "an attempt's, among the ends": (
        ("attempts.py", ATTEMPT, (IN_THE_ENDS,)),
        'Argument 1 to "assert_never" has incompatible type "AttemptForgotten"',
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_forgotten_event_fails_the_type_check(checked_folder, case) -> None:
    (module, event, replacements), expected = CASES[case]
    path = checked_folder / "leasehold" / "domain" / module
    original = path.read_text()
    changed = with_event(original, event)
    for before, after in replacements:
        assert changed.count(before) == 1
        changed = changed.replace(before, after.format(event[0]))
    path.write_text(changed)
    try:
        told = type_check(checked_folder)
    finally:
        path.write_text(original)
    assert any(module in line and expected in line for line in told.splitlines()), told


def with_event(text: str, event: tuple[str, str, str]) -> str:
    """Define an event before the first union of a module."""
    name, base, topic = event
    defined = FORGOTTEN.format(name=name, base=base, topic=topic)
    union = "ExecutionEvent = (" if base == "DomainEvent" else "AttemptEnd = ("
    return text.replace(f"\n{union}", f"{defined}\n\n{union}", 1)
