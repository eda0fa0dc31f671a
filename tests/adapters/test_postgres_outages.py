"""A server that crashes, restarts or ends connections while clients are at work."""

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from every_call import CALLS, worked
from outsiders import outsider_of, with_schema
from postgres_server import start_server
from proxy import cut, proxy_to

import leasehold

PROGRAM = Path(__file__).parents[1] / "servers" / "outage_worker.py"
CLIENTS = 4
BETWEEN_S = 1.2


@pytest.fixture
def clients(tmp_path):
    """Start clients on a ledger, and read their journals when they have ended."""
    started = []

    def start(url):
        for number in range(CLIENTS):
            journal = tmp_path / f"journal-{number}"
            command = [
                sys.executable,
                "-W",
                "error",
                PROGRAM,
                url,
                f"w{number}",
                journal,
            ]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            started.append((process, journal))
        until = time.monotonic() + 30
        while not all(journal.exists() for _, journal in started):
            assert time.monotonic() < until
            time.sleep(0.02)

    def finish():
        told = [process.communicate(timeout=60)[1] for process, _ in started]
        assert told == [""] * CLIENTS
        return [
            [json.loads(line) for line in journal.read_text().splitlines()]
            for _, journal in started
        ]

    yield start, finish
    for process, _ in started:
        process.kill()
        process.communicate()


def crash(server):
    """Kill the server with all its processes, as a power cut does."""
    listed = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    children = listed.read_text().split() if listed.exists() else []
    server.kill()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    time.sleep(0.2)
    server.start()


def kill_the_first(server):
    """Kill the process that all others come from; they go when they notice."""
    server.kill()
    server.start()


def kill_one(server):
    """Kill the process behind one connection: the server then begins anew."""
    with closing(psycopg.connect(server.url)) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'leasehold'"
        ).fetchall()
    os.kill(found[0][0], signal.SIGKILL)


def restart(server):
    """Restart the server in good order."""
    server.stop(signal.SIGINT)
    server.start()


def check(url, journals) -> None:
    """Hold what clients were told against what the store holds."""
    lines = [line for journal in journals for line in journal]
    of_call = collections.defaultdict(list)
    for line in lines:
        of_call[line["call"]].append(line)
    assert of_call["unexpected"] == []
    assert {line["code"] for line in of_call["trouble"]} <= {"store_unavailable"}
    for line in of_call["trouble"]:
        assert "nothing was written" in line["text"] or "not known" in line["text"]
    claims = collections.Counter((x["id"], x["epoch"]) for x in of_call["claimed"])
    assert set(claims.values()) == {1}
    assert {epoch for _, epoch in claims} == {1}
    with leasehold.open(url, read_only=True) as ledger:
        stored = {}
        after = None
        while page := ledger.read.executions(limit=1_000, after=after):
            stored |= {str(row.execution_id): row for row in page}
            after = page[-1].execution_id
        assert ledger.verify().ok
    with closing(outsider_of(url)) as outsider:
        keys = outsider.execute(
            "SELECT idempotency_key, execution_id FROM exec_state ORDER BY 1"
        )
    by_key = {row["idempotency_key"]: row["execution_id"] for row in keys}
    assert len(by_key) == len(keys)
    assert {x["key"]: x["id"] for x in of_call["created"]}.items() <= by_key.items()
    assert len(stored) == len(by_key) >= len(of_call["created"])
    assert len(of_call["completed"]) == len(of_call["claimed"]) > 50
    for line in of_call["completed"]:
        row = stored[line["id"]]
        assert (row.public_state, row.result) == (
            "completed",
            line["result"].encode(),
        )
    for line in of_call["progressed"]:
        raw = stored[line["id"]].raw_fields
        assert raw["progress_message"] == line["message"]


def test_acknowledged_calls_outlive_crashes_and_restarts_of_the_server(clients) -> None:
    start, finish = clients
    with start_server() as server:
        url = with_schema(server.url, "here")
        leasehold.open(url).close()
        start(url)
        for end in (crash, kill_the_first, kill_one, restart):
            time.sleep(BETWEEN_S)
            end(server)
        time.sleep(BETWEEN_S)
        journals = finish()
        assert any(x["call"] == "trouble" for journal in journals for x in journal)
        check(url, journals)


@pytest.fixture
def counted(own_url, clock):
    """Open a ledger behind a proxy, with an outsider who can end its connections."""
    leasehold.open(own_url).close()
    with (
        proxy_to(own_url) as proxy,
        leasehold.open(proxy.url(), clock=clock, durability="normal") as ledger,
        closing(outsider_of(own_url)) as outsider,
    ):
        yield proxy, ledger, outsider


def at_statement(proxy, number, act):
    """Act at the statement of a number, from 1."""
    left = [number]

    def count(wire):
        left[0] -= 1
        if not left[0]:
            return act(wire)
        proxy.at(b"", count)
        return True

    proxy.at(b"", count)


@pytest.mark.parametrize("how", ["the server's end", "the connection's end"])
@pytest.mark.parametrize("prepare", CALLS, ids=lambda prepare: prepare.__name__)
def test_a_call_whose_connection_ends_at_any_statement_is_done_or_not(
    prepare, how, counted, clock
) -> None:
    proxy, ledger, outsider = counted

    def end(wire):
        if how == "the connection's end":
            return cut(wire)
        outsider.execute(f"SELECT pg_terminate_backend({wire.pid}, 5000)")
        return True

    outcomes = []
    for number in range(1, 60):
        make = prepare(ledger, clock)
        before = outsider.execute("SELECT count(*) AS n FROM stored_events")
        at_statement(proxy, number, end)
        try:
            make()
        except leasehold.StoreError as error:
            after = outsider.execute("SELECT count(*) AS n FROM stored_events")
            outcomes.append((error, after == before))
        if not proxy.has_acted:
            proxy.forget()
            break
        for row in ledger.read.executions(limit=1_000):
            if row.lifecycle_phase != "terminal":
                ledger.cancel_execution(row.execution_id, actor="ann", reason="x")
    assert 2 < len(outcomes) < 40
    for error, nothing_was_written in outcomes:
        assert (error.code, error.retryable) == ("store_unavailable", True)
        assert "nothing was written" in str(error)
        assert isinstance(error.__cause__, psycopg.Error)
        assert nothing_was_written
    assert ledger.verify().ok


def test_a_server_that_restarts_between_calls_is_not_noticed(clock) -> None:
    with start_server(fsync="off") as server:
        url = with_schema(server.url, "here")
        with leasehold.open(url, clock=clock) as ledger:
            handle = worked(ledger)
            for end in (crash, restart):
                end(server)
                ledger.renew(handle)
            server.kill()
            with pytest.raises(leasehold.StoreError, match="cannot be reached") as told:
                ledger.complete(handle)
            assert told.value.retryable
            server.start()
            ledger.complete(handle)
            assert ledger.verify().ok
