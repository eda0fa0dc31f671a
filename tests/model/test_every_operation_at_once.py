"""Sixteen connections that call every operation on the same executions, and a reader.

`LEASEHOLD_SOAK_SECONDS` sets for how long.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from crowding_process import LANES, TOKENS, WEIGHTS
from outsiders import outsider_of
from processes import run_together
from store_checks import (
    assert_epochs_rise_by_one,
    assert_log_is_whole,
    assert_one_live_lease_each,
    assert_tables_equal_their_replay,
    assert_tenures_do_not_overlap,
)
from stores import outside

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable

    from stores import Query

PROGRAM = Path(__file__).with_name("crowding_process.py")
SECONDS = float(os.environ.get("LEASEHOLD_SOAK_SECONDS", "8"))
PROCESSES = 4
THREADS = 4
TIMEOUT_S = SECONDS + 120
PAUSE_S = 0.005
DRAIN_PAUSE_S = 0.05
DRAIN_ROUNDS = 400
PAGE = 200
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
UNFINISHED = ("pending", "delayed", "running")
OPERATIONS = {*WEIGHTS, "create_many", "create_named"}


class Tail:
    """Reads on from a position for as long as others write."""

    def __init__(self, url: str) -> None:
        self.ledger = leasehold.open(url, read_only=True)
        self.begun_at = self.position = self.lease_position = (
            self.ledger.read.settled_position()
        )
        self.events: list[int] = []
        self.lease_events: list[int] = []
        self.ended = threading.Event()

    def run(self) -> None:
        """Read until the end is told, and then to the end of the log."""
        while not self.ended.wait(PAUSE_S):
            self.read_page()
        while self.read_page():
            pass
        self.ledger.close()

    def read_page(self) -> int:
        """Read a page of events, and one of what happened to leases."""
        events = self.ledger.read.events(after=self.position, limit=PAGE)
        self.events += [event.position for event in events]
        rows = self.ledger.read.lease_events(after=self.lease_position, limit=PAGE)
        self.lease_events += [row.event_id for row in rows]
        self.position = self.events[-1] if self.events else self.begun_at
        if rows:
            self.lease_position = rows[-1].event_id
        return len(events) + len(rows)


@dataclass
class Crowd:
    """What the calls answered, and what was seen beside them."""

    url: str
    answered: dict[str, list[Any]] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    deadlocks: int = 0
    tail: Tail | None = None
    read_while_idle: int = 0

    def answers(self, name: str) -> list[Any]:
        """Return what was noted under a name, tuples in place of lists."""
        noted = self.answered.get(name, [])
        return [tuple(it) if isinstance(it, list) else it for it in noted]


def stay_idle(url: str, tail: Tail) -> int:
    """Hold a transaction with an id of its own open; return how much was read then."""
    quarter = threading.Event()
    quarter.wait(SECONDS / 4)
    with closing(outsider_of(url)) as idle:
        idle.execute("BEGIN")
        idle.execute("SELECT pg_current_xact_id(), count(*) AS n FROM stored_events")
        before = len(tail.events)
        quarter.wait(SECONDS / 2)
        read = len(tail.events) - before
        idle.execute("COMMIT")
    return read


@pytest.fixture(scope="module")
def crowd(lasting_store: Callable[[str], str]) -> Crowd:
    """Let all loose on a store for a while."""
    crowd = Crowd(lasting_store("postgres"))
    with leasehold.open(crowd.url) as ledger, outside(crowd.url) as query:
        ledger.create_execution(lane_id=LANES[0])
        ledger.create_execution(lane_id=LANES[1])
        crowd.answered["created"] = [
            [str(row.execution_id), None] for row in ledger.read.executions()
        ]
        ((deadlocks,),) = query(DEADLOCKS)
        crowd.tail = Tail(crowd.url)
        with ThreadPoolExecutor(2) as pool:
            tailing = pool.submit(crowd.tail.run)
            idling = pool.submit(stay_idle, crowd.url, crowd.tail)
            try:
                arguments = [
                    (crowd.url, number, THREADS, SECONDS) for number in range(PROCESSES)
                ]
                for printed in run_together(PROGRAM, arguments, timeout_s=TIMEOUT_S):
                    crowd.refused.update(printed["refused"])
                    for name, answers in printed["answered"].items():
                        crowd.answered.setdefault(name, []).extend(answers)
            finally:
                crowd.tail.ended.set()
                tailing.result(TIMEOUT_S)
            crowd.read_while_idle = idling.result(TIMEOUT_S)
        ((now,),) = query(DEADLOCKS)
        crowd.deadlocks = now - deadlocks
    return crowd


@pytest.fixture
def query(crowd: Crowd) -> Iterator[Query]:
    with outside(crowd.url) as query:
        yield query


def tenures(query: Query, condition: str) -> Counter[tuple[Any, ...]]:
    """Count the rows of `lease_event` that fulfil a condition, by tenure."""
    found = query(
        f"SELECT execution_id, lease_epoch FROM lease_event WHERE {condition}"
    )
    return Counter(found)


def of_topic(query: Query, topic: str) -> Counter[str]:
    """Count the events of a topic, by execution."""
    found = query(f"SELECT originator_id FROM stored_events WHERE topic = '{topic}'")
    return Counter(stream_id.partition("/")[0] for (stream_id,) in found)


def test_every_operation_was_answered_and_refused_and_nobody_was_deadlocked(
    crowd: Crowd,
) -> None:
    assert crowd.deadlocks == 0
    assert {name.partition(":")[0] for name in crowd.refused} < OPERATIONS
    for name in ("lease_conflict", "lease_expired", "lease_revoked", "invalid_grant"):
        assert any(it.endswith(name) for it in crowd.refused), name
    assert all(crowd.answers(name) for name in ("created", "resumed", "live", "read"))


def test_what_was_created_under_one_name_is_one_execution(
    crowd: Crowd, query: Query
) -> None:
    created = crowd.answers("created")
    by_key = {key: execution_id for execution_id, key in created if key}
    assert {(execution_id, key) for execution_id, key in created if key} == {
        (execution_id, key) for key, execution_id in by_key.items()
    }
    there = {it for (it,) in query("SELECT execution_id FROM exec_core")}
    assert {execution_id for execution_id, _ in created} == there
    assert of_topic(query, "execution.created") == Counter(there)


def test_every_lease_was_given_to_one_caller_and_ended_as_it_was_told(
    crowd: Crowd, query: Query
) -> None:
    acquired = "event_type IN ('acquired', 'reclaimed')"
    assert tenures(query, acquired) == Counter(crowd.answers("acquired"))
    assert tenures(query, "cause = 'resume_grant'") == Counter(crowd.answers("resumed"))
    assert tenures(query, "event_type = 'renewed'") == Counter(crowd.answers("renewed"))
    # A repeated complete or fail is answered as the first one was.
    completed = tenures(query, "cause = 'completed'")
    assert completed == Counter({*crowd.answers("completed")})
    failed = tenures(query, "cause IN ('retry_scheduled', 'failed')")
    assert failed == Counter({*crowd.answers("failed")})
    swept = tenures(query, "event_type = 'expired' AND cause = 'sweep'")
    assert swept.total() == sum(crowd.answers("leases_expired"))


def test_what_people_did_is_in_the_log_once(crowd: Crowd, query: Query) -> None:
    revoked = of_topic(query, "attempt.lease_revoked")
    assert revoked == Counter(crowd.answers("revoked"))
    replayed = of_topic(query, "execution.replayed")
    assert replayed == Counter(crowd.answers("replayed"))
    granted = of_topic(query, "execution.resume_grant_issued")
    assert granted == Counter(crowd.answers("granted"))
    # Repeated, a cancellation does nothing; so does a priority that stands already.
    cancelled = of_topic(query, "execution.cancelled")
    assert {*cancelled} == {*crowd.answers("cancelled")}
    assert of_topic(query, "execution.reprioritised") <= Counter(
        crowd.answers("reprioritised")
    )


def test_what_workers_told_is_in_the_log_once(crowd: Crowd, query: Query) -> None:
    progressed = of_topic(query, "attempt.progressed")
    assert progressed == Counter(it for it, _ in crowd.answers("progressed"))
    framed = crowd.answers("framed")
    kept = query(
        "SELECT execution_id, attempt_index, ts_ms, seq FROM stream_frame"
        " WHERE mode <> 'best_effort'"
    )
    assert {(it, index, f"{ts_ms}-{seq}") for it, index, ts_ms, seq in kept} == {
        (it, index, stream_id) for it, _, index, stream_id in framed
    }
    assert of_topic(query, "frame.appended") == Counter(it for it, *_ in framed)
    live = [(it, index, stream_id) for it, _, index, stream_id in crowd.answers("live")]
    assert len({*live}) == len(live)


def test_leases_follow_one_another_and_tables_equal_the_replay_of_a_whole_log(
    crowd: Crowd, query: Query
) -> None:
    assert_log_is_whole(query)
    assert_epochs_rise_by_one(query)
    assert_one_live_lease_each(query)
    assert_tenures_do_not_overlap(query)
    with leasehold.open(crowd.url, read_only=True) as ledger:
        assert_tables_equal_their_replay(ledger)


def test_a_reader_who_goes_on_from_a_position_misses_nothing(
    crowd: Crowd, query: Query
) -> None:
    tail = crowd.tail
    assert tail is not None
    assert crowd.read_while_idle > 0
    log = query("SELECT notification_id FROM stored_events ORDER BY 1")
    assert tail.events == [it for (it,) in log if it > tail.begun_at]
    rows = query("SELECT event_id FROM lease_event ORDER BY 1")
    assert tail.lease_events == [it for (it,) in rows if it > tail.begun_at]


def test_no_execution_is_lost(crowd: Crowd) -> None:
    pause = threading.Event()
    with leasehold.open(crowd.url, durability="normal") as ledger:
        for _ in range(DRAIN_ROUNDS):
            for lane_id in LANES:
                while handle := ledger.claim(
                    lane_id, capabilities=TOKENS, worker_id="last"
                ):
                    ledger.complete(handle)
            counts = ledger.read.counts()
            if not any(counts[state] for state in UNFINISHED):
                return
            pause.wait(DRAIN_PAUSE_S)
    raise AssertionError(counts)
