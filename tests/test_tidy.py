"""The house rules as a test: sizes, names, words, and what belongs together."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import leasehold
from leasehold.domain import errors

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = {
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "domain",
    "projections",
    "adapters",
    "tests",
    "docs",
}
BUILT = re.compile(r"^(build|dist|htmlcov|.*\.egg-info|leasehold.*\.db(-shm|-wal)?)$")
MODULE_LINES_MAX = 500
COMMAND_LINES_MAX = 300
FUNCTION_LINES_MAX = 70
LINE_CHARACTERS_MAX = 88
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "manager"}
# Put together here, so that this file does not hold them.
UNFINISHED = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]))
MACHINE_PATH = re.compile(
    r"(?<![\w.$-])/(home|Users|root|work|tmp|var|mnt|opt/\w+)/[\w.-]+"
)
HOSTS = re.compile(r"https?://(?:[^/\s]*\.)?(?:localhost|\d+\.\d+\.\d+\.\d+)[:/]")
DOMAIN_MAY_IMPORT = {"leasehold", "pydantic", "pydantic_core", "annotated_types"}
IMPURE = {
    "asyncio",
    "io",
    "os",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "subprocess",
    "threading",
    "time",
}
PRAGMA = re.compile(r" +# (?:noqa|type: ignore).*$")
ANY = re.IGNORECASE | re.DOTALL
DRAWN_IDS = {"uuid1", "uuid4", "uuid6", "uuid7"}
SUFFIXES = {
    *(".py", ".sql", ".md", ".toml", ".typed", ".json", ".ndjson"),
    *(".html", ".css", ".js", ""),
}

PACKAGES = {
    "adapters/facade": "leasehold",
    "adapters": "leasehold.adapters",
    "domain": "leasehold.domain",
    "projections": "leasehold.projections",
}


def listed_files() -> list[Path]:
    """Return what is committed or about to be, or all there is outside of git."""
    asked = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if asked.returncode == 0:
        names = [name for name in asked.stdout.decode().split("\0") if name]
        return sorted(ROOT / name for name in names if (ROOT / name).is_file())
    folders = [*sorted(TOP_LEVEL), ".ci"]
    found = [path for name in folders for path in [ROOT / name, *walk(ROOT / name)]]
    return sorted(path for path in found if path.is_file())


def walk(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if not any(
            part.startswith(".") or part == "__pycache__"
            for part in path.relative_to(ROOT).parts
        )
    ]


FILES = [path for path in listed_files() if path.suffix in SUFFIXES]
MODULES = [path for path in FILES if path.suffix == ".py"]
LIBRARY = [path for path in MODULES if path.relative_to(ROOT).parts[0] in PACKAGES]
QUERIES = [path for path in FILES if path.suffix == ".sql"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    relative = path.relative_to(ROOT)
    for folder, package in PACKAGES.items():
        if relative.is_relative_to(folder):
            parts = relative.relative_to(folder).with_suffix("").parts
            return ".".join([package, *(part for part in parts if part != "__init__")])
    raise AssertionError(path)


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path))


def docs_text() -> str:
    pages = sorted((ROOT / "docs").rglob("*.md"))
    return "\n".join(text_of(page) for page in pages)


def each_of(paths: list[Path]) -> Callable[[Callable[[Path], None]], Callable]:
    """Hold a rule against many files in one test: a test for each takes too long."""

    def of_all(rule: Callable[[Path], None]) -> Callable[[], None]:
        def test() -> None:
            assert paths
            broken = []
            for path in paths:
                try:
                    rule(path)
                except AssertionError as error:
                    broken.append(f"{name_of(path)}: {error}")
            assert not broken, "\n".join(broken)

        test.__name__ = rule.__name__
        return test

    return of_all


each_module = each_of(MODULES)
each_library_module = each_of(LIBRARY)
each_query = each_of(QUERIES)


def test_the_top_level_is_as_fixed():
    there = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert {name for name in there if not BUILT.match(name)} == TOP_LEVEL


@each_module
def test_a_module_is_short(path):
    limit = MODULE_LINES_MAX
    if path.is_relative_to(ROOT / "adapters" / "command_line"):
        limit = COMMAND_LINES_MAX
    assert len(text_of(path).splitlines()) <= limit


@each_module
def test_a_function_is_short(path):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = {
        node.name: lines
        for node in ast.walk(tree_of(path))
        if isinstance(node, functions)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert not long


@each_of(MODULES + QUERIES)
def test_a_line_is_short(path):
    # Like ruff: a pragma at the end of a line is not counted.
    bare = (PRAGMA.sub("", line) for line in text_of(path).splitlines())
    lines = enumerate(bare, start=1)
    assert not [number for number, line in lines if len(line) > LINE_CHARACTERS_MAX]


@each_module
def test_a_module_has_a_name_that_says_something(path):
    assert path.stem not in BANNED_NAMES
    assert not set(path.parent.relative_to(ROOT).parts) & BANNED_NAMES


@each_of(FILES)
def test_nothing_is_left_to_do(path):
    assert not UNFINISHED.findall(text_of(path))


@each_of(FILES)
def test_a_file_names_no_machine(path):
    text = text_of(path)
    if path.name == "LICENSE":
        return
    found = [match.group() for match in MACHINE_PATH.finditer(text)]
    assert not found
    assert not HOSTS.findall(text)


@each_of(FILES)
def test_a_file_ends_with_one_newline_and_has_no_trailing_space(path):
    text = text_of(path)
    assert text == "" or (text.endswith("\n") and not text.endswith("\n\n"))
    if path.suffix != ".md":
        assert not [line for line in text.splitlines() if line != line.rstrip()]


INITS = [path for path in MODULES if path.name == "__init__.py"]


@each_of(INITS)
def test_an_init_file_holds_a_docstring_only(path):
    # What is imported by a short name is put together there.
    if path.is_relative_to(ROOT / "adapters" / "facade"):
        return
    body = tree_of(path).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)
    assert isinstance(body[0].value, ast.Constant)


def test_the_facade_is_sorted_and_equal_to_its_namespace():
    names = leasehold.__all__
    assert list(names) == sorted(names)
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(leasehold, name) is not None
    assert set(names) <= set(dir(leasehold))
    assert {name for name in dir(leasehold) if not name.startswith("_")} == set(names)


def test_the_facade_knows_no_other_name():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = leasehold.no_such_name


def test_the_facade_names_what_type_checkers_see():
    tree = ast.parse(text_of(ROOT / "adapters" / "facade" / "__init__.py"))
    checked = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("leasehold.")
        for alias in node.names
    }
    assert checked >= set(leasehold.__all__)


def test_every_error_is_in_the_facade():
    every = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.LeaseholdError)
    }
    assert every <= set(leasehold.__all__)


@each_library_module
def test_every_public_name_has_a_docstring(path):
    tree = tree_of(path)
    documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    scopes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    public_scopes = [
        scope for scope in scopes if not getattr(scope, "name", "").startswith("_")
    ]
    missing = [
        node.name
        for scope in public_scopes
        for node in scope.body
        if isinstance(node, documented)
        and not node.name.startswith("_")
        and not is_overload(node)
        and ast.get_docstring(node) is None
    ]
    assert ast.get_docstring(tree)
    assert not missing


def is_overload(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(getattr(decorator, "id", "") == "overload" for decorator in decorators)


@each_library_module
def test_no_error_is_swallowed(path):
    swallowing = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in BROAD)
        and all(isinstance(statement, ast.Pass) for statement in node.body)
    ]
    assert not swallowing


BROAD = {"Exception", "BaseException"}


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(node.module or "")
    return names


@each_module
def test_an_import_goes_by_the_installed_name(path):
    tops = {name.partition(".")[0] for name in imports_of(path)}
    assert not tops & {"domain", "projections", "adapters", "tests"}


PURE = [path for path in LIBRARY if name_of(path).startswith(("domain", "projections"))]


@each_of(PURE)
def test_the_domain_reads_no_clock_draws_nothing_and_does_no_io(path):
    tops = {name.partition(".")[0] for name in imports_of(path)}
    assert tops <= sys.stdlib_module_names | DOMAIN_MAY_IMPORT
    assert not tops & IMPURE
    called = {
        getattr(node.func, "attr", getattr(node.func, "id", ""))
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
    }
    assert not called & (DRAWN_IDS | {"open", "print", "now", "utcnow", "today"})


def test_typer_and_rich_stay_in_the_command_line():
    for path in LIBRARY:
        if "command_line" not in path.parts:
            tops = {name.partition(".")[0] for name in imports_of(path)}
            assert not tops & {"typer", "rich", "click"}, name_of(path)


def statements_in(text: str) -> int:
    """Count SQL statements; one with a body (a trigger) is one."""
    bare = re.sub(r"--[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    bare = re.sub(r"'(?:[^']|'')*'", "''", bare)
    bodies = r"\bBEGIN\b.*?\bEND\b\s*(?=;|\Z)"
    # A CASE ends with END too: it is taken out before bodies are.
    case = r"\bCASE\b(?:(?!\bCASE\b).)*?\bEND\b"
    while re.search(case, bare, flags=ANY):
        bare = re.sub(case, "", bare, flags=ANY)
    bare = re.sub(bodies, "", bare, flags=ANY)
    return len([part for part in bare.split(";") if part.strip()])


@each_query
def test_a_query_is_one_statement_under_a_comment(path):
    text = text_of(path)
    assert text.startswith("-- "), "the first line says what the query answers"
    if path.parent.name == "queries":
        assert statements_in(text) == 1


def test_the_counting_of_statements_is_right():
    assert statements_in("-- a; b\nSELECT ';';") == 1
    assert statements_in("SELECT 1; SELECT 2") == 2
    trigger = "CREATE TRIGGER t BEFORE UPDATE ON a BEGIN SELECT 1; SELECT 2; END;"
    assert statements_in(trigger) == 1
    cased = "CREATE TRIGGER t INSTEAD OF UPDATE ON a BEGIN SELECT CASE 1 WHEN 1 THEN "
    assert statements_in(cased + "2 END; SELECT 3; END; SELECT 4;") == 2


def test_both_databases_have_the_same_queries():
    folders = [ROOT / "adapters" / name / "queries" for name in ("sqlite", "postgres")]
    names = [
        {path.name for path in folder.glob("*.sql")}
        for folder in folders
        if folder.is_dir()
    ]
    assert names
    assert all(one == names[0] for one in names)


@each_query
def test_a_query_is_used(path):
    if path.parent.name != "queries":
        return
    sources = [text_of(source) for source in LIBRARY]
    assert any(f'"{path.stem}"' in source for source in sources)


def events():
    """Return every event class of the domain, by topic."""
    base = importlib.import_module("leasehold.domain.events").DomainEvent
    for path in LIBRARY:
        if name_of(path).startswith("domain"):
            importlib.import_module(module_name(path))
    pending, found = [base], {}
    while pending:
        for event in pending.pop().__subclasses__():
            pending.append(event)
            if "TOPIC" in vars(event) and event.__module__.startswith("leasehold."):
                assert event.TOPIC not in found
                found[event.TOPIC] = event
    return found


def test_every_event_is_frozen_forbids_extras_and_has_a_docstring():
    assert events()
    for event in events().values():
        assert event.model_config.get("frozen") is True
        assert event.model_config.get("extra") == "forbid"
        assert event.__doc__


NOT_PROJECTED: frozenset[str] = frozenset()
"""Topics that no table shows."""


def test_every_event_is_projected_or_listed_as_not():
    registry = importlib.import_module("leasehold.projections.registry")
    catalogue = importlib.import_module("leasehold.domain.catalogue")
    shown = {
        topic
        for topic, event in events().items()
        if any(rules.rule_for(event) for rules in registry.RULES.values())
    }
    assert shown | NOT_PROJECTED == events().keys()
    assert not shown & NOT_PROJECTED
    assert set(catalogue.EVENT_TYPES) == set(events().values())


def test_every_error_code_is_documented():
    codes = {
        code
        for error in vars(errors).values()
        if inspect.isclass(error) and issubclass(error, errors.LeaseholdError)
        for code in error.codes
    }
    assert codes
    text = docs_text()
    assert not [code for code in sorted(codes) if f"`{code}`" not in text]


def test_every_event_is_documented():
    text = docs_text()
    assert not [topic for topic in sorted(events()) if f"`{topic}`" not in text]


def test_every_command_is_documented():
    application = importlib.import_module("leasehold.adapters.command_line.application")
    commands = application.COMMANDS | application.GROUPS
    text = docs_text()
    assert not [name for name in commands if f"leasehold {name}" not in text]


def test_no_module_called_domain_is_loaded():
    assert not {"domain", "projections", "adapters"} & sys.modules.keys()


def test_every_module_says_its_encoding_is_utf_8():
    for path in MODULES:
        with path.open("rb") as opened:
            assert tokenize.detect_encoding(opened.readline)[0] == "utf-8"


def test_the_ci_script_may_be_run():
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
