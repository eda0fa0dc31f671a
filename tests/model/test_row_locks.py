"""Calls on PostgreSQL that meet: who waits for whom, and what they see afterwards."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from outsiders import outsider_of
from store_checks import assert_log_is_whole, assert_tables_equal_their_replay
from stores import outside

import leasehold
from leasehold import BestEffort, FailureClass, Frame, Summary

if TYPE_CHECKING:
    from outsiders import Outsider
    from stores import Query

WAIT_S_MAX = 20.0
PAUSE_S = 0.002
TTL_MS = 30_000
CLOCK_TICKS_S = 0.05
SERVER_NOW_MS = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
HELD_UP_BY = (
    "WITH RECURSIVE waiting (pid) AS (SELECT {pid} UNION"
    " SELECT a.pid FROM pg_stat_activity AS a"
    " INNER JOIN waiting AS w ON w.pid = ANY (pg_blocking_pids(a.pid)))"
    " SELECT count(*) - 1 AS waiting FROM waiting"
)
STARTED = ["execution.created", "execution.claimed", "attempt.started"]

Calls = Callable[[leasehold.Ledger, leasehold.Handle], Any]


@pytest.fixture
def url(new_store: Callable[..., str]) -> str:
    return new_store("postgres")


@pytest.fixture
def ledger(url: str, clock: Callable[[], int]) -> Iterator[leasehold.Ledger]:
    with leasehold.open(url, clock=clock, durability="normal") as opened:
        yield opened


@pytest.fixture
def query(url: str, ledger: leasehold.Ledger) -> Iterator[Query]:
    with outside(url) as query:
        yield query


@contextmanager
def held(url: str, ids: list[uuid.UUID]) -> Iterator[Outsider]:
    """Hold executions in a transaction past the ledger, until the block ends."""
    with closing(outsider_of(url)) as holder:
        holder.execute("BEGIN")
        names = ", ".join(f"'{execution_id}'" for execution_id in ids)
        locked = holder.execute(
            "SELECT execution_id FROM exec_state"
            f" WHERE execution_id IN ({names}) FOR UPDATE"
        )
        assert len(locked) == len(ids)
        yield holder
        # The locks of a connection that is closed go a moment later.
        holder.execute("ROLLBACK")


def in_turn(
    url: str,
    execution_id: uuid.UUID,
    calls: list[Callable[[], Any]],
    *,
    meanwhile: Callable[[], Any] = bool,
) -> list[Any]:
    """Let calls wait for an execution, one behind the other; return what each gave.

    All have begun before the first goes on: what they read before is old then.
    """
    with outside(url) as watch, ThreadPoolExecutor(len(calls)) as threads:
        waiting: list[Future[Any]] = []
        with held(url, [execution_id]) as holder:
            (row,) = holder.execute("SELECT pg_backend_pid() AS pid")
            asked = HELD_UP_BY.format(pid=row["pid"])
            for call in calls:
                waiting.append(threads.submit(call))
                begun = time.monotonic()
                while list(watch(asked)) != [(len(waiting),)]:
                    assert time.monotonic() < begun + WAIT_S_MAX, "it does not wait"
                    time.sleep(PAUSE_S)
            meanwhile()
        return [it.exception(WAIT_S_MAX) or it.result() for it in waiting]


@dataclass(frozen=True)
class Meeting:
    """Two calls that meet, what comes of the second, and which events of both."""

    first: Calls
    second: Calls
    second_is_refused: type[leasehold.LeaseholdError] | None
    topics: tuple[str, ...]


def renew(ledger: leasehold.Ledger, handle: leasehold.Handle) -> Any:
    return ledger.renew(handle)


def complete(ledger: leasehold.Ledger, handle: leasehold.Handle) -> Any:
    return ledger.complete(handle, b"done")


def fail(ledger: leasehold.Ledger, handle: leasehold.Handle) -> Any:
    return ledger.fail(handle, "broke", FailureClass.TRANSIENT)


def cancel(ledger: leasehold.Ledger, handle: leasehold.Handle) -> Any:
    return ledger.cancel_execution(handle.execution_id, actor="op", reason="late")


def revoke(ledger: leasehold.Ledger, handle: leasehold.Handle) -> Any:
    return ledger.revoke_lease(handle.execution_id, actor="op", reason="stuck")


def raise_priority(ledger: leasehold.Ledger, handle: leasehold.Handle) -> Any:
    return ledger.change_priority(handle.execution_id, 7, actor="op")


def grant(ledger: leasehold.Ledger, handle: leasehold.Handle) -> Any:
    return ledger.issue_resume_grant(handle.execution_id, worker_id="bob")


COMPLETED = ("attempt.succeeded", "execution.completed")
FAILED = ("attempt.failed", "execution.retry_scheduled")
CANCELLED = ("attempt.cancelled", "execution.cancelled")
REVOKED = ("attempt.lease_revoked",)
REFUSED = ("refusal.recorded",)
NotActive = leasehold.ExecutionNotActiveError
Illegal = leasehold.IllegalTransitionError
MEETINGS = {
    "complete, then renew": Meeting(complete, renew, NotActive, COMPLETED + REFUSED),
    "complete, then complete": Meeting(complete, complete, None, COMPLETED),
    "complete, then cancel": Meeting(complete, cancel, Illegal, COMPLETED),
    "complete, then revoke": Meeting(complete, revoke, Illegal, COMPLETED),
    "complete, then grant": Meeting(complete, grant, NotActive, COMPLETED),
    "fail, then fail": Meeting(fail, fail, None, FAILED),
    "fail, then complete": Meeting(fail, complete, NotActive, FAILED + REFUSED),
    "cancel, then complete": Meeting(cancel, complete, NotActive, CANCELLED + REFUSED),
    "cancel, then cancel": Meeting(cancel, cancel, None, CANCELLED),
    "revoke, then renew": Meeting(
        revoke, renew, leasehold.LeaseRevokedError, REVOKED + REFUSED
    ),
    "revoke, then revoke": Meeting(revoke, revoke, Illegal, REVOKED),
    "priority, then priority": Meeting(
        raise_priority, raise_priority, None, ("execution.reprioritised",)
    ),
}


@pytest.fixture
def handle(ledger: leasehold.Ledger) -> leasehold.Handle:
    """Give a lease that runs."""
    ledger.create_execution()
    handle = ledger.claim(worker_id="ada", lease_ttl_ms=TTL_MS)
    assert handle is not None
    return handle


@pytest.mark.parametrize("name", MEETINGS)
def test_a_call_that_waited_decides_on_what_the_other_left(
    name: str,
    url: str,
    ledger: leasehold.Ledger,
    handle: leasehold.Handle,
    query: Query,
) -> None:
    meeting = MEETINGS[name]
    first, second = in_turn(
        url,
        handle.execution_id,
        [lambda: meeting.first(ledger, handle), lambda: meeting.second(ledger, handle)],
    )
    assert not isinstance(first, Exception)
    if meeting.second_is_refused is None:
        assert second == first
    else:
        assert isinstance(second, meeting.second_is_refused)
    history = ledger.read.history(handle.execution_id)
    assert [it.topic for it in history] == [*STARTED, *meeting.topics]
    assert_log_is_whole(query)
    assert_tables_equal_their_replay(ledger)


def test_two_renewals_that_meet_both_extend_the_lease(
    url: str, ledger: leasehold.Ledger, handle: leasehold.Handle, query: Query
) -> None:
    renewals = in_turn(
        url, handle.execution_id, [lambda: ledger.renew(handle) for _ in range(3)]
    )
    issued_ms = handle.lease_expires_at_ms
    expected = [issued_ms + 1, issued_ms + 2, issued_ms + 3]
    assert [renewal.expires_at_ms for renewal in renewals] == expected
    attempt = ledger.read.attempt(handle.execution_id, 0)
    assert attempt is not None
    assert attempt.lease_expires_at_ms == expected[-1]
    assert_log_is_whole(query)


def test_a_call_that_waited_reads_the_clock_afterwards(url: str) -> None:
    let_go_at_ms = []

    def pass_time() -> None:
        time.sleep(CLOCK_TICKS_S)
        with outside(url) as query:
            let_go_at_ms.extend(query(SERVER_NOW_MS))

    with leasehold.open(url, durability="normal") as ledger:
        ledger.create_execution()
        handle = ledger.claim(worker_id="ada", lease_ttl_ms=TTL_MS)
        assert handle is not None
        renew = [lambda: ledger.renew(handle)] * 2
        renewals = in_turn(url, handle.execution_id, renew, meanwhile=pass_time)
    ((earliest_ms,),) = let_go_at_ms
    assert all(it.expires_at_ms >= earliest_ms + TTL_MS for it in renewals)


def test_reports_that_meet_are_all_kept(
    url: str, ledger: leasehold.Ledger, handle: leasehold.Handle, query: Query
) -> None:
    in_turn(
        url,
        handle.execution_id,
        [
            lambda: ledger.progress(handle, 40),
            lambda: ledger.progress(handle, None, "halfway"),
        ],
    )
    row = ledger.read.execution(handle.execution_id)
    assert row is not None
    assert row.raw_fields == {"progress_pct": 40, "progress_message": "halfway"}
    assert_log_is_whole(query)


def test_frames_that_meet_all_come_to_stand(
    url: str, ledger: leasehold.Ledger, handle: leasehold.Handle, query: Query
) -> None:
    frames = [
        Frame(b"line"),
        Frame(b'{"a":1}', mode=Summary()),
        Frame(b"live", mode=BestEffort()),
        Frame(b"live", mode=BestEffort()),
        Frame(b'{"b":2}', mode=Summary()),
    ]
    calls = [lambda it=it: ledger.append_frame(handle, it) for it in frames]
    appended = in_turn(url, handle.execution_id, calls)
    assert [it.frame_count for it in appended] == [1, 2, 3, 4, 5]
    assert [it.summary_version for it in appended] == [None, 1, None, None, 2]
    rows = ledger.read.frames(handle.execution_id, 0)
    assert [row.stream_id for row in rows] == [it.stream_id for it in appended]
    summary = ledger.read.summary(handle.execution_id, 0)
    assert summary is not None
    assert json.loads(summary.document_json) == {"a": 1, "b": 2}
    assert_log_is_whole(query)
    assert_tables_equal_their_replay(ledger)


def test_a_grant_that_two_use_at_once_is_used_once(
    url: str, ledger: leasehold.Ledger, handle: leasehold.Handle, query: Query
) -> None:
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="bob")
    revoke(ledger, handle)
    use = [lambda: ledger.claim_from_resume_grant(grant, worker_id="bob")] * 2
    resumed, refused = in_turn(url, handle.execution_id, use)
    assert resumed.kind is leasehold.HandleKind.RESUMED
    assert resumed.lease_epoch == 2
    assert isinstance(refused, leasehold.InvalidGrantError)
    assert_log_is_whole(query)


def test_an_execution_that_two_replay_at_once_is_replayed_once(
    url: str, ledger: leasehold.Ledger, handle: leasehold.Handle, query: Query
) -> None:
    complete(ledger, handle)
    execution_id = handle.execution_id
    replay = [
        lambda: ledger.replay_execution(execution_id, actor="op", reason="again")
    ] * 2
    replayed, refused = in_turn(url, execution_id, replay)
    assert replayed is None
    assert isinstance(refused, leasehold.IllegalTransitionError)
    assert_log_is_whole(query)


def claimable(ledger: leasehold.Ledger, count: int, **spec: Any) -> list[uuid.UUID]:
    """Create executions; return their ids in the order in which they are claimed."""
    ids = sorted(uuid.uuid4() for _ in range(count))
    specs = [{"execution_id": it, **spec} for it in ids]
    return ledger.create_executions(specs)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 20, 255, 256, 257, 300])
def test_a_claim_takes_the_best_that_nobody_is_about_to_take(
    url: str, ledger: leasehold.Ledger, count: int
) -> None:
    ids = claimable(ledger, count + 2)
    with held(url, ids[:count]):
        for expected in ids[count:]:
            handle = ledger.claim(worker_id="ada")
            assert handle is not None
            assert handle.execution_id == expected
        assert ledger.claim(worker_id="ada") is None
    handle = ledger.claim(worker_id="ada")
    assert handle is not None
    assert handle.execution_id == ids[0]


def test_a_claim_goes_to_another_capability_set_where_one_is_held(
    url: str, ledger: leasehold.Ledger
) -> None:
    taken = claimable(ledger, 20, capabilities=("gpu",), priority=9)
    (plain,) = claimable(ledger, 1)
    with held(url, taken):
        handle = ledger.claim(worker_id="ada", capabilities=("eu", "gpu"))
        assert handle is not None
        assert handle.execution_id == plain
        assert ledger.claim(worker_id="ada", capabilities=("gpu",)) is None


def test_a_claim_takes_the_best_of_many_held_over_all_capability_sets(
    url: str, ledger: leasehold.Ledger
) -> None:
    held_up = claimable(ledger, 40, capabilities=("gpu",), priority=9)
    better = claimable(ledger, 1, capabilities=("gpu",), priority=8)
    lesser = claimable(ledger, 1, priority=7)
    with held(url, held_up):
        for (expected,) in (better, lesser):
            handle = ledger.claim(worker_id="ada", capabilities=("gpu",))
            assert handle is not None
            assert handle.execution_id == expected


def test_what_is_due_and_held_is_left_to_the_next_claim_or_sweep(
    url: str, ledger: leasehold.Ledger, clock: Any
) -> None:
    ids = claimable(ledger, 2, delay_until_ms=clock() + 10, priority=5)
    ids += claimable(ledger, 2, deadline_at_ms=clock() + 10, priority=4)
    ids += claimable(ledger, 2, priority=3)
    for _ in range(4):
        # Takes those with a deadline, then the last two.
        assert ledger.claim(worker_id="ada", lease_ttl_ms=10) is not None
    (other,) = claimable(ledger, 1, lane_id="other")
    clock.advance(10)
    with held(url, ids[::2]):
        report = ledger.sweep()
        # An execution past its deadline ends, and its lease with it.
        counted = (report.leases_expired, report.delays_due, report.deadlines_passed)
        assert counted == (1, 1, 1)
        handle = ledger.claim(worker_id="ada")
        assert handle is not None
        assert handle.execution_id == ids[1]
        assert ledger.claim("other", worker_id="ada").execution_id == other
    report = ledger.sweep()
    counted = (report.leases_expired, report.delays_due, report.deadlines_passed)
    assert counted == (1, 1, 1)
