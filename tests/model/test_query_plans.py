"""The hot queries find their rows by an index: the plans that SQLite makes for them.

A slow plan gives right answers, so nothing but this would notice it on a small store.
"""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

import pytest

import leasehold
from leasehold.adapters.queries import named_queries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUERIES = named_queries("leasehold.adapters.sqlite")
# What must stay quick in a large store, and the indexes that must serve it.
HOT = {
    "attempt_end": {"sqlite_autoindex_attempt_1", "sqlite_autoindex_stored_events_1"},
    "best_effort_rate": {"PRIMARY KEY"},
    "candidates": {"exec_state_claimable", "sqlite_autoindex_exec_state_1"},
    "created_by_id": {"sqlite_autoindex_exec_state_1"},
    "created_by_key": {"exec_state_idempotency"},
    "due_in_lane": {"exec_state_deadline", "exec_state_delayed", "attempt_lease_due"},
    "grant_by_id": {"sqlite_autoindex_resume_grant_1"},
    "history": {"sqlite_autoindex_stored_events_1"},
    "history_page": {"sqlite_autoindex_stored_events_1", "PRIMARY KEY"},
    "last_frame": {"sqlite_autoindex_stream_frame_1"},
    "load_execution": {"sqlite_autoindex_exec_state_1", "sqlite_autoindex_attempt_1"},
    "oldest_orphan": {"exec_state_listed", "sqlite_autoindex_attempt_1"},
    "presented_lease": {"lease_event_of_execution"},
    "seen_execution": {"sqlite_autoindex_exec_state_1", "sqlite_autoindex_attempt_1"},
    "summary": {"sqlite_autoindex_summary_1"},
    "tenures": {
        "a USING INTEGER PRIMARY KEY (rowid>?)",
        "lease_event_of_execution (execution_id=? AND event_id>? AND event_id<?)",
        "lease_event_refused (execution_id=? AND lease_id=?)",
        "sqlite_autoindex_attempt_1",
    },
    "tenures_of_execution": {
        "a USING INDEX lease_event_of_execution (execution_id=? AND event_id>?)",
        "lease_event_refused (execution_id=? AND lease_id=?)",
        "sqlite_autoindex_attempt_1",
    },
    "tenures_of_worker": {
        "a USING INDEX lease_event_of_worker (worker_id=? AND event_id>?)",
        "lease_event_of_execution (execution_id=? AND event_id>? AND event_id<?)",
        "lease_event_refused (execution_id=? AND lease_id=?)",
    },
    "trim_best_effort_frames": {"stream_frame_best_effort"},
    "waiting_in_lane": {"exec_state_claimable", "sqlite_autoindex_exec_state_1"},
}
# Reads that go through a table by intent, and why.
WALKS = {
    "counts": "counts every execution",
    "events": "a page of the log, in its own order",
    "events_of_topics": "a page of the log, in its own order",
    "executions": "a page of executions, in the order of their ids",
    "expired_leases": "the leases that are out, of every lane",
    "lease_events": "a page of the table, in its own order",
    "settled_position": "the end of the log",
}
SORTS = {
    "counts": "groups by public state",
    "expired_leases": "merges two sources by the time of expiry",
    "history": "merges the streams of one execution by position",
    "history_page": "the ids alone, by the same",
    "oldest_orphan": "finds the first of what is active by the end of its lease",
    "presented_lease": "puts the end of a lease before its renewals",
}
PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("plans") / "ledger.db"
    leasehold.open(f"sqlite:///{path}").close()
    connection = sqlite3.connect(path)
    yield connection
    connection.close()


def plan(store: sqlite3.Connection, name: str) -> list[str]:
    """Return the lines of the plan."""
    sql = QUERIES[name]
    names = PARAMETER.findall(sql)
    rows = store.execute(f"EXPLAIN QUERY PLAN {sql}", dict.fromkeys(names, 1))
    return [row[3] for row in rows]


def tables(store: sqlite3.Connection, name: str) -> set[str]:
    """Return the names and aliases under which a query reads real tables."""
    sql = QUERIES[name]
    real = {
        row[0]
        for row in store.execute("SELECT name FROM sqlite_master WHERE sql <> ''")
    }
    found = set()
    for table, alias in re.findall(r"(?:FROM|JOIN) (\w+)(?: AS (\w+))?", sql):
        if table in real:
            found |= {table, alias} - {""}
    return found


def scans(store: sqlite3.Connection, name: str) -> list[str]:
    """Return the lines that go through a real table from end to end."""
    real = tables(store, name)
    lines = [line.split() for line in plan(store, name)]
    return [" ".join(it) for it in lines if it[0] == "SCAN" and it[1] in real]


@pytest.mark.parametrize("name", sorted(HOT))
def test_a_hot_query_is_served_by_its_indexes(
    store: sqlite3.Connection, name: str
) -> None:
    lines = plan(store, name)
    served = " ".join(line for line in lines if line.startswith("SEARCH"))
    for index in HOT[name]:
        assert index in served, f"{index} is not used:\n" + "\n".join(lines)


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_no_query_goes_through_a_table_but_those_that_are_meant_to(
    store: sqlite3.Connection, name: str
) -> None:
    assert name in WALKS or scans(store, name) == []


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_no_query_sorts_but_those_that_are_meant_to(
    store: sqlite3.Connection, name: str
) -> None:
    sorting = [line for line in plan(store, name) if "TEMP B-TREE" in line]
    assert name in SORTS or sorting == []


