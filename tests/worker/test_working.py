"""A worker with handlers that are plain functions, on each store."""

import logging
import threading
import time
from collections import Counter

import pytest

import leasehold
from leasehold import FailureClass

WITHIN_S = 60
AT_ONCE = leasehold.RetryPolicy(max_retries=1, backoff=leasehold.Fixed(0))


def test_what_a_handler_returns_completes_the_execution(ledger, running, ended):
    ids = [ledger.create_execution(payload=b"%d" % n) for n in range(20)]
    running(lambda context: context.payload * 2, concurrency=4)
    ended(20)
    results = [ledger.read.execution(one).result for one in ids]
    assert results == [b"%d" % n * 2 for n in range(20)]
    assert ledger.audit().ok


def test_a_handler_is_given_its_work(ledger, running, ended):
    seen = []

    def handler(context):
        assert isinstance(context, leasehold.WorkContext)
        seen.append((context.execution_id, context.attempt_index, context.lane_id))
        seen.append((context.payload, context.tags, context.last_failure))
        context.check()
        assert not context.is_lost
        assert not context.is_stopping
        assert not context.lost.is_set()
        assert not context.lost.wait(0)
        assert context.lease.remaining_ms() > 0
        context.progress(50, "half")
        assert context.summary() == {}
        assert context.patch_summary({"pages": 3}).summary_version == 1
        assert context.patch_summary({"title": "a", "pages": None}).frame_count == 2
        assert context.summary() == context.summary(0) == {"title": "a"}
        with pytest.raises(leasehold.InvalidInputError, match="patch"):
            context.patch_summary({"pages": float("nan")})
        assert context.append_frame(leasehold.Frame(b"line")).frame_count == 3

    execution_id = ledger.create_execution(
        lane_id="mail", payload=b"letter", tags={"to": "dora"}, capabilities=["post"]
    )
    running(handler, lanes=["mail"], capabilities=["post"], worker_instance_id="w-1")
    ended(1)
    assert seen == [(execution_id, 0, "mail"), (b"letter", {"to": "dora"}, None)]
    row = ledger.read.attempt(execution_id, 0)
    assert (row.worker_id, row.worker_instance_id) == ("w", "w-1")
    core = ledger.read.execution(execution_id)
    assert (core.public_state, core.result) == ("completed", None)
    assert core.raw_fields == {"progress_pct": 50, "progress_message": "half"}


def test_a_retry_knows_what_the_attempt_before_failed_with(ledger, running, ended):
    seen = []

    def handler(context):
        seen.append(context.last_failure)
        if context.attempt_index == 0:
            raise OSError("no answer")

    ledger.create_execution(retry_policy=AT_ONCE)
    running(handler)
    ended(1)
    assert seen[0] is None
    assert seen[1].failure_class is FailureClass.TRANSIENT
    assert seen[1].message == "OSError: no answer"
    assert "test_working.py" in seen[1].detail


def test_a_mapping_decides_and_no_exception_ends_the_worker(ledger, running, ended):
    def handler(context):
        raise {b"value": ValueError, b"exit": SystemExit}[context.payload]("bad")

    no_retry = leasehold.RetryPolicy(max_retries=0)
    ids = [
        ledger.create_execution(payload=payload, retry_policy=no_retry)
        for payload in (b"value", b"exit")
    ]
    running(handler, failure_classes={ValueError: FailureClass.PERMANENT})
    ended(2)
    classes = [ledger.read.attempt(one, 0).failure_class for one in ids]
    assert classes == [FailureClass.PERMANENT, FailureClass.INFRA_CRASH]
    assert ledger.audit().ok


async def _never_awaited():
    """Be a coroutine."""


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda: 7, "the handler returned int; it must return bytes, the result, or"),
        (lambda: "text", "the handler returned str; it must return bytes"),
        (_never_awaited, "the handler returned coroutine"),
        (lambda: bytes(16 * 1024 * 1024 + 1), "what the handler returned: result"),
    ],
    ids=["a number", "text", "a coroutine", "too long"],
)
def test_what_is_no_result_fails_for_good(ledger, running, ended, returned, said):
    execution_id = ledger.create_execution()
    running(lambda _: returned())
    ended(1)
    row = ledger.read.attempt(execution_id, 0)
    assert row.failure_class is FailureClass.PERMANENT
    assert row.failure_message.startswith(said)


def test_a_handler_may_end_the_attempt_itself(ledger, running, ended):
    def handler(context):
        context.lease.complete(b"mine")
        return b"ignored"

    execution_id = ledger.create_execution()
    running(handler)
    ended(1)
    assert ledger.read.execution(execution_id).result == b"mine"
    assert ledger.audit().counts == {}


def test_no_more_handlers_run_than_were_asked_for(ledger, running, ended):
    lock, most, now = threading.Lock(), 0, 0
    all_in = threading.Barrier(3)

    def handler(_):
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        all_in.wait(WITHIN_S)
        with lock:
            now -= 1

    ledger.create_executions([{}] * 12)
    running(handler, concurrency=3)
    ended(12)
    assert most == 3


def test_lanes_take_turns_also_with_one_slot(ledger, running, ended):
    order = []
    for lane in ("a", "b", "c"):
        ledger.create_executions([{"lane_id": lane}] * 6)
    ledger.create_executions([{"lane_id": "other"}])
    running(lambda context: order.append(context.lane_id), lanes=["a", "b", "c"])
    ended(18)
    assert Counter(order[:9]) == {"a": 3, "b": 3, "c": 3}
    assert Counter(order) == {"a": 6, "b": 6, "c": 6}


