"""Handlers for workers that run them in processes: importable there by their names.

Where a payload is a number, it is a port of this host: the handler connects to it and
talks by lines. The connection ends when nobody has it any more: neither the handler nor
what it began.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import leasehold

FOREVER_S = 3_600


class UnsentError(Exception):
    """Fail an attempt for good."""


def connect(context: leasehold.WorkContext) -> socket.socket:
    """Connect to the test."""
    return socket.create_connection(("127.0.0.1", int(context.payload)))


def say(line: socket.socket, text: object) -> None:
    """Write a line."""
    line.sendall(f"{text}\n".encode())


def leave_behind(line: socket.socket) -> None:
    """Start a process that keeps the connection open, and does nothing."""
    subprocess.Popen(["sleep", str(FOREVER_S)], stdin=line)


def various(context: leasehold.WorkContext) -> object:
    """Do what the payload names."""
    return {
        b"everything": everything,
        b"own end": own_end,
        b"raise": raising,
        b"no result": lambda _: 7,
        b"leave a thread": leave_a_thread,
        b"interrupt a call": interrupt_a_call,
    }[context.payload](context)


def everything(context: leasehold.WorkContext) -> bytes:
    """Use all of the context, as a handler in a thread does."""
    assert isinstance(context, leasehold.WorkContext)
    assert (context.attempt_index, context.lane_id) == (1, "mail")
    assert (context.tags, context.payload) == ({"to": "dora"}, b"everything")
    assert context.last_failure.failure_class is leasehold.FailureClass.TRANSIENT
    context.check()
    assert not context.is_lost
    assert not context.is_stopping
    assert not context.lost.is_set()
    assert not context.lost.wait(0)
    context.progress(50, "half")
    assert context.summary() == {}
    assert context.patch_summary({"pages": 3}).summary_version == 1
    assert context.summary() == {"pages": 3}
    assert context.summary(0) == {}
    assert context.append_frame(leasehold.Frame(b"line")).frame_count == 2
    with pytest.raises(leasehold.InvalidInputError, match="percent"):
        context.progress(101)
    with pytest.raises(leasehold.InvalidInputError, match="cannot be sent"):
        context.append_frame(lambda: None)
    lease = context.lease
    assert lease.execution_id == context.execution_id
    assert lease.renew().lease_epoch == lease.lease_epoch == 2
    assert 0 < lease.remaining_ms() <= 30_000
    lease.beat()
    child = os.fork()
    if not child:
        # Only the process that was given the lease has it.
        os._exit(0 if context.is_lost else 1)
    assert os.waitpid(child, 0)[1] == 0
    return b"%d" % os.getpid()


def own_end(context: leasehold.WorkContext) -> bytes:
    """End the attempt by the lease."""
    context.lease.complete(b"%d" % os.getpid())
    assert context.lease.remaining_ms() == 0
    return b"ignored"


def raising(context: leasehold.WorkContext) -> None:
    """Raise what the mapping names."""
    raise UnsentError(context.payload, lambda: "cannot be pickled")


left_behind: list[leasehold.WorkContext] = []


def leave_a_thread(context: leasehold.WorkContext) -> bytes | None:
    """Use the context of a handler that has ended; at first, keep it for that."""
    if not left_behind:
        left_behind.append(context)
        return None
    with pytest.raises(leasehold.IllegalTransitionError, match="has ended"):
        left_behind[0].progress(10)
    return b"refused"


def interrupt_a_call(context: leasehold.WorkContext) -> bytes:
    """Leave calls by the exception of a signal, and make others afterwards."""

    def interrupt(*_: object) -> None:
        # No `Exception`: that would be an error of what it interrupts.
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    for number in range(200):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.000_05)
            context.summary()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            interrupted += 1
        context.progress(number / 2)
        assert context.summary() == {}
    assert interrupted
    return b"went on"


def crashing(context: leasehold.WorkContext) -> bytes:
    """Crash the interpreter as the payload says."""
    match context.payload:
        case b"killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case b"segfault":
            ctypes.string_at(0)
        case b"closes all":
            # Whoever closes all files takes the line to the worker, too.
            os.closerange(3, 256)
            time.sleep(FOREVER_S)
    return b"fine"


def crashing_with_company(context: leasehold.WorkContext) -> bytes | None:
    """Crash while something runs that the handler began; the second time, do not."""
    if context.attempt_index:
        return b"second"
    line = connect(context)
    leave_behind(line)
    say(line, "began")
    os._exit(3)


def losing(context: leasehold.WorkContext) -> bytes | None:
    """Say that the lease is lost, and go on in the way that the tag names."""
    if context.attempt_index:
        return context.tags["way"].encode()
    line = connect(context)
    say(line, os.getpid())
    if context.tags["way"] == "hangs":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    context.lost.wait()
    with pytest.raises(leasehold.LeaseRevokedError):
        context.check()
    with pytest.raises(leasehold.LeaseRevokedError):
        context.progress(50)
    say(line, "told")
    if context.tags["way"] == "returns":
        return b"too late"
    try:
        threading.Event().wait(FOREVER_S)
    finally:
        say(line, "cleaned up")
    return None


def reporting(context: leasehold.WorkContext) -> bytes | None:
    """Report until a renewal was seen, or not at all."""
    if context.payload == b"hangs":
        if not context.attempt_index:
            context.lost.wait()
            context.check()
        return None
    left_ms = context.lease.remaining_ms()
    while True:
        context.check()
        context.lease.beat()
        before_ms, left_ms = left_ms, context.lease.remaining_ms()
        if left_ms > before_ms:
            return b"renewed"
        time.sleep(0.01)


def until_stopped(context: leasehold.WorkContext) -> bytes:
    """Say what it is, and end when the worker is being stopped, or never."""
    line = connect(context)
    say(line, os.getpid())
    sys.stdout.write("from a handler\n")
    sys.stdout.flush()
    leave_behind(line)
    while not context.is_stopping:
        time.sleep(0.01)
    say(line, "stopping")
    if context.tags["way"] == "hangs":
        threading.Event().wait(FOREVER_S)
    return b"in time"


def until_lost(context: leasehold.WorkContext) -> None:
    """Say when the lease is lost, and go on."""
    line = connect(context)
    leave_behind(line)
    say(line, "began")
    context.lost.wait()
    say(line, type(context.lease.lost_because).__name__)
    try:
        threading.Event().wait(FOREVER_S)
    finally:
        say(line, "cleaned up")


class Elsewhere:
    """A handler that does not load in another process."""

    def __init__(self, how: str) -> None:
        self._how = how

    def __call__(self, _context: leasehold.WorkContext) -> None:
        """Do nothing."""

    def __reduce__(self) -> tuple[object, ...]:
        return load_elsewhere, (self._how, os.getpid())


def load_elsewhere(how: str, process: int) -> Elsewhere:
    """Load a handler in the process that it comes from."""
    if os.getpid() != process:
        if how == "crashes":
            os._exit(7)
        raise ImportError("no such module here")
    return Elsewhere(how)


def main(url: str, handler: str, ttl_ms: str) -> None:
    """Be a worker: `process_handlers.py URL HANDLER TTL_MS`, until a signal."""
    ledger = leasehold.open(url, durability="normal")
    worker = leasehold.Worker(
        ledger,
        globals()[handler],
        worker_id="served",
        run_in="process",
        concurrency=2,
        lease_ttl_ms=int(ttl_ms),
        grace_s=1.5,
    )
    if handler == "until_lost":
        # The program ends with its main thread, whatever else there is.
        threading.Thread(target=worker.run, daemon=True).start()
        sys.stdin.read()
    else:
        with ledger:
            worker.run(handle_signals=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
