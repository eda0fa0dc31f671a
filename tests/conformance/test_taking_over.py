"""Taking over from an expired or revoked lease, and the cap on it."""

import pytest

import leasehold


def expire(ledger, clock, handle):
    clock.set(
        ledger.read.attempt(
            handle.execution_id, handle.attempt_index
        ).lease_expires_at_ms
    )


def test_a_lease_that_ran_out_is_taken_over_as_the_next_attempt(
    ledger, clock, start, core, attempt_row, lease_story
) -> None:
    old = start(ttl=1_000)
    clock.advance(1_000)

    new = ledger.claim(worker_id="w2")

    assert new.kind is leasehold.HandleKind.RECLAIMED
    assert new.execution_id == old.execution_id
    assert new.attempt_index == 1
    assert new.lease_epoch == 2
    assert new.lease_id != old.lease_id
    assert core(old.execution_id)["lease_reclaim_count"] == 1
    assert core(old.execution_id)["attempt_index"] == 1
    before, after = (attempt_row(old.execution_id, n) for n in (0, 1))
    assert before["outcome"] == "interrupted_reclaimed"
    assert before["lease_expires_at_ms"] is None
    assert before["worker_id"] == "worker-1"
    assert after["outcome"] is None
    assert after["worker_id"] == "w2"
    assert lease_story(old.execution_id) == [
        ("acquired", "claim"),
        ("expired", "claim"),
        ("reclaimed", "claim"),
    ]


def test_a_lease_is_not_taken_over_one_ms_early(ledger, clock, start) -> None:
    start(ttl=1_000)
    clock.advance(999)
    assert ledger.claim(worker_id="w2") is None


def test_a_renewed_lease_is_not_taken_over_at_its_first_expiry(
    ledger, clock, start
) -> None:
    handle = start(ttl=1_000)
    clock.advance(500)
    ledger.renew(handle)
    clock.advance(999)
    assert ledger.claim(worker_id="w2") is None
    clock.advance(1)
    assert ledger.claim(worker_id="w2") is not None


def test_an_expiry_that_a_sweep_recorded_is_not_recorded_again(
    ledger, clock, start, lease_story
) -> None:
    handle = start(ttl=1_000)
    clock.advance(2_000)
    ledger.sweep()
    assert ledger.claim(worker_id="w2").attempt_index == 1
    assert lease_story(handle.execution_id) == [
        ("acquired", "claim"),
        ("expired", "sweep"),
        ("reclaimed", "claim"),
    ]


def test_a_revoked_lease_is_taken_over_at_once(
    ledger, start, core, lease_story
) -> None:
    handle = start()
    ledger.revoke_lease(handle.execution_id, actor="ann", reason="stuck")

    new = ledger.claim(worker_id="w2")

    assert new.kind is leasehold.HandleKind.RECLAIMED
    assert (new.attempt_index, new.lease_epoch) == (1, 2)
    assert core(handle.execution_id)["lease_reclaim_count"] == 1
    assert lease_story(handle.execution_id) == [
        ("acquired", "claim"),
        ("revoked", "operator"),
        ("reclaimed", "claim"),
    ]


def test_the_new_holder_needs_the_capabilities_too(ledger, clock, start) -> None:
    handle = start(capabilities=("gpu",), ttl=1_000)
    clock.advance(1_000)
    assert ledger.claim(worker_id="w2") is None
    taken = ledger.claim(capabilities=("gpu",), worker_id="w2")
    assert taken.execution_id == handle.execution_id


def test_priority_and_age_decide_between_expired_and_waiting(
    ledger, clock, start
) -> None:
    old = start(ttl=1_000, priority=1)
    clock.advance(1_000)
    above = ledger.create_execution(priority=2)
    same = ledger.create_execution(priority=1)
    order = [ledger.claim(worker_id="w2").execution_id for _ in range(3)]
    assert order == [above, old.execution_id, same]


