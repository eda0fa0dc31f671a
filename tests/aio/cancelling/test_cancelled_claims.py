"""Cancelled claims: no lease stays with a worker that never got its handle."""

import pytest
from store_wholeness import check_whole, nobody_holds

import leasehold
from leasehold.adapters.aio import giving_back

pytestmark = pytest.mark.anyio


async def test_a_claim_after_its_commit_is_given_back(shared, other, clock, cancelled):
    job = other.create_execution(
        retry_policy=leasehold.RetryPolicy(max_retries=0), max_reclaim_count=1
    )
    sync_claim = shared._wrapped.claim

    def then_cancel(*args, **kwargs):
        handle = sync_claim(*args, **kwargs)
        cancelled.cancel_from_thread()
        return handle

    shared._wrapped.claim = then_cancel
    assert await cancelled.run(lambda: shared.claim(worker_id="w1"))
    (tenure,) = other.read.tenures(job)
    assert (tenure.worker_id, tenure.ended_by) == ("w1", "operator")
    revoked = other.read.history(job)[-1].event
    assert (revoked.actor, revoked.reason) == ("w1", giving_back.REASON)
    # At once, and without a retry that the execution has not got.
    taken = other.claim(worker_id="w2")
    assert taken.kind == leasehold.HandleKind.RECLAIMED
    other.complete(taken)
    check_whole(shared, other)


async def test_a_resumed_attempt_is_given_back_too(shared, other, clock, cancelled):
    job = other.create_execution()
    other.claim(worker_id="w1", lease_ttl_ms=1_000)
    grant = other.issue_resume_grant(job, worker_id="w1")
    clock.now_ms += 1_000

    async def work():
        clock.act = cancelled.cancel_from_thread
        await shared.claim_from_resume_grant(grant, worker_id="w1")

    assert await cancelled.run(work)
    assert other.read.tenures(job)[-1].acquired_by == "resume_grant"
    assert nobody_holds(other, job)
    check_whole(shared, other)


async def test_all_leases_of_a_claim_of_several_are_given_back(
    shared, other, clock, cancelled
):
    jobs = other.create_executions([{}] * 3)

    async def work():
        clock.act = cancelled.cancel_from_thread
        await shared.claim_many(2, worker_id="w1")

    assert await cancelled.run(work)
    ends = [[row.ended_by for row in other.read.tenures(job)] for job in jobs]
    assert ends == [["operator"], ["operator"], []]
    check_whole(shared, other)


async def test_a_lease_that_is_lost_already_is_left_alone(
    shared, other, clock, cancelled
):
    job = other.create_execution()
    sync_claim = shared._wrapped.claim

    def then_lose_it(*args, **kwargs):
        handle = sync_claim(*args, **kwargs)
        clock.now_ms = handle.lease_expires_at_ms
        assert other.claim(worker_id="w2")
        cancelled.cancel_from_thread()
        return handle

    shared._wrapped.claim = then_lose_it
    assert await cancelled.run(lambda: shared.claim(worker_id="w1"))
    ends = [tenure.ended_by for tenure in other.read.tenures(job)]
    assert ends == ["expired", None]


async def test_what_cannot_be_given_back_runs_out_and_is_logged(
    shared, other, clock, cancelled, caplog
):
    other.create_execution()

    def then_close(*args, **kwargs):
        handle = leasehold.Ledger.claim(shared._wrapped, *args, **kwargs)
        cancelled.cancel_from_thread()
        shared._wrapped.close()
        return handle

    shared._wrapped.claim = then_close
    assert await cancelled.run(lambda: shared.claim(worker_id="w1"))
    (record,) = [one for one in caplog.records if one.name == "leasehold"]
    assert "not taken back" in record.message
    assert "closed" in str(record.exc_info[1])


async def test_a_claim_that_found_nothing_has_nothing_to_give_back(
    shared, other, clock, cancelled
):
    before = other.read.settled_position()

    def find_nothing(**kwargs):
        cancelled.cancel_from_thread()

    shared._wrapped.claim = find_nothing
    assert await cancelled.run(lambda: shared.claim(worker_id="w1"))
    assert other.read.settled_position() == before
