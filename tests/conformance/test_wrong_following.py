"""Following the log in a wrong way: each is told by name, and nothing hangs."""

import math
import os
import subprocess
import sys

import pytest

import leasehold
from leasehold import InvalidInputError

NO_TIMES = ["1", math.nan, True, [1]]
ENDS = (
    "COMMIT",
    "  rollback ;",
    "-- done\nEND",
    "/* so\nlong */ ABORT",
    "BEGIN",
    "START  TRANSACTION",
    "ROLLBACK TRANSACTION",
    "PREPARE TRANSACTION 'x'",
)


class Rows:
    """Keeps each position in a table, as `write` does it."""

    def __init__(self, write=None):
        self.write = write
        self.kept = None

    def create(self, execute):
        self.kept = execute
        execute("CREATE TABLE IF NOT EXISTS seen (position BIGINT)")

    def apply(self, recorded, execute):
        statement = f"INSERT INTO seen VALUES ({recorded.position})"
        if self.write is None:
            execute(statement)
        else:
            self.write(self, execute, statement)


@pytest.fixture
def seen(sql):
    def read():
        return [row["position"] for row in sql("SELECT * FROM seen ORDER BY 1")]

    return read


@pytest.mark.parametrize("wrong", NO_TIMES)
def test_a_time_to_wait_that_is_no_number_is_refused(wrong, ledger) -> None:
    running = ledger.run_projection(Rows(), "rows")
    with (
        ledger.subscribe(after=0) as subscription,
        pytest.raises(InvalidInputError, match="timeout_s"),
    ):
        subscription.next_events(wrong)
    with pytest.raises(InvalidInputError, match="timeout_s"):
        running.wait_until(1, wrong)


@pytest.mark.parametrize("wrong", ["1", None, 1.0, True, -1, 2**63])
def test_a_position_to_wait_for_that_is_none_is_refused(wrong, ledger) -> None:
    running = ledger.run_projection(Rows(), "rows")
    with pytest.raises(InvalidInputError, match="position"):
        running.wait_until(wrong, 0)


def test_a_time_that_is_over_is_no_wait_and_an_endless_one_can_be(ledger) -> None:
    with ledger.subscribe(after=0) as subscription:
        assert subscription.next_events(-5) == []
        ledger.create_execution()
        assert len(subscription.next_events(math.inf)) == 1
    with ledger.run_projection(Rows(), "rows") as running:
        assert running.wait_until(99, -math.inf) is False
        ledger.create_execution()
        assert running.wait_until(2, math.inf) is True


@pytest.mark.parametrize("end", ENDS)
def test_a_projection_does_not_begin_or_end_the_transaction(end, ledger, seen) -> None:
    def write(_, execute, statement):
        execute(statement)
        execute(end)

    ledger.create_executions([{}] * 3)
    with pytest.raises(InvalidInputError, match="SAVEPOINT"):
        ledger.run_projection(Rows(write), "rows")
    assert seen() == []
    assert ledger.run_projection(Rows(), "rows").position == 3
    assert seen() == [1, 2, 3]
    assert ledger.verify().ok


def test_a_part_of_what_it_writes_can_be_undone(ledger, seen) -> None:
    def write(_, execute, statement):
        execute(statement)
        execute("SAVEPOINT part")
        execute(statement)
        execute("ROLLBACK TO SAVEPOINT part")
        execute("RELEASE SAVEPOINT part")

    ledger.create_executions([{}] * 3)
    ledger.run_projection(Rows(write), "rows")
    assert seen() == [1, 2, 3]


def test_it_writes_in_no_transaction_but_that_of_the_call(ledger, seen) -> None:
    def write(rows, _, statement):
        rows.kept(statement)

    ledger.create_execution()
    with pytest.raises(InvalidInputError, match="a call that has ended"):
        ledger.run_projection(Rows(write), "rows")
    rows = Rows()
    ledger.run_projection(rows, "rows")
    with pytest.raises(InvalidInputError, match="a call that has ended"):
        rows.kept("DELETE FROM seen")
    assert seen() == [1]


def test_what_it_executes_is_text(ledger) -> None:
    ledger.create_execution()
    with pytest.raises(InvalidInputError, match="SQL as text"):
        ledger.run_projection(Rows(lambda _, execute, __: execute(None)), "rows")


FORKED_WHILE_IT_WAITS = """
import os, sys, threading, time, leasehold

class Nothing:
    def create(self, execute): pass
    def apply(self, recorded, execute): pass

def is_in_use(lock):
    if lock.acquire(blocking=False):
        lock.release()
        return False
    return True

ledger = leasehold.open(sys.argv[1], durability="normal")
subscription = ledger.subscribe()
waiter = threading.Thread(target=subscription.next_events)
waiter.start()
with ledger.run_projection(Nothing(), "nothing") as running:
    feeds = (subscription._feed, running._feed)
    until = time.monotonic() + 20
    while not all(is_in_use(feed._in_use) for feed in feeds):
        assert time.monotonic() < until
        time.sleep(0.0005)
    child = os.fork()
    if child == 0:
        subscription.close()
        running.__exit__(None, None, None)
        os._exit(0)
    until = time.monotonic() + 20
    ended = (0, 0)
    while ended[0] == 0 and time.monotonic() < until:
        ended = os.waitpid(child, os.WNOHANG)
        time.sleep(0.001)
    if ended[0] == 0:
        os.kill(child, 9)
    ledger.create_execution()
    assert running.wait_until(1, 20)
waiter.join(20)
print(ended[0] == child, ended[1], waiter.is_alive())
ledger.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_lets_go_of_what_a_thread_of_the_parent_holds(
    shared_url,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED_WHILE_IT_WAITS, shared_url],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.stdout.split() == ["True", "0", "False"], done.stderr


def test_a_closed_ledger_ends_what_follows_it(ledger) -> None:
    running = ledger.run_projection(Rows(), "rows")
    subscription = ledger.subscribe(after=0)
    ledger.close()
    for call in (running.catch_up, lambda: next(subscription)):
        with pytest.raises(leasehold.StoreError, match="closed"):
            call()
    subscription.close()
