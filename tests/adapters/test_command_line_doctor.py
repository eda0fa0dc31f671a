"""What `doctor` finds wrong, and what it says to do about it."""

import json
import sqlite3
from contextlib import closing

import psycopg
import pytest
from outsiders import use_schema, without_schema

import leasehold
from leasehold.adapters.command_line import application, doctor_findings
from leasehold.adapters.sqlite.triggers import _wanted

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


@pytest.fixture
def run(capsys, shared_url):
    """Run `doctor`; give its status, what it told as JSON, and its lines."""

    def call():
        status = application.run(["doctor", "--json", "--store", shared_url])
        report = json.loads(capsys.readouterr().out)
        again = application.run(["doctor", "--store", shared_url])
        printed = capsys.readouterr()
        assert (again, printed.err) == (status, "")
        assert report["ok"] is (status == 0)
        return status, report, printed.out.splitlines()

    return call


@pytest.fixture
def past(shared_url, store_now):
    """Open the store with a clock that stands in the past: `past(minutes=5)`."""

    def open_then(minutes):
        now_ms = store_now() - minutes * MINUTE_MS
        return leasehold.open(shared_url, clock=lambda: now_ms)

    return open_then


@pytest.fixture
def store_now(shared_url):
    """Read the store's own clock, by which `doctor` goes."""

    def read():
        with leasehold.open(shared_url) as ledger:
            return ledger.read.store_facts()["at_ms"]

    return read


def checks(report):
    return [finding["check"] for finding in report["findings"]]


def test_nothing_is_wrong_with_a_ledger_where_work_goes_on(run, shared_url):
    with leasehold.open(shared_url) as ledger:
        ledger.create_executions([{}, {"capabilities": ["gpu"]}])
        ledger.claim(worker_id="w")
    status, report, lines = run()
    assert (status, report["findings"], report["oldest_orphan"]) == (0, [], None)
    assert lines[-1] == "nothing wrong was found"
    assert report["store"]["triggers"] == "on"
    assert report["store"]["lag"] == 0
    assert report["store"]["settled_position"] == report["store"]["last_position"]


def test_an_orphan_is_named_with_the_command_that_tells_more(run, past):
    with past(minutes=90) as ledger:
        stuck = ledger.create_execution(lane_id="mail")
        ledger.claim(
            "mail", worker_id="amber", worker_instance_id="pid-7", lease_ttl_ms=1_000
        )
    status, report, lines = run()
    assert (status, report["expired_leases"], checks(report)) == (1, 1, ["orphan"])
    assert report["oldest_orphan"]["execution_id"] == str(stuck)
    (finding,) = report["findings"]
    assert finding["next"] == f"leasehold history {stuck}"
    assert lines[-2:] == [f"orphan: {finding['text']}", f"  next: {finding['next']}"]
    assert finding["text"] == (
        f"execution {stuck} in lane mail is stuck: the lease of amber (pid-7) ran out "
        "1 h 29 min ago, and nobody has taken it over"
    )
    (oldest,) = [line for line in lines if line.startswith("  oldest orphan")]
    assert oldest.endswith(
        f"1 h 29 min, execution {stuck}, lane mail, last held by amber (pid-7)"
    )


def test_an_orphan_is_named_once_also_when_its_expiry_is_recorded(run, past):
    with past(minutes=90) as ledger:
        ledger.create_execution()
        ledger.claim(worker_id="amber", lease_ttl_ms=1_000)
    with past(minutes=60) as ledger:
        assert ledger.sweep().leases_expired == 1
    _, report, _ = run()
    assert checks(report) == ["orphan"]


def test_what_ran_out_just_now_is_told_and_is_nothing_wrong(run, past):
    with past(minutes=0) as ledger:
        ledger.create_execution()
        ledger.claim(worker_id="amber", lease_ttl_ms=1)
    status, report, lines = run()
    assert (status, report["expired_leases"], report["findings"]) == (0, 1, [])
    assert any(
        "oldest orphan" in line and "last held by amber" in line for line in lines
    )


def test_of_many_orphans_the_oldest_are_named_and_the_others_counted(run, past):
    with past(minutes=5) as ledger:
        ledger.create_executions([{}] * 8)
        claimed = [
            ledger.claim(worker_id=f"w{number}", lease_ttl_ms=1_000 + number)
            for number in range(8)
        ]
    status, report, _ = run()
    assert (status, report["expired_leases"]) == (1, 8)
    named = [finding["next"].split()[-1] for finding in report["findings"]]
    assert named[:5] == [str(handle.execution_id) for handle in claimed[:5]]
    assert report["findings"][5]["text"] == "3 more are stuck like these"
    assert report["findings"][5]["next"] == "leasehold audit"
    assert len(report["findings"]) == 6


