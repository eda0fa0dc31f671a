"""Stopping a worker: what runs may finish within the grace, and the rest is failed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import serving_process

import leasehold
from leasehold import FailureClass
from leasehold.adapters.holding.entering import Hold

PROGRAM = Path(serving_process.__file__)
WITHIN_S = 60
HANDLERS = 100

memory = pytest.mark.parametrize("store_url", ["sqlite://"])


def test_what_runs_may_finish_and_nothing_more_is_taken(ledger):
    began = threading.Event()

    def handler(context):
        began.set()
        while not context.is_stopping:
            assert not context.lost.wait(0.01)
        return b"done"

    ledger.create_executions([{}] * 2)
    worker = leasehold.Worker(ledger, handler, worker_id="w")
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert began.wait(WITHIN_S)
    worker.stop()
    thread.join(WITHIN_S)
    assert not thread.is_alive()
    counts = ledger.read.counts()
    assert (counts["completed"], counts["pending"]) == (1, 1)
    assert ledger.audit().counts == {}


@pytest.mark.parametrize("retries", [0, 3])
def test_after_the_grace_the_rest_is_failed_and_told(ledger, retries):
    began, go_on, over = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def handler(context):
        began.set()
        seen.append(context.lost.wait(WITHIN_S))
        assert go_on.wait(WITHIN_S)
        with pytest.raises(leasehold.ExecutionNotActiveError) as refusal:
            context.progress(99)
        seen.append(refusal.value.lifecycle_phase)
        over.set()
        return b"too late"

    policy = leasehold.RetryPolicy(max_retries=retries)
    execution_id = ledger.create_execution(retry_policy=policy)
    worker = leasehold.Worker(ledger, handler, worker_id="w")
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert began.wait(WITHIN_S)
    worker.stop(grace_s=0)
    thread.join(WITHIN_S)
    assert not thread.is_alive()
    go_on.set()
    assert over.wait(WITHIN_S)
    assert seen == [True, "runnable" if retries else "terminal"]
    row = ledger.read.attempt(execution_id, 0)
    assert row.failure_class is FailureClass.INFRA_CRASH
    assert row.failure_message == "the worker was stopped, and its grace ran out"
    # Nothing was written late: not even the result reached the store.
    assert ledger.audit().counts == {}


def test_a_store_that_hangs_up_in_the_drain_leaves_the_rest_to_run_out(
    ledger, monkeypatch, caplog
):
    both = threading.Barrier(3)
    go_on = threading.Event()

    def handler(_):
        both.wait(WITHIN_S)
        assert go_on.wait(WITHIN_S)

    def failing(*_):
        raise leasehold.StoreError("gone", code="store_unavailable")

    ledger.create_executions([{}] * 2)
    worker = leasehold.Worker(ledger, handler, worker_id="w", concurrency=2)
    thread = threading.Thread(target=worker.run)
    thread.start()
    both.wait(WITHIN_S)
    monkeypatch.setattr(ledger, "fail", failing)
    worker.stop(grace_s=0)
    thread.join(WITHIN_S)
    assert not thread.is_alive()
    assert caplog.messages.count("what a worker leaves is left to run out: gone") == 1
    assert ledger.read.counts()["running"] == 2
    go_on.set()


@memory
def test_what_is_left_to_run_out_is_told_and_renewed_no_more(ledger, monkeypatch):
    began, told = threading.Event(), threading.Event()

    def handler(context):
        began.set()
        context.lost.wait()
        told.set()
        with pytest.raises(leasehold.LeaseholdError, match="was given up"):
            context.check()

    def failing(*_):
        raise leasehold.StoreError("gone", code="store_unavailable")

    ledger.create_execution()
    worker = leasehold.Worker(ledger, handler, worker_id="w")
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert began.wait(WITHIN_S)
    monkeypatch.setattr(ledger, "fail", failing)
    worker.stop(grace_s=0)
    thread.join(WITHIN_S)
    assert not thread.is_alive()
    assert not list(ledger._keeper._all_kept)
    assert told.wait(WITHIN_S)


@memory
def test_calls_that_hang_are_waited_for_together_and_not_one_by_one(
    ledger, monkeypatch, caplog
):
    all_hang = threading.Barrier(HANDLERS + 1)
    go_on = threading.Event()

    def hanging(*_):
        all_hang.wait(WITHIN_S)
        assert go_on.wait(2 * WITHIN_S)

    monkeypatch.setattr(ledger, "complete", hanging)
    ledger.create_executions([{}] * HANDLERS)
    worker = leasehold.Worker(
        ledger, lambda _: None, worker_id="w", concurrency=HANDLERS
    )
    thread = threading.Thread(target=worker.run)
    thread.start()
    all_hang.wait(WITHIN_S)
    worker.stop(grace_s=0)
    thread.join(WITHIN_S)
    assert not thread.is_alive()
    left = [text for text in caplog.messages if text.endswith("left to run out")]
    assert len(left) == HANDLERS
    go_on.set()


@memory
def test_what_cannot_be_explained_is_logged_with_its_traceback(
    ledger, monkeypatch, caplog
):
    def broken(*_):
        worker.stop()
        raise ZeroDivisionError

    monkeypatch.setattr(Hold, "begin", broken)
    ledger.create_execution()
    worker = leasehold.Worker(ledger, print, worker_id="w")
    worker.run()
    assert "ended: ZeroDivisionError" in caplog.text
    assert "in broken" in caplog.text


def test_a_signal_that_was_handled_outside_of_python_is_left_to_its_default(
    monkeypatch,
):
    set_now = []

    def set_handler(number, handler):
        set_now.append((number, handler))

    monkeypatch.setattr(signal, "signal", set_handler)
    with leasehold.open("sqlite://") as ledger:
        worker = leasehold.Worker(ledger, print, worker_id="w")
        worker.stop()
        worker.run(handle_signals=True)
    assert set_now[2:] == [
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGINT, signal.SIG_DFL),
    ]


def test_an_interrupt_drains_as_well(ledger, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger, "claim_many", interrupted)
    with pytest.raises(KeyboardInterrupt):
        leasehold.Worker(ledger, print, worker_id="w").run()


def test_no_thread_for_a_handler_gives_the_work_back(ledger, monkeypatch):
    start = threading.Thread.start

    def refused(thread):
        if thread.name.startswith("leasehold-handler"):
            worker.stop()
            raise RuntimeError("can't start new thread")
        start(thread)

    execution_id = ledger.create_execution()
    worker = leasehold.Worker(ledger, print, worker_id="w")
    monkeypatch.setattr(threading.Thread, "start", refused)
    worker.run()
    row = ledger.read.attempt(execution_id, 0)
    assert row.failure_class is FailureClass.INFRA_CRASH
    assert "can't start new thread" in row.failure_message


@contextlib.contextmanager
def serving(url, *arguments):
    """Run the program; its lines come as it writes them."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", PROGRAM, url, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_sigterm_during_many_handlers(shared_url, kind):
    with leasehold.open(shared_url, durability="normal") as ledger:
        ids = ledger.create_executions(
            [{"payload": b"%d" % number} for number in range(HANDLERS)]
        )
        with serving(shared_url, kind, HANDLERS) as process:
            for _ in range(HANDLERS):
                assert process.stdout.readline() == "began\n"
            os.kill(process.pid, signal.SIGTERM)
            figures = json.loads(process.communicate(timeout=WITHIN_S)[0])
        assert process.returncode == 0
        assert figures["took_s"] < serving_process.GRACE_S + WITHIN_S / 2
        # Those with an even number end when they are told, the others never.
        for number, execution_id in enumerate(ids):
            row = ledger.read.execution(execution_id)
            if number % 2 == 0:
                assert (row.public_state, row.result) == ("completed", b"in time")
            else:
                attempt = ledger.read.attempt(execution_id, 0)
                assert attempt.failure_class is FailureClass.INFRA_CRASH
                assert row.public_state in {"delayed", "pending"}
        assert ledger.read.counts()["running"] == 0
        report = ledger.audit()
        assert report.ok
        assert report.counts == {}


def test_a_second_signal_ends_the_grace(shared_url):
    with leasehold.open(shared_url, durability="normal") as ledger:
        ledger.create_execution(payload=b"1")
        with serving(shared_url, "long", 1) as process:
            assert process.stdout.readline() == "began\n"
            os.kill(process.pid, signal.SIGINT)
            assert process.stdout.readline() == "stopping\n"
            os.kill(process.pid, signal.SIGINT)
            figures = json.loads(process.communicate(timeout=WITHIN_S)[0])
        assert process.returncode == 0
        assert figures["took_s"] < serving_process.LONG_GRACE_S
        assert ledger.audit().counts == {}
