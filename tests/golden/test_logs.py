"""Logs that were once stored, and the rows that the projections make of them."""

import json
from contextlib import closing

import pytest
from golden_files import (
    HERE,
    log_of,
    log_text,
    read_log,
    restore,
    rows_of,
    store_in_memory,
)
from make_samples import rows_path, rows_text
from twins import differences, replayed

import leasehold
from leasehold.adapters.rebuilding import rebuild_projections
from leasehold.adapters.sqlite.connecting import Target
from leasehold.adapters.sqlite.store import SQLiteStore
from leasehold.domain.catalogue import BY_TOPIC
from leasehold.domain.states import PublicState
from leasehold.projections.registry import KEYS

LOGS = sorted((HERE / "logs").glob("*.ndjson"))

each_log = pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)


def test_there_is_a_log() -> None:
    assert LOGS


@each_log
def test_a_log_makes_the_rows_that_are_kept_beside_it(path) -> None:
    expected = json.loads(rows_path(path).read_text("utf-8"))
    with store_in_memory() as store:
        restore(store, read_log(path))
        made = rows_of(store)
    assert made.keys() == expected.keys() == KEYS.keys()
    for table, rows in expected.items():
        assert made[table] == rows, table


@each_log
def test_the_rows_are_written_the_same_again(path) -> None:
    assert rows_text(read_log(path)) == rows_path(path).read_text("utf-8")


@each_log
def test_a_log_comes_back_byte_for_byte(path) -> None:
    with store_in_memory() as store:
        restore(store, read_log(path))
        assert log_text(log_of(store)) == path.read_text("utf-8")


@each_log
def test_a_restored_log_is_rebuilt_and_replayed_to_the_same_rows(path) -> None:
    with store_in_memory() as store:
        restore(store, read_log(path))
        before = rows_of(store)
        rebuild_projections(store)
        assert rows_of(store) == before
        with replayed(store) as twin:
            assert differences(store, twin) == []
            assert rows_of(twin) == before


@each_log
def test_a_restored_log_can_be_read_and_written_on(path, tmp_path) -> None:
    file = tmp_path / "restored.db"
    log = read_log(path)
    with closing(SQLiteStore(Target(file, "normal", read_only=False))) as store:
        store.prepare()
        restore(store, log)
    now_ms = max(stored.decode().recorded_at_ms for stored in log) + 86_400_000
    with leasehold.open(f"sqlite:///{file}", clock=lambda: now_ms) as ledger:
        rows = ledger.read.executions()
        counted = ledger.read.counts()
        assert {state: n for state, n in counted.items() if n} == {
            state: sum(row.public_state is state for row in rows)
            for state in {row.public_state for row in rows}
        }
        for row in rows:
            if row.lifecycle_phase == "terminal":
                ledger.replay_execution(row.execution_id, actor="ann", reason="again")
                assert ledger.claim(row.lane_id, worker_id="late") is not None
        assert ledger.read.counts()[PublicState.RUNNING] > 0


def test_every_event_is_in_some_log() -> None:
    told = {stored.topic for path in LOGS for stored in read_log(path)}
    assert told == set(BY_TOPIC)


def test_every_kind_of_lease_event_is_in_some_log() -> None:
    rows = [
        row
        for path in LOGS
        for row in json.loads(rows_path(path).read_text("utf-8"))["lease_event"]
    ]
    assert {row["event_type"] for row in rows} == set(leasehold.LeaseEventType)
    assert {row["cause"] for row in rows} == set(leasehold.LeaseCause)
