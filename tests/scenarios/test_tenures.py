"""Tenures of histories that were worked out on paper.

Every history is a list of calls at times in ms since its beginning; what the rows must
say was worked out by hand, and the comments show how.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import leasehold
from leasehold import FailureClass, Fixed, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

START_MS = 1_700_000_000_000
TIMES = (
    "acquired_at_ms",
    "last_renewed_at_ms",
    "expires_at_ms",
    "ended_at_ms",
)
NAMED = ("execution_id", "lease_id", "event_id", "lane_id")
OPERATOR = {"actor": "ann", "reason": "stuck"}


@pytest.fixture
def at(clock: Any) -> Callable[[int], int]:
    """Move the clock to so many ms after the beginning."""
    return lambda ms: clock.set(START_MS + ms)


def tenures(
    ledger: leasehold.Ledger, execution_id: UUID | None = None
) -> list[dict[str, Any]]:
    """Read tenures, with times since the beginning, without ids and lane."""
    rows = ledger.read.tenures(execution_id)
    assert rows == sorted(rows, key=lambda row: row.event_id)
    return [
        {
            name: value - START_MS if name in TIMES and value is not None else value
            for name in leasehold.TenureRow.__slots__
            if name not in NAMED
            for value in [getattr(row, name)]
        }
        for row in rows
    ]


def tenure(epoch: int, attempt: int, worker: str, **given: Any) -> dict[str, Any]:
    """Write down a tenure: live, claimed, never renewed or refused, unless given."""
    return {
        "attempt_index": attempt,
        "lease_epoch": epoch,
        "worker_id": worker,
        "worker_instance_id": None,
        "acquired_by": "claim",
        "renewals": 0,
        "last_renewed_at_ms": None,
        "max_renewal_gap_ms": None,
        "min_headroom_ms": None,
        "ended_at_ms": None,
        "ended_by": None,
        "orphaned_ms": None,
        "refusals": 0,
        **given,
    }


def refuse(call: Callable[..., object], *arguments: object, times: int = 1) -> None:
    """Make a call that is refused, so many times."""
    for _ in range(times):
        with pytest.raises(leasehold.ContentionError):
            call(*arguments)


def test_renewals_are_counted_and_measured(
    ledger: leasehold.Ledger, at: Callable[[int], int], start: Callable[..., Any]
) -> None:
    handle = start(ttl=1_000)  # Until 1000.
    at(400)
    ledger.renew(handle)  # A gap of 400 − 0; 1000 − 400 = 600 were left; until 1400.
    at(1_300)
    ledger.renew(handle)  # A gap of 1300 − 400 = 900; 100 were left; until 2300.
    at(1_350)
    ledger.renew(handle)  # A gap of 50; 950 were left; until 2350.
    live = tenure(
        1,
        0,
        "worker-1",
        acquired_at_ms=0,
        renewals=3,
        last_renewed_at_ms=1_350,
        max_renewal_gap_ms=900,
        min_headroom_ms=100,
        expires_at_ms=2_350,
    )
    assert tenures(ledger) == [live]
    at(2_000)
    ledger.complete(handle)
    ended = {**live, "ended_at_ms": 2_000, "ended_by": "completed"}
    assert tenures(ledger) == [ended]
    at(2_350)  # Its expiry comes later than its end.
    assert tenures(ledger) == [ended]
    (row,) = ledger.read.tenures()
    assert row.ended_by is leasehold.TenureEnd.COMPLETED
    assert row.acquired_by is leasehold.TenureOrigin.CLAIM
    assert (row.execution_id, row.lease_id) == (handle.execution_id, handle.lease_id)
    acquired = ledger.read.lease_events()[0]
    assert (row.event_id, acquired.event_type) == (acquired.event_id, "acquired")


def test_a_lease_that_runs_out_has_ended_by_the_clock_alone(
    ledger: leasehold.Ledger, at: Callable[[int], int], start: Callable[..., Any]
) -> None:
    start(ttl=1_000)
    live = tenure(1, 0, "worker-1", acquired_at_ms=0, expires_at_ms=1_000)
    at(999)
    assert tenures(ledger) == [live]
    ended = {**live, "ended_at_ms": 1_000, "ended_by": "expired"}
    at(1_000)  # A lease is held up to its expiry, and not at it.
    assert tenures(ledger) == [ended]
    at(999)  # Nothing of it is on record, so a clock that is put back shows it live.
    assert tenures(ledger) == [live]
    at(60_000)
    ledger.sweep()  # Recorded 59 s late, it still ended at its expiry.
    assert tenures(ledger) == [ended]
    at(999)  # On record it has ended, whatever the clock says.
    assert tenures(ledger) == [ended]


def test_a_take_over_a_resume_and_a_zombie(
    ledger: leasehold.Ledger, at: Callable[[int], int], start: Callable[..., Any]
) -> None:
    zombie = start(ttl=1_000, worker="w1")  # Epoch 1, until 1000.
    at(1_500)
    # Orphaned for 1500 − 1000 = 500; epoch 2 of attempt 1, until 2500.
    ledger.claim(worker_id="w2", worker_instance_id="w2-a", lease_ttl_ms=1_000)
    # Of five refusals the 1st, 2nd and 4th are recorded.
    refuse(ledger.renew, zombie, times=5)
    at(2_000)
    grant = ledger.issue_resume_grant(zombie.execution_id, worker_id="w3", ttl_ms=9_000)
    at(3_200)
    # Nobody records that epoch 2 ran out at 2500: orphaned for 3200 − 2500 = 700.
    third = ledger.claim_from_resume_grant(grant, worker_id="w3", lease_ttl_ms=1_000)
    assert third is not None
    at(3_700)
    ledger.renew(third)  # A gap of 500; 4200 − 3700 = 500 were left; until 4700.
    at(3_900)
    ledger.complete(third)
    refuse(ledger.complete, zombie, b"late")  # The 6th of the zombie: not recorded.
    refuse(ledger.renew, third)  # The execution has ended: the 1st of this handle.
    assert tenures(ledger) == [
        tenure(
            1,
            0,
            "w1",
            acquired_at_ms=0,
            expires_at_ms=1_000,
            ended_at_ms=1_000,
            ended_by="expired",
            orphaned_ms=500,
            refusals=3,
        ),
        tenure(
            2,
            1,
            "w2",
            worker_instance_id="w2-a",
            acquired_at_ms=1_500,
            acquired_by="reclaim",
            expires_at_ms=2_500,
            ended_at_ms=2_500,
            ended_by="expired",
            orphaned_ms=700,
        ),
        tenure(
            3,
            1,
            "w3",
            acquired_at_ms=3_200,
            acquired_by="resume_grant",
            renewals=1,
            last_renewed_at_ms=3_700,
            max_renewal_gap_ms=500,
            min_headroom_ms=500,
            expires_at_ms=4_700,
            ended_at_ms=3_900,
            ended_by="completed",
            refusals=1,
        ),
    ]


def test_what_was_taken_over_has_ended_also_for_a_clock_that_is_put_back(
    ledger: leasehold.Ledger, at: Callable[[int], int], start: Callable[..., Any]
) -> None:
    handle = start(ttl=1_000)
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w2")
    at(1_000)
    assert ledger.claim_from_resume_grant(grant, worker_id="w2", lease_ttl_ms=500)
    at(10)  # No row tells of the expiry, but the resume at 1000 does.
    first, second = tenures(ledger)
    assert (first["ended_at_ms"], first["ended_by"]) == (1_000, "expired")
    assert first["orphaned_ms"] == 0
    assert (second["ended_at_ms"], second["expires_at_ms"]) == (None, 1_500)


def test_a_revocation_by_an_operator(
    ledger: leasehold.Ledger, at: Callable[[int], int], start: Callable[..., Any]
) -> None:
    one = start(ttl=9_000, worker="w1").execution_id
    at(2_000)
    ledger.revoke_lease(one, **OPERATOR)
    at(2_300)
    # Orphaned for 2300 − 2000 = 300, though the lease would have run until 9000.
    assert ledger.claim(worker_id="w2", lease_ttl_ms=5_000)
    at(2_400)
    ledger.revoke_lease(one, **OPERATOR)
    at(2_900)
    # A second end, by the cancellation, has no lease left to end; no take-over.
    ledger.cancel_execution(one, **OPERATOR)
    at(99_000)
    assert tenures(ledger) == [
        tenure(
            1,
            0,
            "w1",
            acquired_at_ms=0,
            expires_at_ms=9_000,
            ended_at_ms=2_000,
            ended_by="operator",
            orphaned_ms=300,
        ),
        tenure(
            2,
            1,
            "w2",
            acquired_at_ms=2_300,
            acquired_by="reclaim",
            expires_at_ms=7_300,
            ended_at_ms=2_400,
            ended_by="operator",
        ),
    ]


@pytest.mark.parametrize(
    ("cancelled_at", "ended"),
    [
        (999, (999, "cancelled")),
        (1_000, (1_000, "expired")),  # The lease was over, although nobody said so.
        (5_000, (1_000, "expired")),
    ],
)
def test_a_cancellation_ends_a_lease_only_before_its_expiry(
    cancelled_at: int,
    ended: tuple[int, str],
    ledger: leasehold.Ledger,
    at: Callable[[int], int],
    start: Callable[..., Any],
) -> None:
    one = start(ttl=1_000).execution_id
    at(cancelled_at)
    ledger.cancel_execution(one, **OPERATOR)
    ledger.replay_execution(one, **OPERATOR)
    at(6_000)
    # What was cancelled and reopened is claimed, not taken over: nobody was waiting.
    assert ledger.claim(worker_id="w2", lease_ttl_ms=1_000)
    first, second = tenures(ledger)
    assert (first["ended_at_ms"], first["ended_by"]) == ended
    assert first["orphaned_ms"] is None
    assert (second["lease_epoch"], second["attempt_index"]) == (2, 1)
    assert second["acquired_by"] == "claim"


@pytest.mark.parametrize(
    ("ttl", "ended"), [(9_000, (4_000, "deadline")), (2_000, (2_000, "expired"))]
)
def test_a_deadline_ends_a_lease_when_it_is_recorded(
    ttl: int,
    ended: tuple[int, str],
    ledger: leasehold.Ledger,
    at: Callable[[int], int],
    start: Callable[..., Any],
) -> None:
    start(ttl=ttl, deadline_at_ms=START_MS + 3_000)
    at(4_000)
    ledger.sweep()
    (only,) = tenures(ledger)
    assert (only["ended_at_ms"], only["ended_by"]) == ended
    assert only["orphaned_ms"] is None


def test_past_the_cap_nobody_takes_over(
    ledger: leasehold.Ledger, at: Callable[[int], int], start: Callable[..., Any]
) -> None:
    one = start(ttl=1_000, worker="w1", max_reclaim_count=1).execution_id
    at(1_000)
    assert ledger.claim(worker_id="w2", lease_ttl_ms=1_000)  # Until 2000.
    at(2_500)
    # The second take-over would be one too many: the execution fails.
    assert ledger.claim(worker_id="w3", lease_ttl_ms=1_000) is None
    assert ledger.read.execution(one).public_state == "failed"
    first, second = tenures(ledger)
    assert (first["ended_by"], first["orphaned_ms"]) == ("expired", 0)
    assert (second["ended_at_ms"], second["ended_by"]) == (2_000, "expired")
    assert second["orphaned_ms"] is None


def test_retries_and_a_replay_go_on_with_the_epochs(
    ledger: leasehold.Ledger, at: Callable[[int], int], start: Callable[..., Any]
) -> None:
    policy = RetryPolicy(max_retries=1, backoff=Fixed(0))
    handle = start(ttl=1_000, worker="w1", retry_policy=policy)
    one = handle.execution_id
    at(100)
    ledger.fail(handle, "flaky", FailureClass.TRANSIENT)
    at(300)
    again = ledger.claim(worker_id="w2", lease_ttl_ms=1_000)
    assert again is not None
    at(350)
    ledger.fail(again, "flaky", FailureClass.TRANSIENT)
    at(400)
    ledger.replay_execution(one, **OPERATOR)
    at(500)
    assert ledger.claim(worker_id="w1", lease_ttl_ms=1_000)
    told = [
        tuple(
            row[name]
            for name in (
                "lease_epoch",
                "attempt_index",
                "worker_id",
                "acquired_by",
                "acquired_at_ms",
                "ended_at_ms",
                "ended_by",
                "orphaned_ms",
            )
        )
        for row in tenures(ledger, one)
    ]
    assert told == [
        (1, 0, "w1", "claim", 0, 100, "retry_scheduled", None),
        (2, 1, "w2", "claim", 300, 350, "failed", None),
        (3, 2, "w1", "claim", 500, None, None, None),
    ]


def test_only_refusals_that_presented_the_lease_are_counted(
    ledger: leasehold.Ledger,
    at: Callable[[int], int],
    start: Callable[..., Any],
    mismatched: Callable[..., Any],
) -> None:
    handle = start(ttl=1_000)
    refuse(ledger.renew, mismatched(handle))
    assert [row["refusals"] for row in tenures(ledger)] == [0]
    at(1_000)
    refuse(ledger.renew, handle)
    ledger.sweep()
    refuse(ledger.progress, handle, 1)
    assert [row["refusals"] for row in tenures(ledger)] == [2]
    kinds = [row.event_type for row in ledger.read.lease_events()]
    assert kinds == ["acquired", "refused", "refused", "expired", "refused"]


def test_times_that_were_clamped_count_as_recorded(
    ledger: leasehold.Ledger, at: Callable[[int], int], start: Callable[..., Any]
) -> None:
    at(5_000)
    handle = start(ttl=1_000)  # Until 6000.
    at(4_000)
    ledger.renew(handle)  # Recorded at 5000: no gap, 1000 were left; 1 ms is added.
    at(4_500)
    ledger.complete(handle)  # Recorded at 5000, too.
    assert tenures(ledger) == [
        tenure(
            1,
            0,
            "worker-1",
            acquired_at_ms=5_000,
            renewals=1,
            last_renewed_at_ms=5_000,
            max_renewal_gap_ms=0,
            min_headroom_ms=1_000,
            expires_at_ms=6_001,
            ended_at_ms=5_000,
            ended_by="completed",
        )
    ]


def test_executions_are_kept_apart_and_ordered_by_acquisition(
    ledger: leasehold.Ledger, at: Callable[[int], int], start: Callable[..., Any]
) -> None:
    first = start(ttl=1_000, worker="w1", lane_id="one")
    second = start(ttl=3_000, worker="w1", lane_id="two")
    at(500)
    ledger.renew(second)  # Until 3500.
    ledger.renew(first)  # Until 1500.
    at(1_600)
    third = ledger.claim("one", worker_id="w2", lease_ttl_ms=1_000)
    assert third is not None
    ledger.complete(second)
    rows = ledger.read.tenures()
    assert [row.lease_id for row in rows] == [
        first.lease_id,
        second.lease_id,
        third.lease_id,
    ]
    assert [row.lane_id for row in rows] == ["one", "two", "one"]
    assert [row.renewals for row in rows] == [1, 1, 0]
    assert [row.orphaned_ms for row in rows] == [100, None, None]
    assert [row.ended_by for row in rows] == ["expired", "completed", None]


def test_the_lane_is_that_of_the_attempt(
    ledger: leasehold.Ledger, start: Callable[..., Any], sql: Callable[..., Any]
) -> None:
    start(lane_id="one")
    assert [row.lane_id for row in ledger.read.tenures(lane_id="one")] == ["one"]
    assert ledger.read.tenures(lane_id="two") == []
    store: Any = ledger._store
    with store.write() as session:
        # Somebody moves the execution by hand: where it was held stays what it was.
        session.execute_plain("UPDATE exec_state SET lane_id = 'two'")
    assert sql("SELECT lane_id FROM exec_core") == [{"lane_id": "two"}]
    assert [row.lane_id for row in ledger.read.tenures()] == ["one"]
    assert [row.lane_id for row in ledger.read.tenures(lane_id="one")] == ["one"]
