"""Much at once on PostgreSQL: large batches, long capability sets, a grown queue."""

from __future__ import annotations

import os
import random
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

import leasehold
from leasehold.adapters import walking
from leasehold.adapters.postgres.connecting import connect
from leasehold.adapters.queries import named_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1024 * 1024
PATIENCE_S = 60
WAITING = 20_000
ROWS_LOOKED_AT_MAX = 500


@pytest.fixture
def shared_url(new_store: Callable[..., str]) -> str:
    return new_store("postgres")


@pytest.fixture
def ledger(shared_url: str) -> Iterator[leasehold.Ledger]:
    with leasehold.open(shared_url, durability="normal") as opened:
        yield opened


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make connections whose sockets take little at a time, as over a network."""

    def make(*given: Any, **named: Any) -> Any:
        connection = connect(*given, **named)
        duplicate = socket.socket(fileno=os.dup(connection.fileno()))
        duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        duplicate.close()
        return connection

    monkeypatch.setattr("leasehold.adapters.postgres.connecting.connect", make)


def in_time(call: Callable[[], Any]) -> Any:
    """Make a call in a thread: it must come back."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(call()), daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), "the call does not come back"
    return answers[0]


def test_a_batch_that_fills_the_socket_comes_back(
    ledger: leasehold.Ledger,
) -> None:
    specs = [
        {"idempotency_key": f"key-{number}", "payload": random.randbytes(4 * MIB)}
        for number in range(3)
    ]
    made = in_time(lambda: ledger.create_executions(specs))
    assert in_time(lambda: ledger.create_executions(specs)) == made
    stored = ledger.read.execution(made[-1])
    assert stored is not None
    assert stored.payload == specs[-1]["payload"]


@pytest.mark.usefixtures("narrow")
def test_frames_that_fill_a_narrow_socket_come_back(ledger: leasehold.Ledger) -> None:
    execution_id = ledger.create_execution()
    handle = ledger.claim(worker_id="w")
    assert handle is not None
    for mode in (leasehold.Durable(), leasehold.BestEffort()):
        frame = leasehold.Frame(random.randbytes(MIB), mode=mode)
        in_time(lambda sent=frame: ledger.append_frame(handle, sent))
    in_time(lambda: ledger.complete(handle, random.randbytes(4 * MIB)))
    assert len(ledger.read.frames(execution_id, 0)) == 2


def test_the_longest_capability_sets_are_told_apart(ledger: leasehold.Ledger) -> None:
    chance = random.Random(3)
    token = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=4_000))
    other = f"{token[:-1]}!"
    ledger.create_execution(capabilities=[token], priority=5)
    wanted = ledger.create_execution(capabilities=[other])
    handle = ledger.claim(capabilities=[other], worker_id="w")
    assert handle is not None
    assert handle.execution_id == wanted
    assert ledger.claim(capabilities=[other], worker_id="w") is None
    assert ledger.claim(capabilities=[token], worker_id="w") is not None


def rows_read(plan: dict[str, Any]) -> int:
    """Add up the rows that the scans of a plan read, given out or not."""
    filtered = plan.get("Rows Removed by Filter", 0)
    own = plan["Actual Rows"] + filtered if "Relation Name" in plan else 0
    below = (rows_read(child) for child in plan.get("Plans", ()))
    return int(own * plan["Actual Loops"]) + sum(below)


def plan_of(
    ledger: leasehold.Ledger, name: str, values: dict[str, Any]
) -> dict[str, Any]:
    """Run a named query; return what the server did for it."""
    query = named_queries("leasehold.adapters.postgres")[name]
    store: Any = ledger._store  # type: ignore[attr-defined]
    with store.write() as session:
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {query}".encode()
        (row,) = session.connection.execute(explain, values).fetchall()
    ((explained,),) = row.values()
    plan: dict[str, Any] = explained["Plan"]
    return plan


STEPS = (("acquired", "claim"), ("renewed", "renew"), ("revoked", "completed"))


def fill_with_tenures(outsider: Any, *, one_execution: bool) -> None:
    """Make up rows of `lease_event`: tenures of three rows, each after the other."""
    for step, (kind, cause) in enumerate(STEPS):
        outsider.execute(
            f"INSERT INTO lease_event SELECT 3 * n + {step},"
            f" 'e' || {'0' if one_execution else 'n'}, 0, 'l' || n, 1, '{kind}',"
            f" '{cause}', 'w', NULL, NULL, 1000, {step}, NULL, NULL, NULL"
            f" FROM generate_series(1, {WAITING}) AS n"
        )
    outsider.execute(
        "INSERT INTO stored_events (notification_id, originator_id,"
        f" originator_version, topic, state) VALUES ({9 * WAITING}, 'x', 1, 'x', '')"
    )


@pytest.mark.parametrize("is_analyzed", [False, True])
@pytest.mark.parametrize("one_execution", [False, True])
@pytest.mark.parametrize("name", ["tenures", "tenures_of_worker"])
def test_a_page_of_tenures_reads_little_of_a_large_table(
    name: str,
    one_execution: bool,
    is_analyzed: bool,
    ledger: leasehold.Ledger,
    outsider: Any,
) -> None:
    fill_with_tenures(outsider, one_execution=one_execution)
    if is_analyzed:
        outsider.execute("ANALYZE lease_event")
    values = {"after": 3 * WAITING // 2, "most": 10, "worker_id": "w"}
    values |= dict.fromkeys(("now_ms", "lane_id", "since_ms"))
    plan = plan_of(ledger, name, values)
    assert plan["Actual Rows"] == 10
    assert rows_read(plan) < ROWS_LOOKED_AT_MAX


def test_a_claim_reads_little_of_a_queue_that_grew_since_it_was_analyzed(
    ledger: leasehold.Ledger, outsider: Any
) -> None:
    ledger.create_execution()
    outsider.execute("ANALYZE exec_state")
    outsider.execute(
        "INSERT INTO exec_state SELECT (jsonb_populate_record(s, jsonb_build_object("
        "'execution_id', gen_random_uuid()::text))).*"
        f" FROM exec_state AS s, generate_series(1, {WAITING})"
    )
    values = {"lane_id": "default", "now_ms": None, "offered": "[]", "depth": 16}
    assert 0 < rows_read(plan_of(ledger, "candidates", values)) < ROWS_LOOKED_AT_MAX


def test_a_rebuild_on_opening_waits_for_those_who_read(
    ledger: leasehold.Ledger, shared_url: str, outsider: Any
) -> None:
    ledger.create_executions([{}] * 3)
    outsider.execute(
        "UPDATE leasehold_meta SET value = '0' WHERE key = 'projection_version'"
    )
    store: Any = ledger._store  # type: ignore[attr-defined]
    opening = threading.Thread(target=lambda: leasehold.open(shared_url).close())
    with store.read() as session:
        # Its view is taken here, before it has touched any table that is made anew.
        assert len([*walking.log(session)]) == 3
        opening.start()
        waiting = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted"
        while not outsider.execute(waiting)[0]["n"]:
            assert opening.is_alive(), "it did not wait"
        assert session.fetch_all("counts") == [("pending", 3)]
    opening.join(PATIENCE_S)
    assert not opening.is_alive()
    assert ledger.read.counts()["pending"] == 3
    ledger.create_execution()
