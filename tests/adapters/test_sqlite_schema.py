"""The tables in SQLite: old SQL only, guarded literals, and a view that is written."""

import ast
import re
import sqlite3
from contextlib import closing
from importlib.resources import files

import pytest

import leasehold
from leasehold.domain import states
from leasehold.domain.attempts import LeaseState
from leasehold.domain.frames import FrameMode

# What came after SQLite 3.35, by the version that it came with.
TOO_NEW = {
    "3.37 STRICT tables": r"\)\s*(WITHOUT ROWID\s*,\s*)?STRICT\b",
    "3.38 -> and ->>": r"->>?",
    "3.38 unixepoch": r"\bunixepoch\s*\(",
    "3.38 format": r"\bformat\s*\(",
    "3.39 RIGHT and FULL JOIN": r"\b(RIGHT|FULL)\s+(OUTER\s+)?JOIN\b",
    "3.39 IS DISTINCT FROM": r"\bIS\s+(NOT\s+)?DISTINCT\s+FROM\b",
    "3.41 unhex": r"\bunhex\s*\(",
    "3.43 octet_length, timediff": r"\b(octet_length|timediff)\s*\(",
    "3.44 concat, string_agg": r"\b(concat|concat_ws|string_agg)\s*\(",
    "3.44 ORDER BY in aggregates": r"\b(?!OVER\b)\w+\([^()]*\bORDER BY\b",
    "3.45 jsonb": r"\bjsonb\w*\s*\(",
    "3.46 digits with underscores": r"\b\d+_\d+\b",
    "3.48 if and iif of many": r"\b(if|iif)\s*\(",
}
EXAMPLES = {
    "3.37 STRICT tables": "CREATE TABLE t (a TEXT) STRICT;",
    "3.38 -> and ->>": "SELECT tags ->> 'a'",
    "3.38 unixepoch": "SELECT unixepoch('now')",
    "3.38 format": "SELECT format('%d', 1)",
    "3.39 RIGHT and FULL JOIN": "SELECT 1 FROM a FULL OUTER JOIN b",
    "3.39 IS DISTINCT FROM": "SELECT a IS NOT DISTINCT FROM b",
    "3.41 unhex": "SELECT unhex('00')",
    "3.43 octet_length, timediff": "SELECT octet_length(a)",
    "3.44 concat, string_agg": "SELECT string_agg(a, ',')",
    "3.44 ORDER BY in aggregates": "SELECT group_concat(a ORDER BY b)",
    "3.45 jsonb": "SELECT jsonb_extract(a, '$')",
    "3.46 digits with underscores": "SELECT 1_000",
    "3.48 if and iif of many": "SELECT iif(a, 1, b, 2)",
}
SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|PRAGMA)\b")
PACKAGE = files("leasehold.adapters.sqlite")
SCRIPTS = {
    f"{folder}/{file.name}": file
    for folder in ("schema", "queries")
    for file in (PACKAGE / folder).iterdir()
    if file.name.endswith(".sql")
}


def too_new(sql: str) -> set[str]:
    """Name what a text has that SQLite 3.35 has not."""
    bare = re.sub(r"--[^\n]*", "", sql)
    bare = re.sub(r"'(?:[^']|'')*'", "''", bare)
    return {
        name
        for name, pattern in TOO_NEW.items()
        if re.search(pattern, bare, re.IGNORECASE)
    }


def statements_in_code() -> dict[str, str]:
    """Return the SQL that stands in the modules of the package, by its place."""
    found = {}
    for file in PACKAGE.iterdir():
        if not file.name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            value = getattr(node, "value", None)
            if isinstance(node, ast.Constant) and SQL.match(str(value)):
                found[f"{file.name}:{node.lineno}"] = value
    return found


def test_the_sql_in_the_code_is_what_an_old_sqlite_has() -> None:
    statements = statements_in_code()
    assert len(statements) > 5
    assert {
        place: new for place, sql in statements.items() if (new := too_new(sql))
    } == {}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_sql_is_what_an_old_sqlite_has(name) -> None:
    assert not too_new(SCRIPTS[name].read_text("utf-8"))


@pytest.mark.parametrize("name", TOO_NEW)
def test_what_is_too_new_would_be_found(name) -> None:
    assert name in too_new(EXAMPLES[name])
    assert name not in too_new(f"-- {EXAMPLES[name]}")