def test_the_lists_of_this_test_name_queries_that_exist() -> None:
    assert {*HOT, *WALKS, *SORTS} <= set(QUERIES)


# A store with this many executions, each with so many renewals, then completed.
EXECUTIONS, RENEWALS, SHORT_PAGE = 400, 3, 10


def made_up(store: sqlite3.Connection, executions: int) -> None:
    """Fill the tables that tell of leases with executions that take turns."""
    store.executescript("DELETE FROM lease_event; DELETE FROM attempt;")
    events = [
        ("acquired", "claim"),
        *[("renewed", "renew")] * RENEWALS,
        ("revoked", "completed"),
    ]
    store.executemany(
        "INSERT INTO lease_event (execution_id, attempt_index, lease_id, lease_epoch,"
        " event_type, cause, worker_id, expires_at_ms, occurred_at_ms)"
        " VALUES ('e' || ?1, 0, 'l' || ?1, 1, ?2, ?3, 'w', ?4 + 1000, ?4)",
        (
            (number, *events[step], 100 * step)
            for step in range(len(events))
            for number in range(executions)
        ),
    )
    store.execute(
        "INSERT INTO attempt (execution_id, attempt_index, worker_id, lease_id,"
        " lease_epoch, started_at_ms, lane_id, lease_ttl_ms, lease_state,"
        " stream_version, stream_sha256, frames_version, last_event_at_ms)"
        " SELECT execution_id, 0, worker_id, lease_id, 1, 0, 'lane', 1, 'ended',"
        " 1, '', 0, 0 FROM lease_event WHERE event_type = 'acquired'"
    )


def steps_of(store: sqlite3.Connection, name: str, **asked: object) -> tuple[int, int]:
    """Run a query of tenures; return how many rows it gave, and SQLite's own steps."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    unasked = dict.fromkeys(PARAMETER.findall(QUERIES[name]))
    values = {**unasked, "after": 0, "now_ms": 0, "most": 1_000_000, **asked}
    store.set_progress_handler(count, 1)
    try:
        rows = store.execute(QUERIES[name], values).fetchall()
    finally:
        store.set_progress_handler(None, 1)
    return len(rows), steps


@pytest.mark.parametrize("name", ["tenures", "tenures_of_worker"])
def test_a_page_of_tenures_costs_the_same_in_a_larger_store(
    store: sqlite3.Connection, name: str
) -> None:
    asked = {"worker_id": "w", "most": SHORT_PAGE}
    costs = []
    for executions in (EXECUTIONS // 4, EXECUTIONS):
        made_up(store, executions)
        rows, steps = steps_of(store, name, **asked)
        assert rows == SHORT_PAGE
        costs.append(steps)
        last = store.execute("SELECT max(event_id) FROM lease_event").fetchone()[0]
        assert steps_of(store, name, **asked, after=last)[0] == 0
    assert costs[1] < 1.1 * costs[0]


FILTERS = [
    ("tenures", {}),
    ("tenures", {"lane_id": "lane"}),
    ("tenures", {"since_ms": 1}),
    ("tenures", {"lane_id": "elsewhere"}),
    ("tenures", {"since_ms": 10**15}),
    ("tenures_of_worker", {"worker_id": "w", "since_ms": 1}),
]


@pytest.mark.parametrize(("name", "asked"), FILTERS)
def test_reading_all_tenures_costs_as_much_as_there_are(
    store: sqlite3.Connection, name: str, asked: dict[str, object]
) -> None:
    costs = []
    for executions in (EXECUTIONS // 4, EXECUTIONS):
        made_up(store, executions)
        rows, steps = steps_of(store, name, **asked)
        assert rows in (0, executions)
        costs.append(steps)
    assert 3 < costs[1] / costs[0] < 4.5


def test_the_tenures_of_an_execution_cost_as_much_as_it_has_events(
    store: sqlite3.Connection,
) -> None:
    costs = []
    for tenures in (EXECUTIONS // 4, EXECUTIONS):
        made_up(store, tenures)
        # All of them one after another in one execution, which was refused much.
        store.executescript(
            "CREATE TEMP TABLE told AS SELECT * FROM lease_event;"
            "DELETE FROM lease_event;"
            "INSERT INTO lease_event"
            " SELECT row_number() OVER (ORDER BY length(execution_id), execution_id,"
            " event_id), 'e', attempt_index, lease_id, lease_epoch, event_type,"
            " cause, worker_id, NULL, NULL, expires_at_ms, occurred_at_ms, NULL,"
            " NULL, NULL FROM told;"
            "INSERT INTO lease_event SELECT 1000000 + event_id, 'e', 0, lease_id, 1,"
            " 'refused', 'lease_conflict', 'w', NULL, NULL, NULL, 0, 'renew', 0, 1"
            " FROM lease_event WHERE event_type = 'acquired';"
            "DROP TABLE told;"
        )
        rows, steps = steps_of(store, "tenures_of_execution", execution_id="e")
        assert rows == tenures
        costs.append(steps)
    assert 3 < costs[1] / costs[0] < 4.5
