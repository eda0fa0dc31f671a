"""The hot queries find their rows by an index: the plans that SQLite makes for them.

A slow plan gives right answers, so nothing but this would notice it on a small store.
"""

from __future__ import annotations

import re
import sqlite3
from importlib import resources
from typing import TYPE_CHECKING

import pytest

import leasehold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUERIES = {
    file.name.removesuffix(".sql"): file.read_text(encoding="utf-8")
    for file in (resources.files("leasehold.adapters.sqlite") / "queries").iterdir()
    if file.name.endswith(".sql")
}
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
    "last_frame": {"sqlite_autoindex_stream_frame_1"},
    "load_execution": {"sqlite_autoindex_exec_state_1", "sqlite_autoindex_attempt_1"},
    "presented_lease": {"lease_event_of_execution"},
    "summary": {"sqlite_autoindex_summary_1"},
    "trim_best_effort_frames": {"stream_frame_best_effort"},
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
    "presented_lease": "puts the end of a lease before its renewals",
}
PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")
COMMENT = re.compile(r"--[^\n]*")


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
    names = PARAMETER.findall(COMMENT.sub("", sql))
    rows = store.execute(f"EXPLAIN QUERY PLAN {sql}", dict.fromkeys(names, 1))
    return [row[3] for row in rows]


def tables(store: sqlite3.Connection, name: str) -> set[str]:
    """Return the names and aliases under which a query reads real tables."""
    sql = COMMENT.sub("", QUERIES[name])
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
