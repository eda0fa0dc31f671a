"""Known answers: histories whose figures were worked out on paper."""

import pytest

import leasehold
from leasehold import LaneFigures, Spread, WorkerFigures

TTL_MS = 1_000
NO_SPREAD = Spread(0, None, None, None)


@pytest.fixture
def at(clock):
    """Move the clock to so many ms after the beginning."""
    start_ms = clock()
    return lambda ms: clock.set(start_ms + ms)


def claim(ledger, lane, worker):
    handle = ledger.claim(lane, worker_id=worker, lease_ttl_ms=TTL_MS)
    assert handle is not None
    return handle


def lost_and_taken_over(ledger, at):
    """Tell the story of a pause that was too long.

        0  ann claims, until 1000
      400  ann renews, until 1400
     1100  ann renews, until 2100
     2600  bob takes over, until 3600: the execution was an orphan for 500
     2700  ann renews and is refused, 600 after her lease had run out
     3000  bob completes

    Ann held it from 0 to 2100, bob from 2600 to 3000.
    """
    at(0)
    ledger.create_execution(lane_id="render")
    ann = claim(ledger, "render", "ann")
    at(400)
    ledger.renew(ann)
    at(1_100)
    ledger.renew(ann)
    at(2_600)
    bob = claim(ledger, "render", "bob")
    at(2_700)
    with pytest.raises(leasehold.LeaseConflictError):
        ledger.renew(ann)
    at(3_000)
    ledger.complete(bob)


def test_a_lease_that_was_lost_and_taken_over(ledger, at) -> None:
    lost_and_taken_over(ledger, at)
    assert ledger.audit().figures == leasehold.AuditFigures(
        # created · claimed, started · 2 renewed · lease_expired, interrupted, claimed,
        # started · refused · succeeded, completed
        events=12,
        executions=1,
        tenures=2,
        renewals=2,
        refusals=1,
        reclaims=1,
        false_reclaims=1,
        time_to_reclaim_ms=Spread(1, 500.0, 500, 500),
        orphaned_ms=500,
        orphans_now=0,
        attempts_per_execution=Spread(1, 2.0, 2, 2),
        longest_tenure_ms=2_100,
        by_lane={"render": LaneFigures(2, 2, 1, 1, 1, 1, 2_500, 500)},
        by_worker={
            "ann": WorkerFigures(1, 2, 1, 0, 1, 1, 2_100, 500),
            "bob": WorkerFigures(1, 0, 0, 1, 0, 0, 400, 0),
        },
    )


def revoked_and_resumed(ledger, at):
    """Tell the story of a lease that an operator took away.

        0  cid claims, until 1000
      200  an operator revokes the lease
      300  dot resumes with a grant, until 1300: an orphan for 100
      700  dot fails, and the retry is due at once
      800  cid claims again, until 1800

    Cid held it from 0 to 200 and holds it since 800, dot from 300 to 700.
    """
    at(0)
    policy = leasehold.RetryPolicy(max_retries=1, backoff=leasehold.Fixed(0))
    execution_id = ledger.create_execution(lane_id="bills", retry_policy=policy)
    claim(ledger, "bills", "cid")
    at(200)
    ledger.revoke_lease(execution_id, actor="op", reason="stuck")
    grant = ledger.issue_resume_grant(execution_id, worker_id="dot")
    at(300)
    dot = ledger.claim_from_resume_grant(grant, worker_id="dot", lease_ttl_ms=TTL_MS)
    assert dot is not None
    at(700)
    ledger.fail(dot, "no paper", leasehold.FailureClass.TRANSIENT)
    at(800)
    claim(ledger, "bills", "cid")


def test_a_lease_that_was_revoked_and_resumed(ledger, at) -> None:
    revoked_and_resumed(ledger, at)
    at(1_500)
    assert ledger.audit().figures == leasehold.AuditFigures(
        # created · claimed, started · revoked · grant issued · reclaimed · failed,
        # retry scheduled · claimed, started
        events=10,
        executions=1,
        tenures=3,
        renewals=0,
        refusals=0,
        reclaims=1,
        false_reclaims=0,
        time_to_reclaim_ms=Spread(1, 100.0, 100, 100),
        orphaned_ms=100,
        orphans_now=0,
        attempts_per_execution=Spread(1, 2.0, 2, 2),
        longest_tenure_ms=700,  # The one that lives: 800 to 1500.
        by_lane={"bills": LaneFigures(3, 0, 0, 1, 0, 0, 1_300, 100)},
        by_worker={
            "cid": WorkerFigures(2, 0, 0, 0, 0, 0, 900, 100),
            "dot": WorkerFigures(1, 0, 0, 1, 0, 0, 400, 0),
        },
    )
    # At 1800 the last lease runs out, and nobody takes it.
    at(5_000)
    figures = ledger.audit().figures
    assert figures.orphans_now == 1
    assert figures.longest_tenure_ms == 1_000
    assert figures.by_worker["cid"] == WorkerFigures(2, 0, 0, 0, 0, 1, 1_200, 100)


def test_two_stories_and_only_what_was_held_since(ledger, at) -> None:
    lost_and_taken_over(ledger, at)
    revoked_and_resumed(ledger, at)
    at(3_000)
    figures = ledger.audit().figures
    assert (figures.executions, figures.tenures, figures.reclaims) == (2, 5, 2)
    assert figures.time_to_reclaim_ms == Spread(2, 300.0, 500, 500)
    assert figures.orphaned_ms == 600
    assert list(figures.by_lane) == ["bills", "render"]
    # Since 2200: bob's tenure, and the refusal; ann's had ended at 2100, cid's at 1800.
    since_ms = at(2_200)
    at(3_000)
    figures = ledger.audit(since_ms).figures
    assert (figures.executions, figures.tenures) == (2, 1)
    assert figures.refusals == 1
    assert list(figures.by_worker) == ["bob"]
    assert figures.time_to_reclaim_ms == NO_SPREAD
    assert figures.attempts_per_execution == Spread(1, 2.0, 2, 2)
    assert figures.orphans_now == 1


def test_a_refusal_before_the_take_over_makes_no_false_reclaim(ledger, at) -> None:
    at(0)
    ledger.create_execution(lane_id="render")
    ann = claim(ledger, "render", "ann")
    at(1_000)
    with pytest.raises(leasehold.LeaseExpiredError):
        ledger.renew(ann)
    at(1_200)
    claim(ledger, "render", "bob")
    figures = ledger.audit().figures
    assert (figures.reclaims, figures.false_reclaims, figures.refusals) == (1, 0, 1)


def test_a_revoked_holder_that_writes_on_makes_no_false_reclaim(ledger, at) -> None:
    at(0)
    execution_id = ledger.create_execution(lane_id="render")
    ann = claim(ledger, "render", "ann")
    ledger.revoke_lease(execution_id, actor="op", reason="stuck")
    claim(ledger, "render", "bob")
    with pytest.raises(leasehold.LeaseConflictError):
        ledger.renew(ann)
    figures = ledger.audit().figures
    assert (figures.reclaims, figures.false_reclaims, figures.refusals) == (1, 0, 1)
