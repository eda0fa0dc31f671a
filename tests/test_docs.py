"""The pages as tests: their code runs, their links lead somewhere, they are whole.

In README.md and docs/, the blocks of one page run from top to bottom in one fresh
folder: `python` blocks in one interpreter, lines of `sh` blocks that begin with
`leasehold`, and `sql` blocks against the page's leasehold.db. A block under the
comment `<!-- not run: why -->` is shown only.
"""

import contextlib
import re
import shlex
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import leasehold

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?P<before>[^\n]*)\n+```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")
TABLES = ("exec_core", "attempt", "summary", "lease_event", "stream_frame")
README_SH_BLOCKS = (
    "python3.11 -m venv .venv && .venv/bin/pip install -q '.[cli]'",
    "python3.11 -m venv .venv && .venv/bin/pip install -q -e '.[test]'",
)


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=page_name)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    line: int
    runs: bool


def blocks_of(page: Path) -> list[Block]:
    text = "\n" + page.read_text(encoding="utf-8")
    return [
        Block(
            found["language"],
            found["code"],
            text.count("\n", 0, found.start("code")),
            NOT_RUN.match(found["before"]) is None,
        )
        for found in BLOCK.finditer(text)
    ]


def commands_of(code: str) -> list[list[str]]:
    joined = code.replace("\\\n", " ")
    lines = [line.removeprefix("$ ") for line in joined.splitlines()]
    calls = [shlex.split(line, comments=True) for line in lines]
    return [call[1:] for call in calls if call[:1] == ["leasehold"]]


def script_of(page: Path) -> str:
    """Write the page as one program, each block under its own line numbers."""
    parts = ["import leasehold_page as page"]
    for block in blocks_of(page):
        if not block.runs:
            continue
        if block.language == "python":
            parts.append(f"page.python({block.code!r}, {block.line}, globals())")
        elif block.language == "sh":
            parts += [f"page.command({call!r})" for call in commands_of(block.code)]
        elif block.language == "sql":
            parts.append(f"page.sql({block.code!r})")
    return "\n".join(parts)


RUNNER = """
import sqlite3, sys, traceback

def python(code, line, names):
    exec(compile("\\n" * line + code, PAGE, "exec"), names)

def command(arguments):
    from leasehold.adapters.command_line.application import run
    status = run(arguments)
    if status != 0:
        sys.exit(f"leasehold {' '.join(arguments)} ended with {status}")

def sql(code):
    connection = sqlite3.connect("file:leasehold.db?mode=ro", uri=True)
    for statement in code.split(";"):
        connection.execute(statement).fetchall()
    connection.close()
"""


@each_page
def test_the_code_of_a_page_runs(page, tmp_path):
    runner = tmp_path / "modules"
    runner.mkdir()
    module = f"PAGE = {page_name(page)!r}\n{RUNNER}"
    (runner / "leasehold_page.py").write_text(module)
    folder = tmp_path / "folder"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script_of(page)],
        cwd=folder,
        env={"PYTHONPATH": str(runner), "PATH": "", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@each_page
def test_the_links_of_a_page_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    broken = []
    for link in LINK.findall(text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert not broken


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made from their words."""
    headings = HEADING.findall(page.read_text(encoding="utf-8"))
    bare = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in bare}


def test_every_page_can_be_reached_from_the_readme():
    reached, pending = set(), [ROOT / "README.md"]
    while pending:
        page = pending.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        links = LINK.findall(page.read_text(encoding="utf-8"))
        names = (link.partition("#")[0] for link in links if "://" not in link)
        pending += [(page.parent / name).resolve() for name in names if name]
    assert not [page_name(page) for page in PAGES if page not in reached]


def test_the_readme_begins_with_the_two_commands():
    blocks = [b for b in blocks_of(ROOT / "README.md") if b.language == "sh"]
    assert len(blocks) >= len(README_SH_BLOCKS)
    for block, begin in zip(blocks, README_SH_BLOCKS, strict=False):
        assert " ".join(block.code.split()).startswith(begin)
        assert len(block.code.splitlines()) == 1


def test_the_readmes_example_is_short():
    (example, *_) = [b for b in blocks_of(ROOT / "README.md") if b.language == "python"]
    assert len(example.code.splitlines()) <= 25


@pytest.fixture(scope="module")
def columns_of(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "leasehold.db"
    leasehold.open(f"sqlite:///{path}").close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        yield {
            table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            for table in (*TABLES, "stored_events", "leasehold_meta")
        }


@pytest.mark.parametrize("table", [*TABLES, "stored_events", "leasehold_meta"])
def test_every_column_of_a_table_is_documented(columns_of, table):
    assert columns_of[table]
    section = section_of(table)
    missing = [name for name in columns_of[table] if f"`{name}`" not in section]
    assert not missing


def section_of(table: str) -> str:
    """Return what the docs say under the heading that names the table."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = re.search(rf"^(#+) +`?{table}`?[^\n]*$", text, re.MULTILINE)
        if found is not None:
            rest = text[found.end() :]
            until = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
            return rest[: until.start()] if until else rest
    pytest.fail(f"no heading in README.md or docs/ names the table {table}")
