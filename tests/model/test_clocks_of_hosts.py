"""Hosts whose clocks are an hour apart, on one PostgreSQL: its own clock counts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from store_checks import assert_tenures_do_not_overlap
from stores import outside

import leasehold

if TYPE_CHECKING:
    from stores import Query

PROGRAM = Path(__file__).with_name("clock_process.py")
HALF_AN_HOUR_S = 1_800
LONG_TTL_MS = 60_000
SHORT_TTL_MS = 200
WAIT_S_MAX = 20.0
PAUSE_S = 0.01
SERVER_NOW_MS = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

Ask = Callable[..., Any]


@contextmanager
def host(url: str, offset_s: int) -> Iterator[Ask]:
    """Run a process with a clock that is wrong by so much; give a call that asks it."""
    process = subprocess.Popen(
        [sys.executable, PROGRAM, url, str(offset_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    orders, answers = process.stdin, process.stdout
    assert orders is not None
    assert answers is not None

    def ask(name: str, argument: Any = None) -> Any:
        orders.write(json.dumps([name, argument]) + "\n")
        orders.flush()
        return json.loads(answers.readline())

    try:
        yield ask
    finally:
        orders.close()
        answers.close()
        process.wait(WAIT_S_MAX)


@pytest.fixture
def url(new_store: Callable[..., str]) -> str:
    url = new_store("postgres")
    with leasehold.open(url) as ledger:
        ledger.create_executions([{}, {}])
    return url


@pytest.fixture
def query(url: str) -> Iterator[Query]:
    with outside(url) as query:
        yield query


@pytest.fixture
def hosts(url: str) -> Iterator[tuple[Ask, Ask]]:
    """Give a host that is half an hour ahead, and one that is as much behind."""
    with ExitStack() as end:
        ahead = end.enter_context(host(url, HALF_AN_HOUR_S))
        behind = end.enter_context(host(url, -HALF_AN_HOUR_S))
        apart_ms = ahead("host") - behind("host")
        assert apart_ms == pytest.approx(3_600_000, abs=10_000)
        yield ahead, behind


def now_ms(query: Query) -> int:
    ((read,),) = query(SERVER_NOW_MS)
    return int(read)


def test_a_lease_stands_for_both_until_the_clock_of_the_server_ends_it(
    hosts: tuple[Ask, Ask], query: Query
) -> None:
    begun_ms = now_ms(query)
    handles = [leasehold.Handle.parse(ask("claim", LONG_TTL_MS)) for ask in hosts]
    assert [ask("claim", LONG_TTL_MS) for ask in hosts] == [None, None]
    ended_ms = now_ms(query)
    for handle in handles:
        issued_ms = handle.lease_expires_at_ms - LONG_TTL_MS
        assert begun_ms <= issued_ms <= ended_ms
    # Neither thinks that the lease of the other, or its own, has run out.
    for handle in handles:
        for ask in hosts:
            before_ms = now_ms(query)
            expires_at_ms = ask("renew", str(handle))
            after_ms = now_ms(query)
            assert before_ms <= expires_at_ms - LONG_TTL_MS <= after_ms


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["from ahead", "from behind"])
def test_a_lease_that_ran_out_is_taken_over_by_the_other_and_not_before(
    hosts: tuple[Ask, Ask], query: Query, url: str, order: tuple[int, int]
) -> None:
    holder, other = (hosts[place] for place in order)
    assert holder("claim", LONG_TTL_MS) is not None
    lost = leasehold.Handle.parse(holder("claim", SHORT_TTL_MS))
    begun = time.monotonic()
    while (token := other("claim", LONG_TTL_MS)) is None:
        assert time.monotonic() < begun + WAIT_S_MAX
        time.sleep(PAUSE_S)
    taken = leasehold.Handle.parse(token)
    assert taken.kind is leasehold.HandleKind.RECLAIMED
    assert taken.execution_id == lost.execution_id
    assert holder("renew", str(lost)) == "lease_conflict"
    with leasehold.open(url, read_only=True) as ledger:
        events = ledger.read.events()
    taken_at_ms = taken.lease_expires_at_ms - LONG_TTL_MS
    assert lost.lease_expires_at_ms <= taken_at_ms <= now_ms(query)
    assert {it.event.clock_at_ms for it in events} == {None}  # No time was clamped.
    assert_tenures_do_not_overlap(query)
