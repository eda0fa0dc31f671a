"""Calls of several threads share a transaction, and each answers for itself alone."""

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import leasehold
from leasehold.adapters.metering import Call
from leasehold.adapters.sqlite import grouping
from leasehold.adapters.sqlite.connecting import driver_of

NOW_MS = 1_000_000
PATIENCE_S = 20


class HeldClock:
    """A clock that holds up the call that reads it, while it is told to."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.is_read = threading.Event()

    def __call__(self) -> int:
        self.is_read.set()
        assert self.free.wait(PATIENCE_S)
        return NOW_MS


class Crowd:
    """Threads that call a ledger at once, behind a call that holds the turn."""

    def __init__(self, url: str, clock: HeldClock, durability: str = "normal") -> None:
        self.clock = clock
        self.ledger = leasehold.open(url, clock=clock, durability=durability)
        self.statements: list[str] = []
        self.executor = ThreadPoolExecutor(32)
        transactions = self.ledger._store._transactions
        self.turns = transactions.turns
        self.ledger.create_execution(lane_id="first")
        self.driver = driver_of(transactions._writer)
        self.driver.set_trace_callback(self.statements.append)

    def begin(self, call: Callable[[], Any]) -> Future:
        """Begin a call that holds the turn until the clock is let go."""
        self.clock.is_read.clear()
        self.clock.free.clear()
        begun = self.executor.submit(call)
        assert self.clock.is_read.wait(PATIENCE_S)
        return begun

    def queue(self, *calls: Callable[[], Any]) -> list[Future]:
        """Let calls wait for their turn, in this order."""
        queued = []
        for call in calls:
            waiting = len(self.turns._waiters)
            queued.append(self.executor.submit(call))
            give_up_at = time.monotonic() + PATIENCE_S
            while len(self.turns._waiters) == waiting:
                assert time.monotonic() < give_up_at
                time.sleep(0.001)
        return queued

    def go(self) -> None:
        self.clock.free.set()

    def count(self, statement: str) -> int:
        return sum(text.startswith(statement) for text in self.statements)

    def lanes(self) -> list[str]:
        return self.ledger.read.lanes()


@pytest.fixture
def crowd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crowd]:
    # However slow this machine is, time closes no group.
    monkeypatch.setattr(grouping, "OPEN_S_MAX", PATIENCE_S)
    made = Crowd(f"sqlite:///{tmp_path / 'ledger.db'}", HeldClock())
    yield made
    made.clock.free.set()
    made.executor.shutdown()
    made.ledger.close()


def create(crowd: Crowd, lane_id: str) -> Callable[[], Any]:
    return lambda: crowd.ledger.create_execution(lane_id=lane_id)


def test_calls_that_wait_share_one_commit(crowd: Crowd) -> None:
    calls = [crowd.begin(create(crowd, "a"))]
    calls += crowd.queue(*[create(crowd, f"b{n}") for n in range(9)])
    crowd.go()
    made = {call.result(PATIENCE_S) for call in calls}
    assert len(made) == 10
    assert crowd.count("COMMIT") == 1
    assert crowd.count("BEGIN") == 1
    assert len(crowd.ledger.read.executions()) == 11


def test_a_lone_call_has_no_savepoint(crowd: Crowd) -> None:
    crowd.ledger.create_execution()
    assert crowd.count("SAVEPOINT") == 0
    assert crowd.count("COMMIT") == 1


def test_nobody_is_answered_before_the_commit(crowd: Crowd) -> None:
    first = crowd.begin(create(crowd, "a"))
    (second,) = crowd.queue(create(crowd, "b"))
    seen_at_commit = []

    def watch(statement: str) -> None:
        if statement.startswith("COMMIT"):
            time.sleep(0.05)
            seen_at_commit.append((first.done(), second.done()))

    crowd.driver.set_trace_callback(watch)
    crowd.go()
    first.result(PATIENCE_S)
    second.result(PATIENCE_S)
    assert seen_at_commit == [(False, False)]


def test_a_call_that_is_refused_does_not_spoil_the_others(crowd: Crowd) -> None:
    ledger = crowd.ledger
    key = {"idempotency_key": "same"}
    first = crowd.begin(create(crowd, "a"))
    agreed, refused, unknown, last = crowd.queue(
        lambda: ledger.create_execution(lane_id="b", **key),
        lambda: ledger.create_execution(lane_id="c", **key),
        lambda: ledger.cancel_execution(uuid.uuid4(), actor="a", reason="r"),
        create(crowd, "e"),
    )
    crowd.go()
    first.result(PATIENCE_S)
    agreed.result(PATIENCE_S)
    last.result(PATIENCE_S)
    with pytest.raises(leasehold.NotFoundError):
        unknown.result(PATIENCE_S)
    with pytest.raises(leasehold.ConflictError):
        refused.result(PATIENCE_S)
    assert crowd.count("COMMIT") == 1
    assert crowd.lanes() == ["a", "b", "e", "first"]


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_call_that_fails_midway_leaves_nothing(
    crowd: Crowd, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events are appended already when its projection fails."""
    from leasehold.adapters.sqlite import session

    truly = session.apply

    def fail(cursor, changes, position, mark):
        if any(
            getattr(change, "values", {}).get("lane_id") == "bad" for change in changes
        ):
            truly(cursor, changes, position, mark)
            raise ArithmeticError
        return truly(cursor, changes, position, mark)

    monkeypatch.setattr(session, "apply", fail)
    lanes = {
        "first": ["bad", "a", "b"],
        "middle": ["a", "bad", "b"],
        "last": ["a", "b", "bad"],
    }[place]
    calls = [crowd.begin(create(crowd, lanes[0]))]
    calls += crowd.queue(*[create(crowd, lane) for lane in lanes[1:]])
    crowd.go()
    for lane, call in zip(lanes, calls, strict=True):
        if lane == "bad":
            with pytest.raises(ArithmeticError):
                call.result(PATIENCE_S)
        else:
            call.result(PATIENCE_S)
    assert crowd.lanes() == ["a", "b", "first"]
    assert len(crowd.ledger.read.events()) == 3
    assert crowd.ledger.verify().ok


