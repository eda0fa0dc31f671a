"""A server that crashes, restarts or ends connections while clients are at work.

`LEASEHOLD_OUTAGES` sets how often it goes away in each way.
"""

import collections
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
from every_call import worked
from outsiders import outsider_of, with_schema
from postgres_server import start_server

import leasehold

PROGRAM = Path(__file__).parents[1] / "servers" / "outage_worker.py"
CLIENTS = 4
BETWEEN_S = 1.2
OUTAGES = int(os.environ.get("LEASEHOLD_OUTAGES", "1"))


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
    server.crash()
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
        assert ledger.audit().ok
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


ENDS = (crash, kill_the_first, kill_one, restart)


def test_acknowledged_calls_outlive_crashes_and_restarts_of_the_server(
    clients, record_property
) -> None:
    start, finish = clients
    with start_server() as server:
        url = with_schema(server.url, "here")
        leasehold.open(url).close()
        start(url)
        for end in ENDS * OUTAGES:
            time.sleep(BETWEEN_S)
            end(server)
        time.sleep(BETWEEN_S)
        journals = finish()
        calls = collections.Counter(x["call"] for journal in journals for x in journal)
        assert calls["trouble"]
        check(url, journals)
    line = ", ".join(f"{count} {call}" for call, count in sorted(calls.items()))
    outages = len(ENDS) * OUTAGES
    record_property(
        "faults", f"outages of the server: {outages}, {CLIENTS} clients, {line}"
    )


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
