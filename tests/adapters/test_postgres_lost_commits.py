"""What a crash of the server takes with it, at each durability.

`LEASEHOLD_CRASHES` sets how often it crashes.
"""

from __future__ import annotations

import os

import pytest

import leasehold

CRASHES = int(os.environ.get("LEASEHOLD_CRASHES", "2"))
ROUNDS = 4


@pytest.fixture
def slow_server(own_server):
    """Have the server put off what may be put off: 10 seconds are the most."""
    own_server.restart(wal_writer_delay="10s")
    yield own_server
    own_server.restart(wal_writer_delay="200ms")


def work(ledger):
    """Make calls; return the handle, and where the log ended after each call."""
    ends, handle = [], None

    def made(answer):
        ends.append(ledger.read.settled_position())
        return answer

    for _ in range(ROUNDS):
        made(ledger.create_executions([{"lane_id": "other"}] * 3))
        made(ledger.create_execution())
        if handle is not None:
            made(ledger.renew(handle))
            made(ledger.complete(handle))
        handle = made(ledger.claim(worker_id="w"))
    return handle, ends


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_a_crash_of_the_server_takes_whole_calls_from_the_end_and_at_full_none(
    durability, slow_server, own_url, clock, record_property
) -> None:
    leasehold.open(own_url).close()
    lost = 0
    with leasehold.open(own_url, clock=clock, durability=durability) as ledger:
        for _ in range(CRASHES):
            begun = ledger.read.settled_position()
            handle, ends = work(ledger)
            before = ledger.read.events(after=begun)
            slow_server.crash()
            slow_server.start()
            after = ledger.read.events(after=begun)
            assert after == before[: len(after)]
            reached = ledger.read.settled_position()
            assert reached in ends or not after
            lost += sum(end > reached for end in ends)
            if len(after) == len(before):
                ledger.renew(handle)
            else:
                with pytest.raises(leasehold.LeaseholdError) as told:
                    ledger.renew(handle)
                assert told.value.code in {"not_found", "execution_not_active"}
            for row in ledger.read.executions("default", public_state="running"):
                ledger.cancel_execution(row.execution_id, actor="ann", reason="done")
        assert ledger.verify().ok
        assert ledger.audit().ok
    assert lost == 0 or durability == "normal"
    line = f"crashes at durability {durability}: {CRASHES}, {lost} calls lost"
    record_property("faults", line)
