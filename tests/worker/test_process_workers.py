"""Handlers in processes of their own, that crash, hang and are killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import process_handlers
import pytest

import leasehold
from leasehold import FailureClass
from leasehold.adapters.worker import children
from leasehold.adapters.worker.children import Child
from leasehold.adapters.worker.messages import Lost
from leasehold.adapters.worker.processes import pack

PROGRAM = Path(process_handlers.__file__)
WITHIN_S = 60
ONCE = leasehold.RetryPolicy(max_retries=0)
AT_ONCE = leasehold.RetryPolicy(max_retries=1, backoff=leasehold.Fixed(0))

each_shared = pytest.mark.parametrize("store_url", ["file", "postgres"], indirect=True)
a_file = pytest.mark.parametrize("store_url", ["file"], indirect=True)


@pytest.fixture
def store_url(request, new_store):
    """Name the store that a test asks for."""
    return new_store(request.param)


class Listener:
    """What handlers connect to."""

    def __init__(self, server):
        self._server = server
        self.payload = b"%d" % server.getsockname()[1]

    def accept(self):
        """Take the next connection, as a file of lines."""
        connection, _ = self._server.accept()
        with connection:
            connection.settimeout(WITHIN_S)
            return connection.makefile()


@pytest.fixture
def listener():
    """Listen to handlers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(WITHIN_S)
        yield Listener(server)


def said(line):
    """Read the next line; an empty one says that nobody has the connection."""
    return line.readline().rstrip("\n")


