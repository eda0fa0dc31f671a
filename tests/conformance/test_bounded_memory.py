"""What reads the whole log holds a page of it: bounded by bytes, not by events."""

import os
import tracemalloc

import pytest

import leasehold

MIB = 1024 * 1024
EXECUTIONS, FRAMES = 60, 3
LARGEST = (1 + FRAMES / 2) * MIB
PAGE = 8 * MIB
# A page of the log and one of each of two tables; the log has bytes in base64. The
# largest execution stands there as it is kept, decoded, and as rows on both sides.
MOST = 3 * 4 / 3 * PAGE + 6 * LARGEST


class Sink:
    """A file that keeps nothing."""

    def write(self, data):
        return len(data)


def first_of_as_of(ledger):
    with ledger.as_of(10**6) as then:
        then.executions(limit=1)


def followed(ledger):
    with ledger.subscribe(after=0) as subscription:
        assert 0 < len(subscription.next_events(0)) < EXECUTIONS


CALLS = {
    "verify": lambda ledger: ledger.verify(),
    "rebuild": lambda ledger: ledger.rebuild(),
    "audit": lambda ledger: ledger.audit(),
    "audit without rows": lambda ledger: ledger.audit(rows=False),
    "export": lambda ledger: ledger.export(Sink()),
    "export redacted": lambda ledger: ledger.export(Sink(), redact=True),
    "checkpoint": lambda ledger: ledger.checkpoint(),
    "diff": lambda ledger: ledger.diff(0, 1),
    "as_of": first_of_as_of,
    "subscribe": followed,
}


@pytest.fixture
def large(shared_url):
    with leasehold.open(shared_url, durability="normal") as ledger:
        for _ in range(EXECUTIONS):
            ledger.create_execution(payload=os.urandom(MIB))
        for _ in range(EXECUTIONS // 10):
            handle = ledger.claim(worker_id="worker-1")
            for _ in range(FRAMES):
                ledger.append_frame(handle, leasehold.Frame(os.urandom(MIB // 2)))
        yield ledger


def test_memory_is_bounded_by_pages_and_the_largest_execution(large) -> None:
    chosen = [it.execution_id for it in large.read.executions()]
    calls = {
        **CALLS,
        "export chosen": lambda ledger: ledger.export(Sink(), chosen),
    }
    peaks = {}
    for name, call in calls.items():
        tracemalloc.start()
        try:
            call(large)
            peaks[name] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert {name: it // MIB for name, it in peaks.items() if it > MOST} == {}
