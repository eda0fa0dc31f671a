"""Around the guard: what is counted and recorded, and what a store in trouble says.

What every store must do stands in `conformance`; here is what no database has a say in.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import uuid
from contextlib import closing

import pytest

import leasehold
from leasehold.adapters import guarding
from leasehold.adapters.guarding import REFUSAL_COUNTS, RefusalCounts
from leasehold.adapters.sqlite.session import SQLiteSession
from leasehold.domain.errors import StoreError
from leasehold.domain.handles import Lease

REMEMBERED = 10_000
NO_RENEWAL = """
CREATE TRIGGER no_renewal BEFORE INSERT ON stored_events
WHEN NEW.topic = 'attempt.lease_renewed'
BEGIN SELECT RAISE(FAIL, 'no room'); END
"""


@pytest.fixture
def store_url() -> str:
    return "sqlite://"


@pytest.fixture
def late(start, clock) -> leasehold.Handle:
    handle = start(ttl=1_000)
    clock.advance(1_001)
    return handle


def lease(number: int) -> Lease:
    return Lease(
        execution_id=uuid.UUID(int=number),
        attempt_index=0,
        lease_epoch=1,
        lease_id=uuid.UUID(int=number),
        expires_at_ms=0,
    )


def refusal(ledger, handle):
    return next(
        row
        for row in reversed(ledger.read.lease_events(handle.execution_id))
        if row.event_type == "refused"
    )


def refuse(ledger, handle, error=leasehold.LeaseExpiredError) -> None:
    with pytest.raises(error):
        ledger.renew(handle)


def test_the_ten_thousand_handles_refused_last_are_remembered() -> None:
    counts = RefusalCounts()
    for number in range(REMEMBERED):
        counts.count(lease(number))
    assert counts.count(lease(0)) == 2, "as many are remembered"
    counts.count(lease(REMEMBERED))
    assert counts.count(lease(1)) == 1, "one more, and the oldest is not"
    assert counts.count(lease(0)) == 3, "which is not the one that was first refused"


def test_a_forked_child_counts_anew() -> None:
    presented = lease(1)
    assert REFUSAL_COUNTS.count(presented) == 1
    child = os.fork()
    if child == 0:
        os._exit(REFUSAL_COUNTS.count(presented))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert REFUSAL_COUNTS.count(presented) == 2


def test_who_comes_at_the_very_end_is_refused_and_not_late(
    ledger, start, clock
) -> None:
    handle = start(ttl=1_000)
    clock.advance(1_000)
    refuse(ledger, handle)
    assert refusal(ledger, handle).late_ms == 0


def test_how_late_it_is_counts_from_the_last_renewal(ledger, start, clock) -> None:
    handle = start(ttl=1_000)
    clock.advance(900)
    ledger.renew(handle)
    clock.advance(1_007)
    refuse(ledger, handle)
    assert refusal(ledger, handle).late_ms == 7


def test_a_refusal_names_the_instance_of_the_worker(ledger, clock) -> None:
    ledger.create_execution()
    handle = ledger.claim(worker_id="w", worker_instance_id="i-7", lease_ttl_ms=1)
    clock.advance(5)
    refuse(ledger, handle)
    assert refusal(ledger, handle).worker_instance_id == "i-7"


def test_an_attempt_that_is_not_there_is_told_with_its_execution(ledger, start) -> None:
    handle = start()
    with pytest.raises(leasehold.NotFoundError, match="attempt 7 of execution") as told:
        ledger.renew(handle.replace(attempt_index=7))
    assert str(handle.execution_id) in str(told.value)
    unknown = handle.replace(execution_id=uuid.UUID(int=7))
    (answer,) = ledger.renew_many([unknown])
    assert str(uuid.UUID(int=7)) in str(answer)


def test_several_are_loaded_together(ledger, start, monkeypatch) -> None:
    handles = [start(), start()]

    def one_by_one(*_):
        raise AssertionError

    monkeypatch.setattr(guarding, "load", one_by_one)
    assert len(ledger.renew_many(handles)) == 2


def test_no_write_of_another_is_hurried_along_with_a_refusal(
    ledger, start, late, monkeypatch
) -> None:
    """What is brief need not be on the disk when it is answered."""
    told = []
    monkeypatch.setattr(SQLiteSession, "be_brief", lambda _: told.append("brief"))
    renewal, error = ledger.renew_many([start(lane_id="other"), late])
    assert isinstance(renewal, leasehold.LeaseRenewal)
    assert isinstance(error, leasehold.LeaseExpiredError)
    assert (refusal(ledger, late).refused_count, told) == (1, [])
    refuse(ledger, late)
    assert (refusal(ledger, late).refused_count, told) == (2, ["brief"])


def test_a_record_that_broke_is_logged_with_what_broke_it(
    ledger, late, monkeypatch, caplog
) -> None:
    def broken(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(guarding, "record", broken)
    refuse(ledger, late)
    (logged,) = caplog.records
    assert (logged.name, logged.levelno) == ("leasehold", logging.WARNING)
    assert logged.exc_info[0] is RuntimeError


IN_TROUBLE = {
    "busy": (StoreError("x", code="store_busy"), leasehold.LeaseExpiredError),
    "no more writes": (StoreError("x"), leasehold.LeaseExpiredError),
    "away for now": (
        StoreError("x", code="store_unavailable", retryable=True),
        StoreError,
    ),
    "damaged": (StoreError("x", code="corrupt_event"), StoreError),
}


@pytest.mark.parametrize("trouble", IN_TROUBLE)
def test_who_is_late_is_told_so_by_a_store_that_can_still_be_read(
    trouble, ledger, late, monkeypatch
) -> None:
    error, expected = IN_TROUBLE[trouble]

    def no_writes(*_):
        raise error

    monkeypatch.setattr(ledger._store, "transact", no_writes)
    with pytest.raises(expected) as told:
        ledger.renew(late)
    assert (told.value is error) == (expected is StoreError)


def test_a_call_that_had_begun_to_write_is_not_refused_afterwards(
    file_url, file_path
) -> None:
    """Its lease runs out before the store has said that it cannot."""
    times = [0]
    with leasehold.open(
        file_url,
        clock=lambda: times.pop() if len(times) > 1 else times[0],
        durability="normal",
    ) as ledger:
        ledger.create_execution()
        handle = ledger.claim(worker_id="w", lease_ttl_ms=1_000)
        times[:] = [1_000, 999]
        with closing(sqlite3.connect(file_path)) as connection:
            connection.execute(NO_RENEWAL)
        with pytest.raises(StoreError):
            ledger.renew(handle)
        refuse(ledger, handle)