class NoCommit:
    """A driver's connection that cannot commit."""

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        if statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return self._driver.execute(statement, *parameters)


def test_where_the_commit_fails_all_are_told(crowd: Crowd) -> None:
    writer = crowd.ledger._store._transactions._writer
    writer.driver = NoCommit(crowd.driver)
    calls = [crowd.begin(create(crowd, "a"))]
    calls += crowd.queue(create(crowd, "b"), create(crowd, "c"))
    crowd.go()
    for call in calls:
        with pytest.raises(leasehold.StoreError, match="disk I/O error"):
            call.result(PATIENCE_S)
    writer.driver = crowd.driver
    assert crowd.lanes() == ["first"]
    crowd.ledger.create_execution(lane_id="later")
    assert crowd.lanes() == ["first", "later"]
    assert crowd.ledger.verify().ok


def test_what_was_undone_counts_nowhere(crowd: Crowd) -> None:
    """Be it that the commit failed, or that one of the calls did, midway."""
    writer = crowd.ledger._store._transactions._writer
    writer.driver = NoCommit(crowd.driver)
    calls = [crowd.begin(create(crowd, "a")), *crowd.queue(create(crowd, "b"))]
    crowd.go()
    assert all(call.exception(PATIENCE_S) for call in calls)
    writer.driver = crowd.driver
    last = crowd.begin(create(crowd, "c"))
    specs = [{"idempotency_key": "same"}, {"idempotency_key": "same", "priority": 1}]
    (midway,) = crowd.queue(lambda: crowd.ledger.create_executions(specs))
    crowd.go()
    last.result(PATIENCE_S)
    with pytest.raises(leasehold.ConflictError):
        midway.result(PATIENCE_S)
    metrics = crowd.ledger.metrics()
    assert (metrics.creations, metrics.commit_time.count) == (2, 2)
    assert metrics.errors == {"store_unavailable": 2, "conflict": 1}


