"""Processes whose clocks are stepped or drift: no lease is held twice or for ever.

`LEASEHOLD_CLOCK_RUNS` sets how often each kind of wrong clock is tried.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from store_checks import assert_epochs_rise_by_one, assert_tenures_do_not_overlap
from stores import outside

import leasehold
from leasehold import AuditCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stores import Query

PROGRAM = Path(__file__).with_name("skewed_process.py")
RUNS = int(os.environ.get("LEASEHOLD_CLOCK_RUNS", "1"))
ROUNDS = 14
LANE = "work"
START_MS = 1_700_000_000_000
TTL_MS = 3_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
WAIT_S_MAX = 60.0
PAUSE_S = 0.02
RETRY = leasehold.RetryPolicy(max_retries=999, backoff=leasehold.Fixed(0))

RIGHT: dict[str, Any] = {"rate": 1, "steps": {}}
BACK = {"rate": 1, "steps": {"6": -HOUR_MS}}
AHEAD = {"rate": 1, "steps": {"6": DAY_MS}}
CLOCKS = {
    "all are right": [RIGHT] * 3,
    "one is stepped back an hour": [BACK, RIGHT, RIGHT],
    "all are stepped back an hour": [BACK] * 3,
    "one jumps forward a day": [AHEAD, RIGHT, RIGHT],
    "all jump forward a day": [AHEAD] * 3,
    "each drifts": [{"rate": rate, "steps": {}} for rate in (0.5, 1, 4)],
    "each does as it likes": [
        {"rate": 2, "steps": {"3": -HOUR_MS, "6": DAY_MS, "9": -DAY_MS}},
        {"rate": 0.1, "steps": {"4": DAY_MS, "8": -HOUR_MS}},
        {"rate": 1, "steps": {"3": -1, "6": -HOUR_MS, "10": 2 * HOUR_MS}},
    ],
}
ARE_CLAMPED = {"one is stepped back an hour", "all are stepped back an hour"}
LOSE_LEASES = {"one jumps forward a day", "all jump forward a day"}

Run = Callable[[dict[str, Any]], list[Any]]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Give a call that runs workers and returns what they were told."""
    server = subprocess.Popen(
        [sys.executable, PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    orders, answers = server.stdin, server.stdout
    assert orders is not None
    assert answers is not None

    def run_workers(order: dict[str, Any]) -> list[Any]:
        orders.write(json.dumps(order) + "\n")
        orders.flush()
        told: list[Any] = json.loads(answers.readline())
        assert None not in told, "a worker broke"
        return told

    yield run_workers
    orders.close()
    answers.close()
    assert server.wait(timeout=30) == 0


def check_what_was_told(told: list[Any], ledger: leasehold.Ledger) -> None:
    """Hold what all workers were told against each other and against the store."""
    lines = [line for worker in told for line in worker["told"]]
    leases = Counter((it["id"], it["epoch"]) for it in lines if it["what"] == "claimed")
    assert set(leases.values()) == {1}, "a lease was given twice"
    ends = Counter(
        (it["id"], it["epoch"]) for it in lines if it["what"] in ("complete", "fail")
    )
    assert set(ends.values()) <= {1}
    completed = {it["id"] for it in lines if it["what"] == "complete"}
    for execution_id in completed:
        row = ledger.read.execution(UUID(execution_id))
        assert row is not None
        assert row.public_state == "completed"


def check_leases_end(query: Query, ttl_ms: int) -> None:
    """Check that each lease ends a ttl after it was given or renewed, at the latest.

    One that is renewed while time does not pass lasts a millisecond longer each time.
    """
    until: dict[str, int] = {}
    rows = query(
        "SELECT execution_id, event_type, expires_at_ms, occurred_at_ms"
        " FROM lease_event WHERE event_type IN ('acquired', 'reclaimed', 'renewed')"
        " ORDER BY event_id"
    )
    for execution_id, event_type, expires_at_ms, occurred_at_ms in rows:
        most = occurred_at_ms + ttl_ms
        if event_type == "renewed":
            most = max(most, until[execution_id] + 1)
        assert expires_at_ms <= most
        until[execution_id] = expires_at_ms


def check_store(ledger: leasehold.Ledger, url: str, ttl_ms: int) -> Counter[str]:
    """Check the whole log; count what it shows of the clocks."""
    with outside(url) as query:
        assert_epochs_rise_by_one(query)
        assert_tenures_do_not_overlap(query)
        check_leases_end(query, ttl_ms)
    events = []
    while page := ledger.read.events(after=events[-1].position if events else 0):
        events += page
    clamped = sum(it.event.clock_at_ms is not None for it in events)
    taken_over = sum(it.topic == "attempt.interrupted" for it in events)
    report = ledger.audit()
    found = Counter(it.check for it in report.findings)
    assert report.ok, report.findings
    assert (found[AuditCheck.CLOCK_REGRESSION] > 0) == (clamped > 0)
    assert found[AuditCheck.ORPHAN] == 0
    assert ledger.verify().ok
    return Counter(
        events=len(events),
        tenures=report.figures.tenures,
        clamped=clamped,
        taken_over=taken_over,
        refused=report.figures.refusals,
    )


def end_all(ledger: leasehold.Ledger, executions: int) -> None:
    """Take over and end what is left, as soon as its lease has run out."""
    pause, give_up_at = threading.Event(), time.monotonic() + WAIT_S_MAX
    while ledger.read.counts()["completed"] < executions:
        handle = ledger.claim(LANE, worker_id="last", lease_ttl_ms=TTL_MS)
        if handle is not None:
            ledger.complete(handle)
        else:
            assert time.monotonic() < give_up_at, "a lease lives for ever"
            pause.wait(PAUSE_S)
    assert ledger.read.expired_leases() == []


def opened(url: str, clock: Callable[[], int] | None) -> leasehold.Ledger:
    """Open a ledger; no power is lost here."""
    return leasehold.open(url, clock=clock, durability="normal")


def create(url: str, clock: Callable[[], int] | None) -> int:
    """Create more executions than are claimed; return how many."""
    specs = [{"lane_id": LANE, "retry_policy": RETRY}] * (3 * ROUNDS + 1)
    with opened(url, clock) as ledger:
        return len(ledger.create_executions(specs))


@pytest.mark.parametrize("kind", ["file", "postgres"])
@pytest.mark.parametrize("clocks", CLOCKS)
def test_with_wrong_clocks_no_lease_is_held_twice_or_for_ever(
    clocks: str,
    kind: str,
    run: Run,
    new_store: Callable[..., str],
    record_property: Callable[[str, object], None],
) -> None:
    counted: Counter[str] = Counter()
    for seed in range(RUNS):
        url = new_store(kind, f"ledger-{seed}")
        executions = create(url, lambda: START_MS)
        order = {"url": url, "seed": seed, "rounds": ROUNDS, "hosts": False}
        told = run({**order, "clocks": CLOCKS[clocks]})
        # The latest that any clock has shown; leases run a little longer.
        later_ms = max(worker["highest_ms"] for worker in told) + 2 * TTL_MS
        with opened(url, lambda now_ms=later_ms: now_ms) as ledger:
            check_what_was_told(told, ledger)
            end_all(ledger, executions)
            shown = check_store(ledger, url, TTL_MS)
        assert shown["clamped"] > 0 or clocks not in ARE_CLAMPED
        assert shown["clamped"] == 0 or clocks != "all are right"
        assert shown["taken_over"] > 0 or clocks not in LOSE_LEASES
        counted += shown
    line = ", ".join(f"{count} {name}" for name, count in counted.items())
    record_property("faults", f"{clocks} ({kind}): {RUNS} runs, {line}")


def test_the_clocks_of_hosts_do_not_count_on_postgres(
    run: Run,
    new_store: Callable[..., str],
    record_property: Callable[[str, object], None],
) -> None:
    counted: Counter[str] = Counter()
    for seed in range(RUNS):
        url = new_store("postgres")
        executions = create(url, None)
        order = {"url": url, "seed": seed, "rounds": ROUNDS, "hosts": True}
        told = run({**order, "clocks": CLOCKS["each does as it likes"]})
        with opened(url, None) as ledger:
            check_what_was_told(told, ledger)
            end_all(ledger, executions)
            shown = check_store(ledger, url, TTL_MS)
        assert shown["clamped"] == 0
        counted += shown
    line = ", ".join(f"{count} {name}" for name, count in counted.items())
    record_property("faults", f"clocks of hosts: {RUNS} runs, {line}")
