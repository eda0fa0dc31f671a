"""Closing, forking, and sharing one store."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import leasehold


def test_a_reader_sees_what_a_writer_commits(shared_url) -> None:
    with (
        leasehold.open(shared_url) as writer,
        leasehold.open(shared_url, read_only=True) as reader,
    ):
        execution_id = writer.create_execution()
        assert reader.read.execution(execution_id) is not None
        writer.complete(writer.claim(worker_id="w"))
        assert reader.read.execution(execution_id).public_state == "completed"


def uses(ledger, handle):
    return {
        "create": ledger.create_execution,
        "batch": lambda: ledger.create_executions([{}]),
        "claim": lambda: ledger.claim(worker_id="w"),
        "renew": lambda: ledger.renew(handle),
        "progress": lambda: ledger.progress(handle, 1),
        "frame": lambda: ledger.append_frame(handle, leasehold.Frame(b"x")),
        "complete": lambda: ledger.complete(handle),
        "sweep": ledger.sweep,
        "read": lambda: ledger.read.execution(handle.execution_id),
        "history": lambda: ledger.read.history(handle.execution_id),
    }


def test_after_closing_every_use_is_refused(ledger, start) -> None:
    handle = start()
    reader = ledger.read
    ledger.close()
    ledger.close()
    for name, use in uses(ledger, handle).items():
        with pytest.raises(leasehold.StoreError, match="closed") as refused:
            use()
        assert refused.value.code == "store_unavailable", name
    with pytest.raises(leasehold.StoreError, match="closed"):
        reader.counts()


def test_leaving_the_block_closes(store_url) -> None:
    with leasehold.open(store_url) as ledger:
        assert isinstance(ledger, leasehold.Ledger)
    with pytest.raises(leasehold.StoreError):
        ledger.create_execution()


FORK = """
import os, sys, leasehold
ledger = leasehold.open(sys.argv[1])
execution_id = ledger.create_execution()
reader = ledger.read
child = os.fork()
if child == 0:
    for use in (ledger.create_execution, lambda: ledger.claim(worker_id="w"),
                lambda: reader.execution(execution_id)):
        try:
            use()
        except leasehold.StoreError as error:
            if error.code != "store_unavailable" or "open" not in str(error):
                os._exit(2)
        else:
            os._exit(1)
    try:
        ledger.close()
    except leasehold.StoreError:
        pass
    with leasehold.open(sys.argv[1]) as own:
        own.create_execution()
    os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
ledger.create_execution()
print(status, ledger.read.counts()["pending"])
"""


@pytest.fixture
def from_the_child(store_url) -> int:
    """Say how many executions of a child are seen here: a private store is its own."""
    return 0 if store_url == "sqlite://" else 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_in_a_forked_child_it_says_to_open_it_there(store_url, from_the_child) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK, store_url],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.split() == ["0", str(2 + from_the_child)], done.stderr


def test_two_ledgers_on_one_store_share_everything(shared_url, clock) -> None:
    with (
        leasehold.open(shared_url, clock=clock) as one,
        leasehold.open(shared_url, clock=clock) as two,
    ):
        ids = [one.create_execution(), two.create_execution()]
        handles = [two.claim(worker_id="w2"), one.claim(worker_id="w1")]
        assert [handle.execution_id for handle in handles] == ids
        assert one.claim(worker_id="w1") is two.claim(worker_id="w2") is None
        one.complete(handles[0])
        two.complete(handles[1])
        assert one.read.counts() == two.read.counts()
        assert one.read.counts()["completed"] == 2


def test_one_ledger_serves_many_threads(ledger) -> None:
    def live(number):
        for _ in range(5):
            ledger.create_execution(lane_id=f"lane-{number}")
            handle = ledger.claim(f"lane-{number}", worker_id=f"w{number}")
            ledger.renew(handle)
            ledger.append_frame(handle, leasehold.Frame(b"x"))
            ledger.read.execution(handle.execution_id)
            ledger.complete(handle)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(live, number) for number in range(8)]:
            done.result()
    assert ledger.read.counts()["completed"] == 40