@pytest.fixture
def connection(file_url, file_path, clock):
    """Give plain SQL on a file in which every table has a row."""
    with leasehold.open(file_url, clock=clock) as ledger:
        execution_id = ledger.create_execution(payload=b"work")
        handle = ledger.claim(worker_id="worker-1")
        summary = leasehold.Frame(b"{}", mode=leasehold.Summary())
        ledger.append_frame(handle, summary)
        ledger.issue_resume_grant(execution_id, worker_id="worker-1")
        clock.advance(1)
        ledger.create_execution(lane_id="later")
    with closing(sqlite3.connect(file_path, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        yield connection
        connection.execute("ROLLBACK")


LITERALS = {
    ("exec_state", "lifecycle_phase"): states.LifecyclePhase,
    ("exec_state", "ownership_state"): states.OwnershipState,
    ("exec_state", "eligibility_state"): states.EligibilityState,
    ("exec_state", "public_state"): states.PublicState,
    ("exec_state", "attempt_state"): states.AttemptState,
    ("exec_state", "terminal_cause"): states.TerminalCause,
    ("exec_core", "public_state"): states.PublicState,
    ("attempt", "outcome"): states.Outcome,
    ("attempt", "failure_class"): states.FailureClass,
    ("attempt", "lease_state"): LeaseState,
    ("lease_event", "event_type"): states.LeaseEventType,
    ("lease_event", "cause"): states.LeaseCause,
    ("stream_frame", "mode"): FrameMode,
    ("summary", "patch_kind"): ["json-merge-patch"],
}
NULLABLE = {"terminal_cause", "outcome", "failure_class"}


def name_of(place) -> str:
    return ".".join(place) if isinstance(place, tuple) else repr(place)


@pytest.mark.parametrize("place", LITERALS, ids=name_of)
def test_every_literal_of_a_column_is_taken(place, connection) -> None:
    table, column = place
    for literal in LITERALS[place]:
        connection.execute(f"UPDATE {table} SET {column} = ?", (str(literal),))
        found = connection.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall()
        assert [tuple(row) for row in found] == [(str(literal),)]


@pytest.mark.parametrize("place", LITERALS, ids=name_of)
@pytest.mark.parametrize("wrong", ["", "wrong", "Upper", 1, b"leased", None])
def test_no_other_value_of_a_column_is_taken(place, wrong, connection) -> None:
    table, column = place
    value = str(next(iter(LITERALS[place]))).upper() if wrong == "Upper" else wrong
    if value is None and column in NULLABLE:
        connection.execute(f"UPDATE {table} SET {column} = NULL")
        return
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(f"UPDATE {table} SET {column} = ?", (value,))


BOUNDS = {
    ("exec_state", "priority"): ((-9_000, 9_000), (-9_001, 9_001, "high", None)),
    ("exec_state", "attempt_index"): ((0, 10**6), (-1, None)),
    ("exec_state", "lease_reclaim_count"): ((0, 10_000), (-1, None)),
    ("exec_state", "is_claimable"): ((0, 1), (-1, 2, "yes", None)),
    ("attempt", "attempt_index"): ((0, 10**6), (-1, None)),
    ("attempt", "lease_epoch"): ((1, 10**12), (0, -1, None)),
    ("summary", "version"): ((1, 10**12), (0, -1, None)),
}


@pytest.mark.parametrize("place", BOUNDS, ids=name_of)
def test_a_number_stays_within_its_bounds(place, connection) -> None:
    table, column = place
    good, bad = BOUNDS[place]
    for value in good:
        connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
    for value in bad:
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(f"UPDATE {table} SET {column} = ?", (value,))


@pytest.mark.parametrize("version", [0, -1])
def test_a_stored_event_has_a_version_from_1(version, connection) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(
            "INSERT INTO stored_events"
            " (originator_id, originator_version, topic, state)"
            " VALUES ('x', ?, 'execution.cancelled', x'7b7d')",
            (version,),
        )


def rows(connection, table):
    found = connection.execute(f"SELECT * FROM {table}")
    return {row["execution_id"]: dict(row) for row in found}


def test_the_view_has_every_column_of_its_tables(connection) -> None:
    def columns(table):
        return [
            row["name"] for row in connection.execute(f"PRAGMA table_info({table})")
        ]

    state, blob, view = (columns(t) for t in ("exec_state", "exec_blob", "exec_core"))
    assert len(view) == len(set(view))
    assert set(view) == set(state) | set(blob)
    assert [name for name in view if name not in blob[1:]] == state


def test_the_view_shows_what_the_tables_hold(connection) -> None:
    view, state = rows(connection, "exec_core"), rows(connection, "exec_state")
    blob = rows(connection, "exec_blob")
    assert len(view) == 2
    assert len(blob) == 1
    for execution_id, row in view.items():
        expected = blob.get(execution_id, {"payload": b"", "result": None})
        assert row == {**state[execution_id], **expected}


@pytest.mark.parametrize("lane", ["default", "later"])
def test_an_update_of_the_view_changes_that_column_of_that_row(
    lane, connection
) -> None:
    before = rows(connection, "exec_core")
    (execution_id,) = (i for i, row in before.items() if row["lane_id"] == lane)
    for column, value in before[execution_id].items():
        changed = changed_value(column, value)
        connection.execute("SAVEPOINT one")
        connection.execute(
            f"UPDATE exec_core SET {column} = ? WHERE execution_id = ?",
            (changed, execution_id),
        )
        after = rows(connection, "exec_core")
        moved = {**before[execution_id], column: changed}
        rest = {i: row for i, row in before.items() if i != execution_id}
        assert after == {**rest, moved["execution_id"]: moved}, column
        connection.execute("ROLLBACK TO one")


def changed_value(column, value):
    """Return another value that the column takes."""
    others = {
        "lifecycle_phase": "terminal",
        "ownership_state": "lease_revoked",
        "eligibility_state": "not_eligible_until_time",
        "public_state": "cancelled",
        "attempt_state": "attempt_terminal",
        "terminal_cause": "not_retryable",
        "payload": b"other",
        "result": b"other",
    }
    if column in others:
        return others[column]
    if column == "is_claimable":
        return 1 - value
    return value + 1 if isinstance(value, int) else "other"


def test_an_update_of_the_view_adds_bytes_only_where_there_are_some(
    connection,
) -> None:
    later = "WHERE lane_id = 'later'"
    connection.execute(f"UPDATE exec_core SET priority = 3 {later}")
    assert len(rows(connection, "exec_blob")) == 1
    connection.execute(f"UPDATE exec_core SET result = x'01' {later}")
    assert len(rows(connection, "exec_blob")) == 2
    connection.execute(f"UPDATE exec_core SET result = NULL {later}")
    assert {row["result"] for row in rows(connection, "exec_core").values()} == {None}


def test_an_update_of_the_view_passes_the_checks(connection) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE exec_core SET lifecycle_phase = 'wrong'")
    assert (
        connection.execute(
            "UPDATE exec_core SET priority = 1 WHERE execution_id = 'nobody'"
        ).fetchall()
        == []
    )


def test_a_row_inserted_into_the_view_is_read_back_column_by_column(
    connection,
) -> None:
    given = {
        column: changed_value(column, value)
        for column, value in next(iter(rows(connection, "exec_core").values())).items()
    }
    numbers = [column for column, value in given.items() if isinstance(value, int)]
    numbers.remove("is_claimable")
    given |= {column: number for number, column in enumerate(numbers, start=100)}
    texts = ("namespace", "lane_id", "tags", "raw_fields", "capabilities")
    texts += ("idempotency_key", "arguments_sha256", "retry_policy")
    texts += ("stream_sha256", "refusals_sha256")
    given |= {column: f"the {column}" for column in texts}
    names = ", ".join(given)
    places = ", ".join(f":{column}" for column in given)
    connection.execute(f"INSERT INTO exec_core ({names}) VALUES ({places})", given)
    assert rows(connection, "exec_core")["other"] == given
    assert rows(connection, "exec_blob")["other"]["payload"] == b"other"


def test_a_row_inserted_without_bytes_has_an_empty_payload(connection) -> None:
    one = dict(
        connection.execute("SELECT * FROM exec_core WHERE lane_id = 'later'").fetchone()
    )
    one |= {"execution_id": "other", "payload": None, "result": None}
    names = ", ".join(one)
    places = ", ".join(f":{column}" for column in one)
    connection.execute(f"INSERT INTO exec_core ({names}) VALUES ({places})", one)
    assert rows(connection, "exec_core")["other"]["payload"] == b""


def test_a_row_deleted_from_the_view_is_gone_from_both_tables(connection) -> None:
    connection.execute("DELETE FROM exec_core WHERE lane_id = 'default'")
    (left,) = rows(connection, "exec_core").values()
    assert left["lane_id"] == "later"
    assert rows(connection, "exec_blob") == {}
    assert len(rows(connection, "exec_state")) == 1


def test_an_idempotency_key_stands_once_in_a_namespace(connection) -> None:
    set_key = "UPDATE exec_core SET idempotency_key = 'once', namespace = {}"
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(set_key.format("'same'"))
    connection.execute(set_key.format("lane_id"))
