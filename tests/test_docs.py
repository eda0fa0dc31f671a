"""The pages as tests: their code runs, their links lead somewhere, they are whole.

In README.md and docs/, the blocks of one page run from top to bottom in one fresh
folder: `python` blocks in one interpreter, lines of `sh` blocks that begin with
`leasehold` or `pytest`, and `sql` blocks against the page's leasehold.db. A block under
the comment `<!-- file: name -->` is written to that file; under `<!-- not run: why -->`
it is shown only. Commands end with 0, under `<!-- ends with 1: why -->` with that.

Queries run on an empty ledger in PostgreSQL as well, unless the comment above says
`<!-- only SQLite: why -->`; under `<!-- only PostgreSQL: why -->` they run there alone.
On the page about PostgreSQL everything does: `db.example.org` is the server of the
tests, and its schemas and roles get names that nobody else has.
"""

import contextlib
import re
import shlex
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from every_call import READS, every_operation
from outsiders import with_schema, without_schema

import leasehold

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?P<before>[^\n]*)\n+```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[[^\]]+\]\(([^)\s]+)\)")
IMAGE_BYTES_MAX = 200 * 1024
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
FILE = re.compile(r"<!-- file: (\S+) -->")
ENDS = re.compile(r"<!-- ends with (\d): \S.* -->")
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")
ONLY = re.compile(r"<!-- only (SQLite|PostgreSQL): \S.* -->")
ON_POSTGRES = ROOT / "docs" / "postgresql.md"
URL = re.compile(r"postgresql://(\w+)@db\.example\.org/work\?schema=(\w+)")
SCHEMAS = ("trial", "ledger", "moved")
ROLES = ("ledger_owner", "ledger_writer", "ledger_auditor")
PAGE_NAMED = re.compile(r"\bdocs/[\w/.-]+\.md\b")
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
    only: str | None
    file: str | None
    status: int


def blocks_of(page: Path) -> list[Block]:
    text = "\n" + page.read_text(encoding="utf-8")
    return [
        Block(
            found["language"],
            found["code"],
            text.count("\n", 0, found.start("code")),
            NOT_RUN.match(found["before"]) is None,
            only[1] if (only := ONLY.match(found["before"])) else None,
            file[1] if (file := FILE.match(found["before"])) else None,
            int(ends[1]) if (ends := ENDS.match(found["before"])) else 0,
        )
        for found in BLOCK.finditer(text)
    ]


def commands_of(code: str) -> list[list[str]]:
    joined = code.replace("\\\n", " ")
    lines = [line.removeprefix("$ ") for line in joined.splitlines()]
    calls = [shlex.split(line, comments=True) for line in lines]
    return [call for call in calls if call[:1] in (["leasehold"], ["pytest"])]


def script_of(page: Path, names: "StandIn | None" = None) -> str:
    """Write the page as one program, each block under its own line numbers."""
    parts = ["import leasehold_page as page"]
    for block in blocks_of(page):
        code = block.code if names is None else names.put_into(block)
        if not block.runs:
            continue
        if block.file:
            parts.append(f"page.file({block.file!r}, {code!r})")
        elif block.language == "python":
            parts.append(f"page.python({code!r}, {block.line}, globals())")
        elif block.language == "sh":
            calls = commands_of(code)
            ends = block.status
            parts += [f"page.{program}({rest!r}, {ends})" for program, *rest in calls]
        elif block.language == "sql" and block.only != "PostgreSQL":
            parts.append(f"page.sql({code!r})")
    return "\n".join(parts)


RUNNER = """
import pathlib, sqlite3, subprocess, sys

def python(code, line, names):
    exec(compile("\\n" * line + code, PAGE, "exec"), names)

def file(name, text):
    pathlib.Path(name).write_text(text)

def pytest(arguments, wanted):
    ended = subprocess.run([sys.executable, "-m", "pytest", *arguments])
    check(ended.returncode, wanted, "pytest", arguments)

def leasehold(arguments, wanted):
    from leasehold.adapters.command_line.application import run
    check(run(arguments), wanted, "leasehold", arguments)

def check(status, wanted, program, arguments):
    if status != wanted:
        sys.exit(f"{program} {' '.join(arguments)} ended with {status}")

def sql(code):
    if SERVER:
        return sql_on_server(code)
    connection = sqlite3.connect("file:leasehold.db?mode=ro", uri=True)
    for statement in code.split(";"):
        connection.execute(statement).fetchall()
    connection.close()

def sql_on_server(code):
    import psycopg
    with psycopg.connect(SERVER, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {SCHEMA}")
        connection.execute(code)
"""


class StandIn:
    """What the names on the page about PostgreSQL stand for on the tests' server."""

    def __init__(self, url):
        self.server, unique = without_schema(url)
        self.schemas = {name: f"{unique[:32]}_{name}" for name in SCHEMAS}
        self.roles = {name: f"{unique[:32]}_{name}" for name in ROLES}

    def url_of(self, user, schema):
        url = self.server
        if user in self.roles:
            # The role is taken on once connected: no server asks for its password.
            role = f"options=-c%20role%3D{self.roles[user]}"
            url += f"{'&' if '?' in url else '?'}{role}"
        return with_schema(url, self.schemas[schema])

    def put_into(self, block):
        code = URL.sub(lambda url: self.url_of(url[1], url[2]), block.code)
        if block.language == "sql":
            for name, role in self.roles.items():
                code = re.sub(rf"\b{name}\b", role, code)
            for name, schema in self.schemas.items():
                code = re.sub(rf"(?<=SCHEMA ){name}\b|\b{name}(?=\.)", schema, code)
        return code


@pytest.fixture
def stand_in(postgres, new_store):
    url = new_store("postgres")
    names = StandIn(url)
    yield names
    for schema in names.schemas.values():
        postgres.drop(with_schema(names.server, schema))
    for role in names.roles.values():
        known = "SELECT 1 AS n FROM pg_roles WHERE rolname = ?"
        if postgres.query(url, known, (role,)):
            postgres.query(url, f"DROP OWNED BY {role}", ())
            postgres.query(url, f"DROP ROLE {role}", ())


@each_page
def test_the_code_of_a_page_runs(page, tmp_path, request):
    names = request.getfixturevalue("stand_in") if page == ON_POSTGRES else None
    script = script_of(page, names)
    server, schema = (names.server, names.schemas["trial"]) if names else ("", "")
    runner = tmp_path / "modules"
    runner.mkdir()
    facts = f"PAGE, SERVER, SCHEMA = {(page_name(page), server, schema)!r}"
    (runner / "leasehold_page.py").write_text(f"{facts}\n{RUNNER}")
    folder = tmp_path / "folder"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=folder,
        env={"PYTHONPATH": str(runner), "PATH": "", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def roles(stand_in, postgres):
    """Make the roles of the page and a ledger as it says; give the names."""
    url = stand_in.url_of("postgres", "ledger")
    made, granted = [
        stand_in.put_into(block)
        for block in blocks_of(ON_POSTGRES)
        if block.language == "sql" and re.match("CREATE ROLE|GRANT", block.code)
    ]
    postgres.query(url, made, ())
    leasehold.open(stand_in.url_of("ledger_owner", "ledger")).close()
    postgres.query(url, granted, ())
    return stand_in


def test_the_roles_of_the_page_may_do_what_it_says(roles, clock):
    writer, auditor = (
        roles.url_of(name, "ledger") for name in ("ledger_writer", "ledger_auditor")
    )
    with leasehold.open(writer, clock=clock) as ledger:
        for _ in every_operation(ledger, clock):
            pass
        one = ledger.read.executions()[0].execution_id
        seen = {name: read(ledger, one) for name, read in READS.items()}
    with leasehold.open(auditor, clock=clock, read_only=True) as ledger:
        for name, read in READS.items():
            if name != "facts":
                assert read(ledger, one) == seen[name], name
    with leasehold.open(auditor, clock=clock) as ledger:
        for write in (ledger.create_execution, lambda: ledger.claim(worker_id="w")):
            with pytest.raises(leasehold.StoreError, match="right"):
                write()


FORBIDDEN = {
    "ledger_writer": (
        "UPDATE stored_events SET topic = 'x'",
        "DELETE FROM stored_events",
        "TRUNCATE stored_events",
        "ALTER TABLE stored_events DISABLE TRIGGER USER",
        "DROP TRIGGER stored_events_are_never_updated ON stored_events",
        "SELECT setval('stored_events_notification_id_seq', 1)",
        "UPDATE leasehold_meta SET value = 9",
        "DELETE FROM exec_state",
        "UPDATE lease_event SET cause = 'claim'",
        "DROP TABLE attempt",
        "CREATE TABLE mine (n INTEGER)",
    ),
    "ledger_auditor": (
        "INSERT INTO stored_events SELECT * FROM stored_events",
        "UPDATE exec_core SET priority = 1",
        "SELECT FROM exec_state FOR UPDATE",
        "SELECT nextval('stored_events_notification_id_seq')",
    ),
}


@pytest.mark.parametrize("role", FORBIDDEN)
def test_the_roles_of_the_page_may_do_no_more(roles, role):
    with psycopg.connect(roles.server, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {roles.schemas['ledger']}")
        connection.execute(f"SET ROLE {roles.roles[role]}")
        for statement in FORBIDDEN[role]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


WITH_QUERIES = [
    page
    for page in PAGES
    if page != ON_POSTGRES
    and any(block.language == "sql" and block.runs for block in blocks_of(page))
]


@pytest.mark.parametrize("page", WITH_QUERIES, ids=page_name)
def test_the_queries_of_a_page_run_on_postgresql_too(page, postgres, new_store):
    url = new_store("postgres")
    leasehold.open(url).close()
    for block in blocks_of(page):
        if block.language == "sql" and block.runs and block.only != "SQLite":
            postgres.query(url, block.code, ())


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


@each_page
def test_the_images_of_a_page_are_there_and_small(page):
    text = page.read_text(encoding="utf-8")
    for name in IMAGE.findall(text):
        assert (page.parent / name).stat().st_size <= IMAGE_BYTES_MAX


def test_every_image_is_on_a_page():
    shown = {
        (page.parent / name).resolve()
        for page in PAGES
        for name in IMAGE.findall(page.read_text(encoding="utf-8"))
    }
    assert set((ROOT / "docs" / "images").iterdir()) <= shown


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


def test_a_page_that_the_library_names_is_there():
    named = {
        name
        for folder in ("adapters", "domain", "projections")
        for module in (ROOT / folder).rglob("*.py")
        for name in PAGE_NAMED.findall(module.read_text(encoding="utf-8"))
    }
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_readme_begins_with_the_two_commands():
    blocks = [b for b in blocks_of(ROOT / "README.md") if b.language == "sh"]
    assert len(blocks) >= len(README_SH_BLOCKS)
    for block, begin in zip(blocks, README_SH_BLOCKS, strict=False):
        assert " ".join(block.code.split()).startswith(begin)
        assert len(block.code.splitlines()) == 1


def test_the_readmes_example_is_short():
    (example, *_) = [b for b in blocks_of(ROOT / "README.md") if b.language == "python"]
    assert len(example.code.splitlines()) <= 25


DOCUMENTED = (
    *TABLES,
    "resume_grant",
    "stored_events",
    "leasehold_meta",
    "best_effort_rate",
    "leasehold_projection",
)


@pytest.fixture(scope="module")
def columns_in_sqlite(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "leasehold.db"
    leasehold.open(f"sqlite:///{path}").close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        yield {
            table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            for table in DOCUMENTED
        }


@pytest.fixture(scope="module")
def columns_in_postgresql(postgres):
    url = postgres.name()
    leasehold.open(url).close()
    asked = (
        "SELECT table_name AS t, column_name AS c FROM information_schema.columns"
        " WHERE table_schema = current_schema() ORDER BY ordinal_position"
    )
    rows = postgres.query(url, asked, ())
    postgres.drop(url)
    return {table: [r["c"] for r in rows if r["t"] == table] for table in DOCUMENTED}


@pytest.mark.parametrize("table", DOCUMENTED)
def test_every_column_of_a_table_is_documented(
    columns_in_sqlite, columns_in_postgresql, table
):
    ours, more = columns_in_sqlite[table], columns_in_postgresql[table]
    assert ours
    section = section_of(table)
    named = dict.fromkeys([*ours, *more])
    assert not [name for name in named if f"`{name}`" not in section]


@pytest.mark.parametrize("table", DOCUMENTED)
def test_both_databases_have_the_same_columns(
    columns_in_sqlite, columns_in_postgresql, table
):
    more = {"transaction_id"} if table == "stored_events" else set()
    assert set(columns_in_postgresql[table]) == {*columns_in_sqlite[table], *more}


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