def test_work_that_nobody_claims_is_named_with_what_it_takes(run, past, shared_url):
    with past(minutes=30) as ledger:
        behind = ledger.create_execution(lane_id="film", capabilities=["b", "a"])
        stuck = ledger.create_execution(
            lane_id="film", capabilities=["a", "b"], priority=5
        )
        ledger.create_execution(lane_id="film", delay_until_ms=4_000_000_000_000)
    with leasehold.open(shared_url) as ledger:
        ledger.create_execution(lane_id="film", capabilities=["b"])
    status, report, _ = run()
    assert status == 1
    (finding,) = report["findings"]
    assert finding["check"] == "waiting"
    assert str(behind) not in finding["text"]
    assert finding["text"] == (
        f"execution {stuck} is next in lane film, and no worker that offers a, b has "
        "claimed it for 30 min"
    )
    assert finding["next"] == "leasehold tenures --lane film"


def test_a_revoked_lease_that_nobody_takes_over_is_named(run, past):
    with past(minutes=30) as ledger:
        stuck = ledger.create_execution()
        ledger.claim(worker_id="amber")
        ledger.revoke_lease(stuck, actor="ann", reason="it hangs")
    status, report, _ = run()
    assert (status, checks(report)) == (1, ["waiting"])
    assert str(stuck) in report["findings"][0]["text"]


def test_triggers_that_are_gone_are_named(run, shared_url, outsider):
    leasehold.open(shared_url).close()
    assert run()[0] == 0
    outsider.lift_the_guard()
    status, report, lines = run()
    assert (status, checks(report)) == (1, ["triggers"])
    text = report["findings"][0]["text"]
    last = "replaced" if shared_url.startswith("sqlite") else "truncated"
    for verb in ("updated", "deleted", last):
        assert f"stored_events_are_never_{verb}" in text
    assert "docs/tamper-evidence.md" in report["findings"][0]["next"]
    assert any(line.startswith("  triggers") and "off:" in line for line in lines)


