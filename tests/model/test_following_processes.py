"""Following what other processes write: nothing twice, nothing lost, all in order.

`LEASEHOLD_FOLLOW_EVENTS` sets how many events there are to follow.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from following_process import EVENTS_EACH, NAME, STAGES
from processes import run_together
from stores import outside

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leasehold.adapters.following import Subscription

PROGRAM = Path(__file__).with_name("following_process.py")
EVENTS = int(os.environ.get("LEASEHOLD_FOLLOW_EVENTS", "4000"))
WRITERS = 4
CRASHES = 45
EVENTS_MAX = 14
TIMEOUT_S = 600

STORED = "SELECT notification_id FROM stored_events ORDER BY 1"


@pytest.fixture(params=["file", "postgres"])
def url(request: pytest.FixtureRequest, new_store: Callable[..., str]) -> str:
    """Make a store of each kind in turn."""
    named = new_store(request.param)
    leasehold.open(named).close()
    return named


def test_one_process_sees_what_four_others_write_once_and_in_order(url: str) -> None:
    each = EVENTS // (WRITERS * EVENTS_EACH)
    seen: list[int] = []
    with (
        leasehold.open(url, read_only=True) as ledger,
        ledger.subscribe(after=0) as subscription,
    ):
        follower = threading.Thread(
            target=lambda: seen.extend(recorded.position for recorded in subscription)
        )
        follower.start()
        rows = [(url, "write", number, each) for number in range(WRITERS)]
        written = sum(run_together(PROGRAM, rows, timeout_s=TIMEOUT_S))
        assert written == each * WRITERS * EVENTS_EACH
        catch_up(subscription, ledger.read.settled_position())
        subscription.stop()
        follower.join()
    with outside(url) as query:
        assert [(position,) for position in seen] == list(query(STORED))
    assert len(seen) == written


def catch_up(subscription: Subscription, last: int) -> None:
    """Wait until a subscription has given all."""
    pause = threading.Event()
    for _ in range(2_000):
        if subscription.position >= last:
            return
        pause.wait(0.01)
    pytest.fail(f"it stands at {subscription.position} of {last}")


def test_a_projection_run_by_three_processes_takes_each_event_once(url: str) -> None:
    writers, each = 2, 60
    events = writers * each * EVENTS_EACH
    rows = [(url, "write", number, each) for number in range(writers)]
    rows += [(url, "project", number, events) for number in range(3)]
    counts = run_together(PROGRAM, rows, timeout_s=TIMEOUT_S)
    assert sum(counts[writers:]) == events
    with outside(url) as query:
        assert list(query("SELECT position FROM seen ORDER BY 1")) == query(STORED)
        assert query("SELECT n FROM total") == [(events,)]


@pytest.fixture
def project(url: str) -> Iterator[Callable[..., int]]:
    """Give a call that runs the projection in a process; it returns how it ended."""
    server = subprocess.Popen(
        [sys.executable, PROGRAM, "crash"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    orders, answers = server.stdin, server.stdout
    assert orders is not None
    assert answers is not None

    def run(**order: Any) -> int:
        order |= {"url": url, "is_postgres": url.startswith("postgres")}
        orders.write(json.dumps(order) + "\n")
        orders.flush()
        return int(answers.readline())

    yield run
    orders.close()
    answers.close()
    assert server.wait(timeout=30) == 0


def test_a_projection_killed_between_any_two_events_and_in_the_midst_of_them(
    url: str, project: Callable[..., int]
) -> None:
    assert project(at=0, stage="", batch=100) == 0
    points = list(itertools.product(range(1, EVENTS_MAX + 1), STAGES))
    chance = random.Random(4)
    chance.shuffle(points)
    with leasehold.open(url, durability="normal") as ledger, outside(url) as query:
        for at, stage in points[:CRASHES]:
            behind = EVENTS_MAX - len(beyond(query))
            ledger.create_executions([{}] * max(1, behind))
            batch = chance.choice([1, 2, 5, 100])
            assert project(at=at, stage=stage, batch=batch) == -9
            check_as_far_as_it_is(query)
        assert project(at=0, stage="", batch=100) == 0
        check_as_far_as_it_is(query)
        assert list(query("SELECT position FROM seen ORDER BY 1")) == query(STORED)


POSITION = f"SELECT position FROM leasehold_projection WHERE name = '{NAME}'"


def beyond(query: Callable[[str], Any]) -> list[Any]:
    """Return the events that are not taken in."""
    return list(
        query(
            "SELECT notification_id FROM stored_events"
            f" WHERE notification_id > ({POSITION})"
        )
    )


def check_as_far_as_it_is(query: Callable[[str], Any]) -> None:
    """Hold the rows against the position that is kept beside them."""
    ((position,),) = query(POSITION)
    stored = [row for row in query(STORED) if row[0] <= position]
    assert list(query("SELECT position FROM seen ORDER BY 1")) == stored
    assert query("SELECT n FROM total") == [(len(stored),)]
