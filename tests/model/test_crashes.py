"""A process killed at random points: all it was told is there, nothing is half done.

`LEASEHOLD_MODEL_CRASHES` sets how many processes are killed.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from store_checks import (
    assert_epochs_rise_by_one,
    assert_log_is_whole,
    assert_one_live_lease_each,
    assert_tables_equal_their_replay,
)

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = Path(__file__).with_name("crashing_process.py")
CRASHES = int(os.environ.get("LEASEHOLD_MODEL_CRASHES", "200"))
CRASHES_PER_STORE = 10
LINES_MAX = 60

Told = list[dict[str, Any]]


@pytest.fixture
def crash() -> Iterator[Callable[[dict[str, Any]], Told]]:
    """Give a call that runs a process, kills it, and returns what it had told."""
    server = subprocess.Popen(
        [sys.executable, PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    orders, answers = server.stdin, server.stdout

    def run(order: dict[str, Any]) -> Told:
        orders.write(json.dumps(order) + "\n")
        orders.flush()
        told: Told = json.loads(answers.readline())
        return told

    yield run
    orders.close()
    answers.close()
    assert server.wait(timeout=30) == 0


def split(told: Told) -> tuple[dict[str, list[str]], dict[str, list[str]], Told]:
    """Return the events of the calls that returned, of the one that did not, facts."""
    returned: dict[str, list[str]] = {}
    coming: dict[str, list[str]] = {}
    facts = []
    for line in told:
        assert "broke" not in line, line
        if "coming" in line:
            coming = line["coming"]
        elif "returned" in line:
            for execution_id, topics in coming.items():
                returned.setdefault(execution_id, []).extend(topics)
            coming = {}
            facts.append(line)
    return returned, coming, facts


def check_what_was_told(read: leasehold.Reader, told: Told) -> None:
    """Hold the log against what the killed process had told."""
    returned, coming, facts = split(told)
    done_beyond = set()
    for name in {**returned, **coming}:
        execution_id = UUID(name)
        topics = [event.topic for event in read.history(execution_id)]
        acknowledged = returned.get(name, [])
        assert topics[: len(acknowledged)] == acknowledged
        beyond = topics[len(acknowledged) :]
        assert beyond in ([], coming.get(name, [])), "a call was half done"
        if coming.get(name):
            done_beyond.add(bool(beyond))
        if topics:
            row = read.execution(execution_id)
            assert row is not None
            assert row.payload == name.encode() * 50
    assert len(done_beyond) <= 1, "one transaction was done for some executions only"
    for fact in facts:
        check_fact(read, fact)


def check_fact(read: leasehold.Reader, fact: dict[str, Any]) -> None:
    """Find in the store what a call answered."""
    if "frame" in fact:
        name, attempt_index, stream_id = fact["frame"]
        frames = read.frames(UUID(name), attempt_index)
        assert stream_id in [frame.stream_id for frame in frames]
    if "expires" in fact:
        name, expires_at_ms = fact["expires"]
        renewals = [
            row.expires_at_ms
            for row in read.lease_events(execution_id=UUID(name))
            if row.event_type == "renewed"
        ]
        assert expires_at_ms in renewals


def check_store(path: Path, told: Told) -> None:
    """Open the store as the next process would, and check all of it."""
    with leasehold.open(f"sqlite:///{path}") as ledger:
        check_what_was_told(ledger.read, told)
        connection = sqlite3.connect(path)
        try:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert_log_is_whole(connection.execute)
            assert_epochs_rise_by_one(connection.execute)
            assert_one_live_lease_each(connection.execute)
        finally:
            connection.close()
        assert_tables_equal_their_replay(ledger)


def test_what_was_acknowledged_before_a_kill_is_there_and_nothing_is_half_done(
    tmp_path: Path, crash: Callable[[dict[str, Any]], Told]
) -> None:
    chance = random.Random(2)
    calls_returned = 0
    for seed in range(1, CRASHES + 1):
        path = tmp_path / f"{seed // CRASHES_PER_STORE}.db"
        told = crash(
            {
                "path": str(path),
                "seed": seed,
                "durability": "full" if seed % 4 == 0 else "normal",
                "lines": chance.choice([0, chance.randint(1, LINES_MAX)]),
            }
        )
        check_store(path, told)
        calls_returned += sum("returned" in line for line in told)
    assert calls_returned > CRASHES