@pytest.mark.parametrize("case", ["another body", "one of them", "a condition"])
def test_a_trigger_that_was_weakened_is_named_in_sqlite(case, file_url, capsys):
    leasehold.open(file_url).close()
    name = "stored_events_are_never_updated"
    with closing(sqlite3.connect(file_url.removeprefix("sqlite:///"))) as outsider:
        outsider.execute(f"DROP TRIGGER {name}")
        if case != "one of them":
            when = "WHEN OLD.topic = 'x'" if case == "a condition" else ""
            outsider.execute(
                f"CREATE TRIGGER {name} BEFORE UPDATE ON stored_events {when}"
                " BEGIN SELECT 1; END"
            )
    assert application.run(["doctor", "--json", "--store", file_url]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["store"]["triggers"] == f"off: {name}"


def test_what_sqlite_is_given_back_by_a_dump_is_as_it_was_made(file_url, tmp_path):
    leasehold.open(file_url).close()
    restored = tmp_path / "restored.db"
    with (
        closing(sqlite3.connect(file_url.removeprefix("sqlite:///"))) as one,
        closing(sqlite3.connect(restored)) as other,
    ):
        other.executescript("\n".join(one.iterdump()))
    with leasehold.open(f"sqlite:///{restored}", read_only=True) as ledger:
        assert ledger.read.store_facts()["triggers"] == "on"
    assert len(_wanted()) == 3


REPLACED = """
CREATE OR REPLACE FUNCTION leasehold_refuse() RETURNS TRIGGER
LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'
"""
UPDATED = "stored_events_are_never_updated"
ALL_OF_THEM = (
    "stored_events_are_never_updated, stored_events_are_never_deleted, "
    "stored_events_are_never_truncated"
)
MADE_AGAIN = (
    f"DROP TRIGGER {UPDATED} ON stored_events;"
    f"CREATE TRIGGER {UPDATED} BEFORE UPDATE {{of}} ON stored_events"
    " FOR EACH {each} {when} EXECUTE FUNCTION leasehold_refuse('updated')"
)
WEAKENED = {
    "disabled": (f"ALTER TABLE stored_events DISABLE TRIGGER {UPDATED}", UPDATED),
    "for replicas": (
        f"ALTER TABLE stored_events ENABLE REPLICA TRIGGER {UPDATED}",
        UPDATED,
    ),
    "dropped": (f"DROP TRIGGER {UPDATED} ON stored_events", UPDATED),
    "of one column": (MADE_AGAIN.format(of="OF topic", each="ROW", when=""), UPDATED),
    "with a condition": (
        MADE_AGAIN.format(of="", each="ROW", when="WHEN (OLD.topic = 'x')"),
        UPDATED,
    ),
    "for each statement": (
        MADE_AGAIN.format(of="", each="STATEMENT", when=""),
        UPDATED,
    ),
    "another function": (REPLACED, ALL_OF_THEM),
}


@pytest.fixture
def on_server(postgres, new_store):
    """Give a ledger in PostgreSQL, and what changes it."""
    url = new_store("postgres")
    leasehold.open(url).close()
    return url, lambda statement: postgres.query(url, statement, ())


@pytest.mark.parametrize("case", WEAKENED)
def test_a_trigger_that_was_weakened_is_named_in_postgresql(case, on_server):
    url, change = on_server
    statement, off = WEAKENED[case]
    change(statement)
    with leasehold.open(url) as ledger:
        assert ledger.read.store_facts()["triggers"] == f"off: {off}"


def test_a_trigger_that_always_fires_is_all_the_better(on_server):
    url, change = on_server
    change(f"ALTER TABLE stored_events ENABLE ALWAYS TRIGGER {UPDATED}")
    with leasehold.open(url) as ledger:
        assert ledger.read.store_facts()["triggers"] == "on"


def test_a_sequence_that_hands_positions_out_ahead_is_named(on_server, capsys):
    url, change = on_server
    change("ALTER SEQUENCE stored_events_notification_id_seq CACHE 20")
    assert application.run(["doctor", "--json", "--store", url]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["check"] == "sequence_cache"
    assert "CACHE 20" in finding["text"]
    change(finding["next"])
    assert application.run(["doctor", "--store", url]) == 0


def test_the_oldest_transaction_is_told(on_server, capsys):
    url, _ = on_server
    server, schema = without_schema(url)
    with psycopg.connect(server, application_name="a long report") as connection:
        use_schema(connection, schema)
        connection.execute("SELECT pg_current_xact_id()")
        assert application.run(["doctor", "--json", "--store", url]) == 0
        facts = json.loads(capsys.readouterr().out)["store"]
        assert facts["oldest_transaction_by"] == connection.info.backend_pid
        assert facts["oldest_transaction_for_ms"] >= 0
        application.run(["doctor", "--store", url])
        assert "application a long report" in capsys.readouterr().out


def test_what_stands_too_long_on_a_server_is_wrong():
    good = {"backend": "postgres", "triggers": "on", "sequence_cache": 1, "lag": 3}

    def found(**facts):
        return [it.check for it in doctor_findings.of_store({**good, **facts})]

    assert found() == []
    assert found(held_back_by=7, held_back_for_ms=MINUTE_MS) == []
    assert found(held_back_by=7, held_back_for_ms=MINUTE_MS + 1) == [
        "readers_held_back"
    ]
    assert found(oldest_transaction_by=7, oldest_transaction_for_ms=HOUR_MS) == []
    assert found(oldest_transaction_by=7, oldest_transaction_for_ms=HOUR_MS + 1) == [
        "old_transaction"
    ]
    assert found(prepared_for_ms=HOUR_MS + 1) == ["prepared_transaction"]
    assert found(wal_bytes=256 * 1024 * 1024) == []
    assert found(wal_bytes=256 * 1024 * 1024 + 1) == ["wal"]
    (held,) = doctor_findings.of_store(
        {**good, "held_back_by": 7, "held_back_for_ms": 2 * HOUR_MS}
    )
    assert held.text == (
        "process 7 has held the readers of the log back for 2 h: 3 positions are not "
        "settled"
    )
    assert "pg_terminate_backend(7)" in held.next


def test_waiting_tells_what_the_next_claims_would_take(shared_url, clock):
    with leasehold.open(shared_url, clock=clock) as ledger:
        assert ledger.read.waiting() == []
        first = ledger.create_execution(lane_id="a")
        clock.advance(10)
        ledger.create_execution(lane_id="a")
        better = ledger.create_execution(lane_id="a", capabilities=["x"], priority=1)
        ledger.create_execution(lane_id="a", capabilities=["x"])
        other = ledger.create_execution(lane_id="b", capabilities=["y", "x"])
        rows = ledger.read.waiting()
        assert {row.execution_id for row in rows} == {first, better, other}
        assert rows[0].execution_id == first
        assert [row.execution_id for row in ledger.read.waiting("b")] == [other]
        assert ledger.read.waiting("b")[0] == leasehold.WaitingRow(
            other, "b", ("x", "y"), 0, clock()
        )
        for lane, able in (("a", ()), ("a", ("x",)), ("b", ("x", "y"))):
            wanted = ledger.read.waiting(lane)
            handle = ledger.claim(lane, worker_id="w", capabilities=able)
            assert handle.execution_id in {row.execution_id for row in wanted}
        with ledger.as_of(at_ms=clock()) as then:
            assert then.waiting() == ledger.read.waiting()
        with pytest.raises(leasehold.InvalidInputError):
            ledger.read.waiting("")
