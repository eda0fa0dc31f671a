"""Eight processes on one store: everything ends once, nothing is held twice.

`LEASEHOLD_MODEL_EXECUTIONS` sets how much there is to do.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from processes import run_together
from store_checks import (
    assert_epochs_rise_by_one,
    assert_log_is_whole,
    assert_one_live_lease_each,
    assert_tables_equal_their_replay,
    assert_tenures_do_not_overlap,
)
from stores import outside
from working_process import LANE

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stores import Query

PROGRAM = Path(__file__).with_name("working_process.py")
EXECUTIONS = os.environ.get("LEASEHOLD_MODEL_EXECUTIONS")
EXECUTIONS_IN_CI = {"file": 5_000, "postgres": 2_000}
PROCESSES = 8
TIMEOUT_S = 240
EXPECTED_REFUSALS = {"lease_conflict", "lease_expired", "execution_not_active"}
OUTCOMES = {"completed", "failed", "retried", "renewed", "progressed", "forgotten"}


@pytest.fixture(scope="module", params=sorted(EXECUTIONS_IN_CI))
def kind(request: pytest.FixtureRequest) -> str:
    """Name each kind of store in turn."""
    named: str = request.param
    return named


@pytest.fixture(scope="module")
def executions(kind: str) -> int:
    return int(EXECUTIONS or EXECUTIONS_IN_CI[kind])


@pytest.fixture(scope="module")
def url(kind: str, executions: int, lasting_store: Callable[[str], str]) -> str:
    """Create the executions; a transient failure is retried soon, twice at most."""
    url = lasting_store(kind)
    policy = leasehold.RetryPolicy(max_retries=2, backoff=leasehold.Fixed(5))
    spec: dict[str, Any] = {"lane_id": LANE, "retry_policy": policy, "payload": b"x"}
    with leasehold.open(url, durability="normal") as ledger:
        ledger.create_executions([spec] * executions)
    return url


@pytest.fixture(scope="module")
def told(url: str) -> Counter[str]:
    """Run the processes to their end; give what they were told, added up."""
    arguments = [(url, number) for number in range(PROCESSES)]
    told: Counter[str] = Counter()
    for counted in run_together(PROGRAM, arguments, timeout_s=TIMEOUT_S):
        told.update(counted)
    return told


@pytest.fixture
def query(url: str, told: Counter[str]) -> Iterator[Query]:
    """Read the store when the processes have ended."""
    with outside(url) as query:
        yield query


def test_every_execution_ends_once_and_as_the_workers_were_told(
    told: Counter[str], query: Query, executions: int
) -> None:
    states = dict(query("SELECT public_state, count(*) FROM exec_core GROUP BY 1"))
    assert sum(states.values()) == executions
    assert states == {"completed": told["completed"], "failed": told["failed"]}
    ends = query(
        "SELECT count(*) AS ends, count(DISTINCT originator_id) AS ended"
        " FROM stored_events"
        " WHERE topic IN ('execution.completed', 'execution.failed',"
        " 'execution.cancelled', 'execution.expired')"
    )
    assert ends == [(executions, executions)]


def test_no_error_reaches_a_worker_but_a_refusal_of_its_lease(
    told: Counter[str],
) -> None:
    assert set(told) <= EXPECTED_REFUSALS | OUTCOMES
    assert told["forgotten"] > 0


def test_lost_leases_are_taken_over_and_their_holders_refused(
    told: Counter[str], query: Query
) -> None:
    kinds = dict(query("SELECT event_type, count(*) FROM lease_event GROUP BY 1"))
    assert kinds["reclaimed"] > 0
    assert kinds["refused"] == sum(told[code] for code in EXPECTED_REFUSALS)
    assert kinds["renewed"] == told["renewed"]


def test_no_two_leases_of_an_execution_overlap(query: Query) -> None:
    assert_tenures_do_not_overlap(query)
    assert_one_live_lease_each(query)
    assert_epochs_rise_by_one(query)


def test_every_table_equals_the_replay_of_the_log(
    url: str, query: Query, executions: int
) -> None:
    assert assert_log_is_whole(query) > 4 * executions
    with leasehold.open(url, read_only=True) as ledger:
        assert_tables_equal_their_replay(ledger)
