"""What is installed: the wheel's files, the facade's weight, life without extras."""

import configparser
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "adapters/facade": "leasehold",
    "adapters": "leasehold/adapters",
    "domain": "leasehold/domain",
    "projections": "leasehold/projections",
}
IMPORT_MS_MAX = 60
HEAVY = (
    "anyio",
    "pytest",
    "sqlite3",
    "psycopg",
    "eventsourcing",
    "opentelemetry",
    "typer",
    "rich",
    "click",
)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Build the wheel from a copy, so that nothing is left in the tree."""
    source = tmp_path_factory.mktemp("source")
    for name in ("adapters", "domain", "projections"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    target = tmp_path_factory.mktemp("wheel")
    arguments = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", target]
    subprocess.run(
        [sys.executable, "-m", "pip", *arguments, source],
        check=True,
        capture_output=True,
        timeout=300,
    )
    (built,) = target.glob("*.whl")
    with zipfile.ZipFile(built) as opened:
        yield opened


def installed_name(path: Path) -> str:
    for folder, package in FOLDERS.items():
        if path.is_relative_to(folder):
            return f"{package}/{path.relative_to(folder).as_posix()}"
    raise AssertionError(path)


def test_every_module_query_and_template_is_in_the_wheel(wheel):
    sources = {
        path.relative_to(ROOT)
        for folder in ("adapters", "domain", "projections")
        for suffix in ("py", "sql", "typed", "html", "css", "js")
        for path in (ROOT / folder).rglob(f"*.{suffix}")
    }
    expected = {installed_name(path) for path in sources}
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == expected
    assert "leasehold/py.typed" in inside


def test_nothing_but_leasehold_goes_into_site_packages(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"leasehold"}


def test_the_metadata_says_what_pyproject_says(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    metadata = Parser().parsestr(wheel.read(name).decode())
    assert metadata["Name"] == "leasehold"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    extras = {"aio", "all", "cli", "otel", "postgres", "proof", "sign", "test"}
    assert set(metadata.get_all("Provides-Extra")) == extras
    always = [
        line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line
    ]
    assert sorted(line.partition(">")[0] for line in always) == [
        "eventsourcing<10,",
        "pydantic<3,",
        "uuid-utils",
    ]


def test_the_license_goes_with_it(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("licenses/LICENSE")]
    assert "Apache License" in wheel.read(name).decode()


def test_the_command_is_the_entry_that_needs_no_extra(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    parser = configparser.ConfigParser()
    parser.read_string(wheel.read(name).decode())
    expected = "leasehold.adapters.command_line.entry:main"
    assert parser["console_scripts"]["leasehold"] == expected
    (installed,) = entry_points(group="console_scripts", name="leasehold")
    assert callable(installed.load())
    assert parser["pytest11"]["leasehold.testing"] == "leasehold.testing"


def test_the_version_is_the_changelogs_next_or_last():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    version = pyproject["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{version}]" in changelog


def run_python(code: str, *, cwd: Path) -> "subprocess.CompletedProcess[str]":
    # A measurement of coverage loads modules of its own: not in here.
    environment = {
        name: value for name, value in os.environ.items() if "COVERAGE" not in name
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_the_command_says_what_to_install(missing, tmp_path):
    done = run_python(
        f"import sys; sys.modules['{missing}'] = None\n"
        "from leasehold.adapters.command_line.entry import main; main()",
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "leasehold: run: pip install 'leasehold[cli]'\n"


def test_another_missing_module_is_not_blamed_on_the_extra(tmp_path):
    done = run_python(
        "import sys; sys.modules['pydantic'] = None\n"
        "from leasehold.adapters.command_line.entry import main; main()",
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "pydantic" in done.stderr


def test_importing_leasehold_loads_no_driver_and_no_command_line(tmp_path):
    done = run_python(
        "import sys, leasehold\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])",
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_using_every_name_of_the_facade_loads_no_driver(tmp_path):
    done = run_python(
        "import sys, leasehold\n"
        "names = [n for n in leasehold.__all__ if n not in {'open', 'Ledger'}]\n"
        "[getattr(leasehold, name) for name in names]\n"
        "print([name for name in ('typer', 'rich', 'psycopg') if name in sys.modules])",
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_importing_leasehold_is_fast(tmp_path):
    # Timed inside the process: what the interpreter itself takes is not counted.
    code = (
        "import time; began = time.perf_counter(); import leasehold; "
        "print((time.perf_counter() - began) * 1000)"
    )
    times = [float(run_python(code, cwd=tmp_path).stdout) for _ in range(5)]
    assert min(times) < IMPORT_MS_MAX


def test_no_module_called_domain_is_there_or_loaded(tmp_path):
    done = run_python(
        "import importlib.util as find, leasehold\n"
        "names = ('domain', 'projections', 'adapters')\n"
        "print([name for name in names if find.find_spec(name)])",
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert not {"domain", "projections", "adapters"} & sys.modules.keys()
