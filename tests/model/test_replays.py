"""Random histories: what is replayed equals what was kept while it happened."""

from __future__ import annotations

import io
import os
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from bundle_lines import exported, until
from histories import History, seeded_draws
from reading_all import bare_log, everything, tables
from stores import NewStore, in_a_file, in_a_schema, in_memory

import leasehold
from leasehold.adapters.differing import COLUMNS
from leasehold.adapters.guarding import REFUSAL_COUNTS
from leasehold.domain.catalogue import BY_TOPIC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledger_schemas import LedgerSchemas

SEEDS = int(os.environ.get("LEASEHOLD_MODEL_HISTORIES", "4"))
STEPS = 250


@pytest.fixture(params=["memory", "file", "postgres"])
def new_store(request: pytest.FixtureRequest) -> NewStore:
    """Open each kind of store in turn."""
    if request.param == "postgres":
        schemas: LedgerSchemas = request.getfixturevalue("postgres")
        return lambda clock: in_a_schema(schemas, clock)
    return {"memory": in_memory, "file": in_a_file}[request.param]


@contextmanager
def happened(new_store: NewStore, seed: int) -> Iterator[tuple[Any, History]]:
    """Give a ledger with a history."""
    REFUSAL_COUNTS.forget()  # It is kept for the process, and the leases are the same.
    history = History(seed)
    with new_store(history.clock) as store:
        behind: Any = store.ledger._store
        history.make(leasehold.Ledger(behind, seeded_draws(seed)), STEPS)
        # The clock of the histories steps back: now is not before what is recorded.
        log = store.ledger.read.events(limit=100_000)
        history.now_ms = max(history.now_ms, *(it.recorded_at_ms for it in log))
        yield store.ledger, history


@contextmanager
def built(bundle: bytes, now_ms: int = 0) -> Iterator[leasehold.Ledger]:
    """Give a store that was built from a bundle."""
    with leasehold.open("sqlite://", clock=lambda: now_ms) as ledger:
        ledger.import_bundle(io.BytesIO(bundle))
        yield ledger


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_last_state_is_that_of_the_live_tables(seed, new_store) -> None:
    with happened(new_store, seed) as (ledger, history):
        assert ledger.verify().faults == ()
        assert ledger.rebuild() == []
        with ledger.as_of(at_ms=history.now_ms) as read:
            assert everything(read, history.ids) == everything(ledger.read, history.ids)
        with ledger.as_of() as one, ledger.as_of() as other:
            assert tables(replayed(one)) == tables(replayed(other)) == tables(ledger)
            assert bare_log(replayed(one)) == bare_log(ledger)


def replayed(read: Any) -> leasehold.Ledger:
    """Give what lies behind a reader."""
    return leasehold.Ledger(read._store)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_an_earlier_state_is_that_of_a_store_built_from_the_first_events(
    seed, new_store
) -> None:
    chance = random.Random(seed)
    with happened(new_store, seed) as (ledger, history):
        bundle, log = exported(ledger), ledger.read.events(limit=100_000)
        for _ in range(3):
            last = chance.choice(log)
            first = [it for it in log if it.position <= last.position]
            now_ms = max(it.recorded_at_ms for it in first)
            cut = until(bundle, last.position)
            with built(cut, now_ms) as store, ledger.as_of(last.position) as read:
                answers = everything(read, history.ids)
                assert answers == everything(store.read, history.ids)
                assert tables(replayed(read)) == tables(store)
                assert exported(store) == cut
                assert store.verify().faults == ()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_history_comes_through_both_databases_unchanged(
    seed, new_store, postgres
) -> None:
    with happened(new_store, seed) as (ledger, _):
        bundle, rows, log = exported(ledger), tables(ledger), bare_log(ledger)
    for store in (in_memory, lambda clock: in_a_schema(postgres, clock), in_a_file):
        with store(lambda: 0) as taken:
            taken.ledger.import_bundle(io.BytesIO(bundle))
            assert tables(taken.ledger) == rows
            assert bare_log(taken.ledger) == log
            assert taken.ledger.verify().faults == ()
            bundle = exported(taken.ledger)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_differs_and_why_is_what_states_held_side_by_side_tell(
    seed, new_store
) -> None:
    chance = random.Random(seed)
    with happened(new_store, seed) as (ledger, history):
        positions = [0, *(it.position for it in ledger.read.events(limit=100_000))]
        for _ in range(3):
            before, after = chance.choices(positions, k=2)
            assert differences(ledger, before, after) == {
                (it.table, *it.key.values()): (it.before, it.after)
                for it in ledger.diff(before, after)
            }
        for execution_id in chance.sample(sorted({*history.ids}), 3):
            check_why(ledger, execution_id)


def differences(ledger: leasehold.Ledger, before: int, after: int) -> dict[Any, Any]:
    """Compare two states row by row."""
    one, other = seen_at(ledger, before), seen_at(ledger, after)
    return {
        key: (one.get(key), other.get(key))
        for key in {*one, *other}
        if one.get(key) != other.get(key)
    }


KEYS = {
    "exec_core": ["execution_id"],
    "attempt": ["execution_id", "attempt_index"],
    "summary": ["execution_id", "attempt_index"],
    "lease_event": ["event_id"],
    "stream_frame": ["execution_id", "attempt_index", "ts_ms", "seq"],
}


def seen_at(ledger: leasehold.Ledger, position: int) -> dict[Any, Any]:
    """Read the tables as plain SQL shows them, in a store replayed so far."""
    found = {}
    with ledger.as_of(position) as read:
        read.counts()
        private: Any = read._store
        for table, key in KEYS.items():
            for row in private._private.query_plain(f"SELECT * FROM {table}"):
                shown = {name: row[name] for name in COLUMNS[table]}
                found[table, *(row[name] for name in key)] = shown
    return found


def check_why(ledger: leasehold.Ledger, execution_id: Any) -> None:
    """Hold every answer against the states after each event."""
    last: dict[Any, Any] = {}
    values: dict[Any, Any] = {}
    for event in ledger.read.history(execution_id):
        with ledger.as_of(event.position) as read:
            read.execution(execution_id)
            private: Any = read._store
            for table in ("exec_core", "attempt", "summary"):
                for row in private._private.query_plain(f"SELECT * FROM {table}"):
                    index = None if table == "exec_core" else row["attempt_index"]
                    for name in COLUMNS[table]:
                        place = table, index, name
                        if place not in values or values[place] != row[name]:
                            values[place], last[place] = row[name], event
    for (table, index, name), event in last.items():
        if table == "exec_core":
            assert ledger.why(execution_id, name) == event, name
        elif table == "attempt" or name not in COLUMNS["attempt"]:
            assert ledger.why(execution_id, name, index) == event, (table, name)


def test_the_histories_have_events_of_every_kind() -> None:
    topics = set()
    for seed in range(max(SEEDS, 10)):
        with happened(in_memory, seed) as (ledger, _):
            topics |= {it.topic for it in ledger.read.events(limit=100_000)}
    assert topics == {*BY_TOPIC}