@contextmanager
def serving(url, handler, ttl_ms=30_000):
    """Run a worker as a program that leads a process group."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", PROGRAM, url, handler, str(ttl_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=WITHIN_S)


@each_shared
def test_a_handler_in_a_process_is_given_the_same(ledger, running, ended):
    handle = ledger.claim("mail", worker_id="before") if submit(ledger) else None
    ledger.fail(handle, "not now", FailureClass.TRANSIENT)
    for name in ("own end", "raise", "no result", *["leave a thread"] * 2):
        ledger.create_execution(
            lane_id="mail", payload=name.encode(), retry_policy=ONCE
        )
    ledger.create_execution(lane_id="mail", payload=b"interrupt a call")
    running(
        process_handlers.various,
        lanes=["mail"],
        run_in="process",
        failure_classes={process_handlers.UnsentError: FailureClass.PERMANENT},
    )
    ended(7)
    rows = {row.payload: row for row in ledger.read.executions()}
    core = rows[b"everything"]
    assert core.public_state == "completed"
    assert core.raw_fields["progress_pct"] == 50
    # It was used again; what a handler raises does not end it.
    assert core.result == rows[b"own end"].result != b"%d" % os.getpid()
    assert rows[b"leave a thread"].result == b"refused"
    assert rows[b"interrupt a call"].result == b"went on"
    failed = [
        ledger.read.attempt(rows[name].execution_id, 0)
        for name in (b"raise", b"no result")
    ]
    assert [row.failure_class for row in failed] == [FailureClass.PERMANENT] * 2
    assert failed[0].failure_message.startswith("process_handlers.UnsentError")
    assert "in raising" in failed[0].failure_detail
    assert failed[1].failure_message.startswith("the handler returned int")
    assert ledger.audit().counts == {}


def submit(ledger):
    return ledger.create_execution(
        lane_id="mail",
        payload=b"everything",
        tags={"to": "dora"},
        retry_policy=AT_ONCE,
        priority=1,
    )


@a_file
def test_a_crash_fails_the_attempt_and_takes_nothing_along(
    ledger, running, ended, monkeypatch
):
    messages = {
        b"killed": "the process of the handler was killed by SIGKILL, as the system "
        "does when memory runs out",
        b"unlucky": "no process could be started: no more of them",
        b"segfault": "the process of the handler was killed by SIGSEGV",
        b"closes all": "the process of the handler was killed by SIGKILL",
        b"fine": "",
    }
    start, started = children._spawning.Process.start, []

    def start_but_the_second(process):
        started.append(process)
        if len(started) == 2:
            raise BlockingIOError("no more of them")
        start(process)

    monkeypatch.setattr(children._spawning.Process, "start", start_but_the_second)
    for payload in messages:
        ledger.create_execution(payload=payload, retry_policy=ONCE)
    running(process_handlers.crashing, run_in="process")
    ended(len(messages))
    assert len(started) == 5
    for row in ledger.read.executions():
        attempt = ledger.read.attempt(row.execution_id, 0)
        if row.payload == b"fine":
            assert row.result == b"fine"
        else:
            assert attempt.failure_class is FailureClass.INFRA_CRASH
            assert attempt.failure_message.startswith(messages[row.payload])
    assert ledger.audit().counts == {}


@a_file
def test_what_a_crashed_handler_began_is_killed_before_the_next_attempt(
    ledger, running, ended, listener
):
    execution_id = ledger.create_execution(
        payload=listener.payload, retry_policy=AT_ONCE
    )
    running(process_handlers.crashing_with_company, run_in="process")
    line = listener.accept()
    assert said(line) == "began"
    assert said(line) == ""
    ended(1)
    assert ledger.read.execution(execution_id).result == b"second"
    crash = ledger.read.attempt(execution_id, 0).failure_message
    assert crash == "the process of the handler ended with status 3"


@a_file
def test_a_handler_that_has_lost_its_lease_is_told_terminated_and_killed(
    ledger, running, ended, listener, monkeypatch
):
    monkeypatch.setattr(children, "LOST_GRACE_S", 0.2)
    monkeypatch.setattr(children, "TERMINATED_S", 0.2)
    running(process_handlers.losing, run_in="process", lease_ttl_ms=600)
    processes, told = [], []
    for way in ("returns", "goes on", "hangs"):
        execution_id = ledger.create_execution(
            payload=listener.payload, tags={"way": way}
        )
        line = listener.accept()
        processes.append(said(line))
        ledger.revoke_lease(execution_id, actor="dora", reason="not wanted")
        lines = list(iter(lambda line=line: said(line), ""))
        told.append(lines)
        ended_now = ledger.read.execution(execution_id)
        assert ended_now.result != b"too late"
    ended(3)
    assert told == [["told"], ["told", "cleaned up"], ["told"]]
    # Who returns in time is used again.
    assert processes[0] == processes[1] != processes[2]
    assert [row.result for row in ledger.read.executions()] == [
        b"returns",
        b"goes on",
        b"hangs",
    ]
    assert ledger.audit().ok


@a_file
def test_reports_of_a_handler_in_a_process_keep_the_lease(ledger, running, ended):
    ids = [ledger.create_execution(payload=name) for name in (b"reports", b"hangs")]
    running(
        process_handlers.reporting,
        run_in="process",
        renew_on="progress",
        lease_ttl_ms=600,
        concurrency=2,
    )
    ended(2)
    assert ledger.read.execution(ids[0]).result == b"renewed"
    assert ledger.read.execution(ids[1]).attempt_index > 0
    assert ledger.audit().ok


@each_shared
def test_a_drain_leaves_no_process(ledger, store_url, listener):
    ids = [
        ledger.create_execution(payload=listener.payload, tags={"way": way})
        for way in ("ends", "hangs")
    ]
    with serving(store_url, "until_stopped") as process:
        lines = [listener.accept() for _ in ids]
        handlers = [int(said(line)) for line in lines]
        # As a terminal does, and a supervisor that signals the whole service.
        os.killpg(process.pid, signal.SIGTERM)
        for handler in handlers:
            os.kill(handler, signal.SIGTERM)
        for line in lines:
            assert said(line) == "stopping"
        output = process.communicate(timeout=WITHIN_S)[0]
        assert process.returncode == 0
        assert output == "from a handler\n" * 2
        # The connections are closed: neither the handlers nor what they began is there.
        assert [said(line) for line in lines] == ["", ""]
    rows = [ledger.read.execution(one) for one in ids]
    assert [row.public_state for row in rows] == ["completed", "delayed"]
    assert rows[0].result == b"in time"
    attempt = ledger.read.attempt(ids[1], 0)
    assert attempt.failure_class is FailureClass.INFRA_CRASH
    assert attempt.failure_message == "the worker was stopped, and its grace ran out"
    assert ledger.audit().counts == {}


@a_file
def test_no_process_is_left_where_the_worker_is_stopped_and_killed(
    ledger, store_url, listener
):
    ledger.create_execution(payload=listener.payload)
    with serving(store_url, "until_lost", ttl_ms=1_000) as process:
        line = listener.accept()
        assert said(line) == "began"
        # The worker can tell nothing; the lease runs out by the handler's own clock.
        process.send_signal(signal.SIGSTOP)
        assert said(line) == "LeaseExpiredError"
        process.kill()
        assert said(line) == "cleaned up"
        assert said(line) == ""
    assert ledger.audit().ok


@a_file
def test_a_program_ends_with_its_main_thread(ledger, store_url, listener):
    ledger.create_execution(payload=listener.payload)
    with serving(store_url, "until_lost") as process:
        line = listener.accept()
        assert said(line) == "began"
        process.communicate("", timeout=WITHIN_S)
        assert process.returncode == 0
        assert said(line) == ""


def test_a_process_that_reads_nothing_keeps_nobody_waiting():
    child = Child(pack(process_handlers.crashing, {}))
    child.load()
    os.kill(child._process.pid, signal.SIGSTOP)
    news = Lost(0, leasehold.LeaseExpiredError("x" * 1_000))
    for _ in range(1_000):
        child._tell(news)
    assert child._is_deaf
    assert child.end().startswith("was killed by SIGKILL")


class Holder:
    """A handler that cannot be pickled."""

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, _context):
        """Do nothing."""


LocalError = type("LocalError", (Exception,), {"__module__": "nowhere"})


async def in_the_loop(_context):
    """Do nothing."""


@pytest.mark.parametrize(
    ("handler", "terms", "said"),
    [
        (lambda _: None, {}, "handler cannot be sent to another process"),
        (Holder(), {}, "handler cannot be sent"),
        (in_the_loop, {}, "an async handler runs in the event loop"),
        (print, {"failure_classes": {LocalError: "transient"}}, "failure_classes cann"),
        (print, {"run_in": "fork"}, "run_in must be 'thread' or 'process'"),
    ],
    ids=["a lambda", "an object", "async", "a class of errors", "fork"],
)
def test_what_cannot_go_to_a_process_is_refused_at_once(handler, terms, said):
    given = {"worker_id": "w", "run_in": "process", **terms}
    with (
        leasehold.open("sqlite://") as ledger,
        pytest.raises(leasehold.InvalidInputError, match=said),
    ):
        leasehold.Worker(ledger, handler, **given)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raises", "does not load in another process: ImportError: no such module"),
        ("crashes", "the first one ended with status 7 before it was ready"),
    ],
)
def test_a_handler_that_does_not_load_is_given_no_work(how, said):
    with leasehold.open("sqlite://") as ledger:
        ledger.create_execution()
        handler = process_handlers.Elsewhere(how)
        worker = leasehold.Worker(ledger, handler, worker_id="w", run_in="process")
        with pytest.raises(leasehold.InvalidInputError, match=said):
            worker.run()
        assert ledger.read.counts()["pending"] == 1