def test_a_call_for_which_the_disk_is_full_fails_alone(crowd: Crowd) -> None:
    calls = [crowd.begin(create(crowd, "a"))]
    pages = crowd.driver.execute("PRAGMA page_count").fetchone()[0]
    payload = bytes(40 * 4096)
    full, last = crowd.queue(
        lambda: crowd.ledger.create_execution(lane_id="full", payload=payload),
        create(crowd, "b"),
    )
    crowd.driver.execute(f"PRAGMA max_page_count = {pages + 8}")
    crowd.go()
    calls[0].result(PATIENCE_S)
    last.result(PATIENCE_S)
    with pytest.raises(leasehold.StoreError, match="full"):
        full.result(PATIENCE_S)
    assert crowd.lanes() == ["a", "b", "first"]


def test_a_group_takes_in_only_so_many(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouping, "CALLS_MAX", 3)
    calls = [crowd.begin(create(crowd, "a"))]
    calls += crowd.queue(*[create(crowd, "b")] * 5)
    crowd.go()
    for call in calls:
        call.result(PATIENCE_S)
    assert crowd.count("COMMIT") == 2


def test_a_group_stays_open_only_so_long(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouping, "OPEN_S_MAX", 0)
    calls = [crowd.begin(create(crowd, "a"))]
    calls += crowd.queue(*[create(crowd, "b")] * 3)
    crowd.go()
    for call in calls:
        call.result(PATIENCE_S)
    assert crowd.count("COMMIT") == 4


