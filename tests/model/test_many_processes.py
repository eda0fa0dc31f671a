"""Eight processes on one file: everything ends once, nothing is held twice."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from store_checks import (
    assert_epochs_rise_by_one,
    assert_log_is_whole,
    assert_one_live_lease_each,
    assert_tables_equal_their_replay,
    assert_tenures_do_not_overlap,
)
from working_process import LANE

import leasehold

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).with_name("working_process.py")
EXECUTIONS = int(os.environ.get("LEASEHOLD_MODEL_EXECUTIONS", "5000"))
PROCESSES = 8
TIMEOUT_S = 240
EXPECTED_REFUSALS = {"lease_conflict", "lease_expired", "execution_not_active"}
OUTCOMES = {"completed", "failed", "retried", "renewed", "progressed", "forgotten"}


def prepare(path: Path) -> None:
    """Create the executions; a transient failure is retried soon, twice at most."""
    policy = leasehold.RetryPolicy(max_retries=2, backoff=leasehold.Fixed(5))
    spec: dict[str, Any] = {"lane_id": LANE, "retry_policy": policy, "payload": b"x"}
    with leasehold.open(f"sqlite:///{path}", durability="normal") as ledger:
        ledger.create_executions([spec] * EXECUTIONS)


def run_workers(path: Path) -> Counter[str]:
    """Run the processes to their end; return what they were told, added up."""
    workers = [
        subprocess.Popen(
            [sys.executable, PROGRAM, path, str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    told: Counter[str] = Counter()
    try:
        for worker in workers:
            output, errors = worker.communicate(timeout=TIMEOUT_S)
            assert worker.returncode == 0, errors
            told.update(json.loads(output))
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.communicate()
    return told


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counter[str]]:
    path = tmp_path_factory.mktemp("processes") / "ledger.db"
    prepare(path)
    return path, run_workers(path)


@pytest.fixture
def file(told: tuple[Path, Counter[str]]) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(told[0])
    yield connection
    connection.close()


def test_every_execution_ends_once_and_as_the_workers_were_told(
    told: tuple[Path, Counter[str]], file: sqlite3.Connection
) -> None:
    states = dict(
        file.execute(
            "SELECT public_state, count(*) FROM exec_core GROUP BY 1"
        ).fetchall()
    )
    answers = told[1]
    assert sum(states.values()) == EXECUTIONS
    assert states == {"completed": answers["completed"], "failed": answers["failed"]}
    ends = file.execute(
        "SELECT count(*), count(DISTINCT originator_id) FROM stored_events"
        " WHERE topic IN ('execution.completed', 'execution.failed',"
        " 'execution.cancelled', 'execution.expired')"
    ).fetchone()
    assert ends == (EXECUTIONS, EXECUTIONS)


def test_no_error_reaches_a_worker_but_a_refusal_of_its_lease(
    told: tuple[Path, Counter[str]],
) -> None:
    assert set(told[1]) <= EXPECTED_REFUSALS | OUTCOMES
    assert told[1]["forgotten"] > 0


def test_lost_leases_are_taken_over_and_their_holders_refused(
    told: tuple[Path, Counter[str]], file: sqlite3.Connection
) -> None:
    kinds = dict(
        file.execute(
            "SELECT event_type, count(*) FROM lease_event GROUP BY 1"
        ).fetchall()
    )
    assert kinds["reclaimed"] > 0
    assert kinds["refused"] == sum(told[1][code] for code in EXPECTED_REFUSALS)
    assert kinds["renewed"] == told[1]["renewed"]


def test_no_two_leases_of_an_execution_overlap(file: sqlite3.Connection) -> None:
    assert_tenures_do_not_overlap(file.execute)
    assert_one_live_lease_each(file.execute)
    assert_epochs_rise_by_one(file.execute)


def test_every_table_equals_the_replay_of_the_log(
    told: tuple[Path, Counter[str]], file: sqlite3.Connection
) -> None:
    assert assert_log_is_whole(file.execute) > 4 * EXECUTIONS
    with leasehold.open(f"sqlite:///{told[0]}", read_only=True) as ledger:
        assert_tables_equal_their_replay(ledger)