def test_epochs_grow_by_one_over_the_whole_life(ledger, clock, start) -> None:
    policy = leasehold.RetryPolicy(backoff=leasehold.Fixed(0))
    handle = start(ttl=1_000, retry_policy=policy)
    execution_id = handle.execution_id
    seen = [(handle.attempt_index, handle.lease_epoch)]

    def note(new):
        seen.append((new.attempt_index, new.lease_epoch))
        return new

    clock.advance(1_000)
    taken = note(ledger.claim(worker_id="w2", lease_ttl_ms=1_000))
    clock.advance(1_000)
    grant = ledger.issue_resume_grant(execution_id, worker_id="w3")
    resumed = note(ledger.claim_from_resume_grant(grant, worker_id="w3"))
    assert taken.execution_id == execution_id
    ledger.fail(resumed, "again", leasehold.FailureClass.TRANSIENT)
    retried = note(ledger.claim(worker_id="w4"))
    ledger.complete(retried)
    ledger.replay_execution(execution_id, actor="ann", reason="once more")
    note(ledger.claim(worker_id="w5"))

    assert seen == [(0, 1), (1, 2), (1, 3), (2, 4), (3, 5)]


def test_past_the_cap_the_execution_fails(
    ledger, clock, start, core, attempt_row, lease_story
) -> None:
    handle = start(ttl=1_000, max_reclaim_count=1)
    clock.advance(1_000)
    assert ledger.claim(worker_id="w2", lease_ttl_ms=1_000).attempt_index == 1
    clock.advance(1_000)

    assert ledger.claim(worker_id="w3") is None

    row = core(handle.execution_id)
    assert row["public_state"] == "failed"
    assert row["terminal_at_ms"] == clock()
    assert attempt_row(handle.execution_id, 1)["outcome"] == "interrupted_reclaimed"
    assert lease_story(handle.execution_id) == [
        ("acquired", "claim"),
        ("expired", "claim"),
        ("reclaimed", "claim"),
        ("expired", "claim"),
    ]
    failed = ledger.read.history(handle.execution_id)[-1]
    assert failed.topic == "execution.failed"
    assert failed.event.cause == "reclaims_exhausted"


def test_past_the_cap_the_claim_looks_on(ledger, clock, start, core) -> None:
    spent = [start(ttl=1_000, max_reclaim_count=0, priority=5) for _ in range(3)]
    below = ledger.create_execution()
    clock.advance(1_000)

    handle = ledger.claim(worker_id="w2")

    assert handle.execution_id == below
    for one in spent:
        assert core(one.execution_id)["public_state"] == "failed"


def test_a_cap_of_none_holds_for_a_revoked_lease_too(ledger, start, core) -> None:
    handle = start(max_reclaim_count=0)
    ledger.revoke_lease(handle.execution_id, actor="ann", reason="stuck")
    assert ledger.claim(worker_id="w2") is None
    assert core(handle.execution_id)["public_state"] == "failed"


def test_retries_and_resumes_do_not_count_as_reclaims(
    ledger, clock, start, core
) -> None:
    policy = leasehold.RetryPolicy(max_retries=5, backoff=leasehold.Fixed(0))
    handle = start(ttl=1_000, max_reclaim_count=0, retry_policy=policy)
    for _ in range(3):
        ledger.fail(handle, "again", leasehold.FailureClass.INFRA_CRASH)
        handle = ledger.claim(worker_id="w", lease_ttl_ms=1_000)
    clock.advance(1_000)
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w")
    assert ledger.claim_from_resume_grant(grant, worker_id="w") is not None
    assert core(handle.execution_id)["lease_reclaim_count"] == 0


@pytest.mark.parametrize("rounds", [1, 4])
def test_the_cap_counts_every_take_over(rounds, ledger, clock, start, core) -> None:
    handle = start(ttl=1_000, max_reclaim_count=rounds)
    for _ in range(rounds):
        clock.advance(1_000)
        assert ledger.claim(worker_id="w", lease_ttl_ms=1_000) is not None
    assert core(handle.execution_id)["lease_reclaim_count"] == rounds
    clock.advance(1_000)
    assert ledger.claim(worker_id="w") is None
    assert core(handle.execution_id)["public_state"] == "failed"