def test_what_is_long_shares_with_nobody(crowd: Crowd, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.ndjson"
    with leasehold.open(f"sqlite:///{tmp_path / 'other.db'}") as other:
        other.create_execution(lane_id="imported")
        other.export(bundle)
    calls = [crowd.begin(create(crowd, "a"))]
    calls += crowd.queue(lambda: crowd.ledger.import_bundle(bundle), create(crowd, "b"))
    crowd.go()
    for call in calls:
        call.result(PATIENCE_S)
    assert (crowd.count("COMMIT"), crowd.count("SAVEPOINT")) == (3, 0)
    assert crowd.lanes() == ["a", "b", "first", "imported"]


def test_other_processes_see_nothing_of_an_open_group(
    crowd: Crowd, tmp_path: Path
) -> None:
    first = crowd.begin(create(crowd, "a"))
    (second,) = crowd.queue(create(crowd, "b"))
    seen = []

    def look(statement: str) -> None:
        if statement.startswith("COMMIT"):
            with sqlite3.connect(tmp_path / "ledger.db") as other:
                seen.append(
                    other.execute("SELECT count(*) FROM exec_core").fetchone()[0]
                )

    crowd.driver.set_trace_callback(look)
    crowd.go()
    first.result(PATIENCE_S)
    second.result(PATIENCE_S)
    assert seen == [1]


def test_who_waits_is_interrupted_alone(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt while it waits for its turn takes it out of the queue."""
    first = crowd.begin(create(crowd, "a"))
    truly = threading.Lock

    class Interrupting:
        def __init__(self) -> None:
            self.lock = truly()
            self.times = 0

        def acquire(self, timeout: float = -1) -> bool:
            self.times += 1
            if self.times == 2:
                raise KeyboardInterrupt
            return self.lock.acquire(timeout=timeout)

        def locked(self) -> bool:
            return self.lock.locked()

        def release(self) -> None:
            self.lock.release()

    monkeypatch.setattr(grouping, "Lock", Interrupting)
    with pytest.raises(KeyboardInterrupt):
        crowd.ledger.create_execution(lane_id="interrupted")
    monkeypatch.undo()
    (last,) = crowd.queue(create(crowd, "b"))
    crowd.go()
    first.result(PATIENCE_S)
    last.result(PATIENCE_S)
    assert crowd.lanes() == ["a", "b", "first"]


@pytest.mark.parametrize("shares", [True, False])
def test_an_interrupt_at_the_end_of_the_wait_harms_nobody_else(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, shares: bool
) -> None:
    """What another thread has done for it stands; a turn of its own is handed on."""
    monkeypatch.setattr(grouping, "CALLS_MAX", 9 if shares else 1)
    first = crowd.begin(create(crowd, "a"))
    truly = threading.Lock

    class Interrupting:
        def __init__(self) -> None:
            self.lock = truly()
            self.times = 0

        def acquire(self, timeout: float = -1) -> bool:
            self.times += 1
            taken = self.lock.acquire(timeout=timeout)
            if self.times == 2:
                raise KeyboardInterrupt
            return taken

        def locked(self) -> bool:
            return self.lock.locked()

        def release(self) -> None:
            self.lock.release()

    with monkeypatch.context() as patched:
        patched.setattr(grouping, "Lock", Interrupting)
        (interrupted,) = crowd.queue(create(crowd, "interrupted"))
    (last,) = crowd.queue(create(crowd, "b"))
    crowd.go()
    with pytest.raises(KeyboardInterrupt):
        interrupted.result(PATIENCE_S)
    first.result(PATIENCE_S)
    last.result(PATIENCE_S)
    assert crowd.lanes() == ["a", "b", "first"] + ["interrupted"] * shares


def test_an_interrupt_while_it_does_the_work_of_others_undoes_all(
    crowd: Crowd,
) -> None:
    first = crowd.begin(create(crowd, "a"))
    second, third = crowd.queue(create(crowd, "b"), create(crowd, "c"))
    readings = iter([1, 2])

    def interrupt() -> int:
        if next(readings) == 2:
            raise KeyboardInterrupt
        return NOW_MS

    transactions = crowd.ledger._store._transactions
    transactions.clock = interrupt
    crowd.go()
    with pytest.raises(KeyboardInterrupt):
        first.result(PATIENCE_S)
    transactions.clock = crowd.clock
    for told in (second, third):
        with pytest.raises(leasehold.StoreError, match="interrupted; nothing was"):
            told.result(PATIENCE_S)
    assert crowd.lanes() == ["first"]
    crowd.ledger.create_execution(lane_id="later")
    assert crowd.lanes() == ["first", "later"]


def test_who_waited_too_long_while_its_work_was_done_is_answered_all_the_same(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, group = grouping.Turns(), grouping.Group()
    turns.take(grouping.Waiter(), 0)
    call = Call(crowd.ledger._meter, "claim")
    work = grouping.Work(call, lambda session: "done")
    truly = threading.Lock

    class Late:
        """A lock whose wait ends just after the work was taken into a group."""

        def __init__(self) -> None:
            self.lock = truly()

        def acquire(self, timeout: float = -1) -> bool:
            if timeout >= 0:
                assert turns.join_next(group) is work
                return False
            if self.lock.locked():
                work.answer = "done"
                group.commit_ns = 5
                group.settle(None)
            return self.lock.acquire()

        def locked(self) -> bool:
            return self.lock.locked()

        def release(self) -> None:
            self.lock.release()

    waiter = grouping.Waiter(call, work)
    monkeypatch.setattr(grouping, "Lock", Late)
    turns.take(waiter, 1)
    assert (turns.is_of(waiter), waiter.is_settled) == (False, True)
    assert (work.result(), call.commit_ns) == ("done", 5)


def test_many_threads_leave_a_store_that_verifies(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with leasehold.open(url, durability="normal") as ledger:

        def live(number: int) -> int:
            done = 0
            for _ in range(5):
                ledger.create_execution(lane_id=f"lane{number % 3}")
                handle = ledger.claim(f"lane{number % 3}", worker_id=f"w{number}")
                if handle is not None:
                    ledger.renew(handle)
                    ledger.complete(handle, b"done")
                    done += 1
                    with pytest.raises(leasehold.ExecutionNotActiveError):
                        ledger.renew(handle)
            return done

        with ThreadPoolExecutor(16) as executor:
            done = sum(executor.map(live, range(16)))
        counts = ledger.read.counts()
        assert counts[leasehold.PublicState.COMPLETED] == done
        assert ledger.verify().ok