def test_an_idle_worker_is_woken_by_what_is_written(ledger, running, ended):
    # It would look again after half an hour.
    running(lambda _: None, poll_s=(3_600, 3_600))
    for count in range(1, 4):
        ledger.create_execution()
        ended(count)


def test_an_idle_worker_comes_when_a_delay_is_over(ledger, running, ended):
    policy = leasehold.RetryPolicy(max_retries=1, backoff=leasehold.Fixed(300))
    ledger.create_execution(retry_policy=policy)

    def handler(context):
        if context.attempt_index == 0:
            raise OSError

    running(handler, poll_s=(3_600, 3_600))
    ended(1)


def test_a_handler_whose_lease_was_revoked_is_told(ledger, running, ended):
    began, told = threading.Event(), threading.Event()

    def handler(context):
        if context.attempt_index:
            return b"second"
        began.set()
        assert context.lost.wait(WITHIN_S)
        with pytest.raises(leasehold.ContentionError):
            context.progress(50)
        with pytest.raises(leasehold.ContentionError):
            context.check()
        told.set()
        return b"first"

    execution_id = ledger.create_execution()
    running(handler, lease_ttl_ms=600, concurrency=2)
    assert began.wait(WITHIN_S)
    ledger.revoke_lease(execution_id, actor="dora", reason="it hangs")
    ended(1)
    assert told.wait(WITHIN_S)
    assert ledger.read.execution(execution_id).result == b"second"
    assert ledger.audit().ok


def test_a_handler_that_hangs_loses_its_lease_on_progress(ledger, running, ended):
    told = threading.Event()

    def handler(context):
        if context.attempt_index == 0:
            assert context.lost.wait(WITHIN_S)
            told.set()
            context.check()

    ledger.create_execution()
    running(handler, lease_ttl_ms=300, renew_on="progress", concurrency=2)
    ended(1)
    assert told.wait(WITHIN_S)


def test_a_store_that_cannot_claim_for_a_while_is_asked_again(
    ledger, running, ended, monkeypatch, caplog
):
    claim_many, calls = ledger.claim_many, []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) <= 2:
            raise leasehold.StoreError("busy", code="store_busy", retryable=True)
        return claim_many(*args, **kwargs)

    monkeypatch.setattr(ledger, "claim_many", failing)
    ledger.create_execution()
    with caplog.at_level(logging.WARNING, "leasehold"):
        running(lambda _: None)
        ended(1)
    assert sum("could not claim" in text for text in caplog.messages) == 2


def test_what_the_store_could_not_end_is_tried_again(
    ledger, running, ended, monkeypatch
):
    complete, calls = ledger.complete, []

    def failing(handle, result=None):
        calls.append(result)
        complete(handle, result)
        if len(calls) == 1:
            raise leasehold.StoreError("the answer was lost", code="store_unavailable")

    monkeypatch.setattr(ledger, "complete", failing)
    runs = []
    execution_id = ledger.create_execution()
    running(lambda _: runs.append(1) or b"done")
    ended(1)
    until_s = time.monotonic() + WITHIN_S
    while len(calls) < 2 and time.monotonic() < until_s:
        time.sleep(0.01)
    assert calls == [b"done", b"done"]
    assert runs == [1]
    assert ledger.read.execution(execution_id).result == b"done"
    assert ledger.audit().counts == {}


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"worker_id": ""}, "worker_id"),
        ({"worker_instance_id": ""}, "worker_instance_id"),
        ({"lanes": []}, "lanes"),
        ({"lanes": "mail"}, "lanes"),
        ({"lanes": [""]}, "lanes"),
        ({"capabilities": ["a b"]}, "capabilities"),
        ({"concurrency": 0}, "concurrency"),
        ({"lease_ttl_ms": 0}, "lease_ttl_ms"),
        ({"lease_ttl_ms": 10}, "too short"),
        ({"renew_on": "never"}, "renew_on"),
        ({"grace_s": -1}, "grace_s"),
        ({"grace_s": float("nan")}, "grace_s"),
        ({"poll_s": 1}, "poll_s"),
        ({"poll_s": (0, 1)}, "poll_s"),
        ({"poll_s": (2, 1)}, "poll_s"),
        ({"poll_s": (1, 2, 3)}, "poll_s"),
        ({"failure_classes": {int: "transient"}}, "failure_classes"),
        ({"handler": None}, "handler"),
        ({"ledger": None}, "ledger"),
    ],
)
def test_wrong_terms_are_refused(terms, said):
    with leasehold.open("sqlite://") as ledger:
        given = {"ledger": ledger, "handler": print, "worker_id": "w", **terms}
        with pytest.raises(leasehold.InvalidInputError, match=said):
            leasehold.Worker(given.pop("ledger"), given.pop("handler"), **given)


def test_a_worker_runs_once_and_signals_are_for_the_main_thread():
    with leasehold.open("sqlite://") as ledger:
        worker = leasehold.Worker(ledger, print, worker_id="w")
        with pytest.raises(leasehold.InvalidInputError, match="grace_s"):
            worker.stop(grace_s=-1)
        said = []

        def elsewhere():
            with pytest.raises(leasehold.InvalidInputError, match="main thread"):
                worker.run(handle_signals=True)
            said.append(True)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(WITHIN_S)
        assert said == [True]
        worker.stop()
        worker.run()
        with pytest.raises(leasehold.InvalidInputError, match="runs once"):
            worker.run()
