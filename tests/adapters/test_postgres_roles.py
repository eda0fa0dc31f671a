"""A worker and an auditor who own nothing: what they can do, and what they cannot."""

import time
from contextlib import closing

import psycopg
import pytest
from every_call import READS, every_operation, worked
from own_servers import command, url_as
from proxy import COMMIT, proxy_to, swallow

import leasehold
from leasehold.adapters.postgres import resolving

# As in docs/postgresql.md; the schema there is the one of the ledger here.
GRANTS = """
GRANT USAGE ON SCHEMA leasehold TO leasehold_worker, leasehold_auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA leasehold TO leasehold_worker, leasehold_auditor;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA leasehold
    TO leasehold_worker, leasehold_auditor;
GRANT INSERT ON leasehold.stored_events, leasehold.lease_event TO leasehold_worker;
GRANT USAGE ON SEQUENCE leasehold.stored_events_notification_id_seq
    TO leasehold_worker;
GRANT INSERT, UPDATE ON
    leasehold.exec_state,
    leasehold.exec_blob,
    leasehold.attempt,
    leasehold.summary,
    leasehold.resume_grant,
    leasehold.best_effort_rate,
    leasehold.leasehold_projection
    TO leasehold_worker;
GRANT INSERT, DELETE ON leasehold.stream_frame TO leasehold_worker;
ALTER DEFAULT PRIVILEGES IN SCHEMA leasehold
    GRANT EXECUTE ON FUNCTIONS TO leasehold_worker, leasehold_auditor;
"""
# A server may be set to give nobody anything of itself.
NOTHING_OF_ITSELF = """
ALTER DEFAULT PRIVILEGES FOR ROLE leasehold_owner REVOKE ALL ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE leasehold_owner REVOKE ALL ON TABLES FROM PUBLIC;
REVOKE ALL ON DATABASE postgres FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO leasehold_worker, leasehold_auditor;
GRANT CONNECT, CREATE, TEMPORARY ON DATABASE postgres TO leasehold_owner;
"""
AND_BACK = """
GRANT CONNECT, TEMPORARY ON DATABASE postgres TO PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE leasehold_owner GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
"""


@pytest.fixture(scope="module")
def roles(own_server):
    """Make the roles, on a server that gives nobody anything of itself."""
    for role in ("owner", "worker", "auditor"):
        command(own_server.url, f"CREATE ROLE leasehold_{role} LOGIN")
    command(own_server.url, NOTHING_OF_ITSELF)
    yield
    command(own_server.url, AND_BACK)


@pytest.fixture
def url_of(roles, own_server, schema):
    """Name the ledger as a role sees it; its owner has made it and granted rights."""

    def name(role):
        return url_as(own_server, f"leasehold_{role}", schema=schema)

    leasehold.open(name("owner")).close()
    grants = GRANTS.replace("leasehold.", f"{schema}.")
    grants = grants.replace("SCHEMA leasehold", f"SCHEMA {schema}")
    command(url_as(own_server, "leasehold_owner"), grants)
    return name


@pytest.fixture
def statement_as(url_of, own_server, schema):
    """Run a statement as a role, in the schema of the ledger."""

    def run(role, statement):
        url = url_as(own_server, f"leasehold_{role}")
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute(f"SET search_path TO {schema}")
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return run


def test_a_worker_can_do_everything_and_an_auditor_can_read_everything(
    url_of, clock
) -> None:
    with leasehold.open(url_of("worker"), clock=clock) as ledger:
        done = [name for name, _ in every_operation(ledger, clock)]
        assert len(done) == len(set(done)) > 20
        one = ledger.read.executions()[0].execution_id
        seen = {name: read(ledger, one) for name, read in READS.items()}
    with leasehold.open(url_of("auditor"), clock=clock, read_only=True) as ledger:
        for name, read in READS.items():
            if name != "facts":
                assert read(ledger, one) == seen[name], name
        assert ledger.read.store_facts()["events"] == seen["facts"]["events"]


def test_a_follower_may_be_an_auditor(url_of, clock) -> None:
    with (
        leasehold.open(url_of("worker"), clock=clock) as worker,
        leasehold.open(url_of("auditor"), read_only=True) as auditor,
        closing(auditor.subscribe()) as subscription,
    ):
        assert subscription.next_events(timeout_s=0.3) == []
        one = worker.create_execution()
        (event,) = subscription.next_events(timeout_s=10)
        assert event.event.execution_id == one


def test_a_worker_can_run_a_projection_whose_tables_are_there(
    url_of, clock, statement_as
) -> None:
    class Counting:
        def create(self, execute):
            pass

        def apply(self, recorded, execute):
            execute("UPDATE counted SET n = n + 1")

    statement_as("owner", "CREATE TABLE counted AS SELECT 0 AS n")
    statement_as("owner", "GRANT SELECT, UPDATE ON counted TO leasehold_worker")
    with leasehold.open(url_of("worker"), clock=clock) as worker:
        worked(worker)
        assert worker.run_projection(Counting(), "counting").position == 3
    assert statement_as("auditor", "SELECT name FROM leasehold_projection") == [
        ("counting",)
    ]


DENIED_TO_WORKERS = [
    "UPDATE stored_events SET topic = 'x'",
    "DELETE FROM stored_events",
    "TRUNCATE stored_events",
    (
        "MERGE INTO stored_events AS e USING (SELECT 1) AS one ON true"
        " WHEN MATCHED THEN DELETE"
    ),
    "ALTER TABLE stored_events DISABLE TRIGGER ALL",
    "DROP TRIGGER stored_events_are_never_updated ON stored_events",
    "SET session_replication_role = 'replica'",
    "SELECT setval('stored_events_notification_id_seq', 1)",
    "ALTER SEQUENCE stored_events_notification_id_seq RESTART",
    "UPDATE lease_event SET cause = 'claim'",
    "DELETE FROM lease_event",
    "DELETE FROM exec_state",
    "DELETE FROM attempt",
    "TRUNCATE exec_state",
    "DROP TABLE exec_blob",
    "CREATE TABLE mine (n int)",
    (
        "CREATE FUNCTION leasehold_take_floor(n int) RETURNS int LANGUAGE sql"
        " AS 'SELECT 1'"
    ),
    (
        "CREATE OR REPLACE FUNCTION leasehold_refuse() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'"
    ),
    "UPDATE leasehold_meta SET value = '9'",
    "INSERT INTO leasehold_meta VALUES ('x', '9')",
    "DELETE FROM leasehold_meta",
]
DENIED_TO_AUDITORS = [
    *DENIED_TO_WORKERS,
    (
        "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
        " VALUES ('x', 1, 'x', '')"
    ),
    "SELECT nextval('stored_events_notification_id_seq')",
    "INSERT INTO best_effort_rate VALUES ('x', 0, 0, 0, 0)",
    "UPDATE exec_state SET priority = 1",
    "SELECT FROM exec_state FOR UPDATE",
    "DELETE FROM stream_frame",
    "DO 'BEGIN LOCK TABLE leasehold_meta IN ACCESS EXCLUSIVE MODE; END'",
]


def test_what_a_worker_may_not_do(url_of, statement_as, clock) -> None:
    with leasehold.open(url_of("worker"), clock=clock) as ledger:
        worked(ledger)
        before = ledger.read.events()
        for statement in DENIED_TO_WORKERS:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                statement_as("worker", statement)
        assert ledger.read.events() == before
        assert ledger.verify().ok


def test_what_an_auditor_may_not_do(url_of, statement_as, clock) -> None:
    with leasehold.open(url_of("worker"), clock=clock) as ledger:
        worked(ledger)
    for statement in DENIED_TO_AUDITORS:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            statement_as("auditor", statement)


def test_an_auditor_who_does_not_open_read_only_is_told_what_is_missing(
    url_of, clock
) -> None:
    with leasehold.open(url_of("auditor"), clock=clock) as ledger:
        for call in (ledger.create_execution, lambda: ledger.claim(worker_id="w")):
            try:
                answer = call()
            except leasehold.StoreError as error:
                told = error
                assert "lacks a right" in str(told)
                assert not told.retryable
            else:
                assert answer is None
        with pytest.raises(leasehold.StoreError, match="GRANTs"):
            ledger.create_execution()
        assert ledger.read.events() == []


def test_rights_outlive_a_rebuild(url_of, statement_as, clock) -> None:
    with leasehold.open(url_of("worker"), clock=clock) as ledger:
        worked(ledger)
    statement_as(
        "owner", "UPDATE leasehold_meta SET value = '0' WHERE key LIKE 'projection%'"
    )
    with pytest.raises(leasehold.StoreError, match="lacks a right"):
        leasehold.open(url_of("worker"))
    with pytest.raises(leasehold.StoreError, match="read_only") as refused:
        leasehold.open(url_of("auditor"), read_only=True)
    assert refused.value.code == "schema_version"
    leasehold.open(url_of("owner")).close()
    with leasehold.open(url_of("worker"), clock=clock) as ledger:
        assert [name for name, _ in every_operation(ledger, clock)]
        one = ledger.read.executions()[0].execution_id
    with leasehold.open(url_of("auditor"), read_only=True, clock=clock) as ledger:
        for read in READS.values():
            read(ledger, one)
    for statement in DENIED_TO_WORKERS:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            statement_as("worker", statement)


@pytest.mark.parametrize("is_rebuilt", [False, True])
def test_views_that_came_later_are_for_those_who_may_read_the_tables(
    is_rebuilt, url_of, statement_as, own_server, schema, clock
) -> None:
    with leasehold.open(url_of("worker"), clock=clock) as ledger:
        worked(ledger)
        rows = ledger.read.tenures()
    owner = url_as(own_server, "leasehold_owner", schema=schema)
    statement_as("owner", "DROP VIEW tenure, tenure_recorded")
    statement_as("owner", "DROP INDEX lease_event_refused")
    statement_as("owner", "REVOKE SELECT ON attempt FROM leasehold_worker")
    # Who owns nothing makes nothing, and does without.
    for role in ("worker", "auditor"):
        with leasehold.open(url_of(role), clock=clock, read_only=False) as ledger:
            if role == "auditor":
                assert ledger.read.tenures() == rows
        with pytest.raises(psycopg.errors.UndefinedTable):
            statement_as(role, "SELECT FROM tenure")
    if is_rebuilt:
        statement_as(
            "owner", "UPDATE leasehold_meta SET value = '0' WHERE key LIKE 'proj%'"
        )
    leasehold.open(owner).close()
    for view in ("tenure", "tenure_recorded"):
        assert statement_as("auditor", f"SELECT lease_epoch FROM {view}") == [(1,)]
        # It would show what is in `attempt`.
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            statement_as("worker", f"SELECT FROM {view}")
    with leasehold.open(url_of("auditor"), read_only=True, clock=clock) as ledger:
        assert ledger.read.tenures() == rows


def test_a_worker_can_end_a_transaction_of_its_own_that_lost_its_client(
    url_of, clock, monkeypatch
) -> None:
    monkeypatch.setattr(resolving, "PATIENCE_S", 0.4)
    with (
        proxy_to(url_of("worker")) as proxy,
        leasehold.open(proxy.url(), clock=clock) as ledger,
    ):
        handle = worked(ledger)
        proxy.at(COMMIT, swallow)
        with pytest.raises(leasehold.StoreError, match="nothing was written"):
            ledger.complete(handle)
        began_s = time.monotonic()
        ledger.complete(handle)
        assert time.monotonic() - began_s < 5


def is_there(own_server, schema) -> bool:
    found = f"SELECT 1 FROM pg_namespace WHERE nspname = '{schema}'"
    return bool(command(own_server.url, found))


def test_read_only_never_makes_anything(own_server, own_url, schema, clock) -> None:
    for made in (False, True):
        with pytest.raises(leasehold.StoreError, match="holds no ledger"):
            leasehold.open(own_url, read_only=True)
        assert is_there(own_server, schema) is made
        if not made:
            command(own_server.url, f"CREATE SCHEMA {schema}")
    tables = f"SELECT 1 FROM pg_tables WHERE schemaname = '{schema}'"
    assert command(own_server.url, tables) == []


def test_read_only_refuses_every_command_and_the_server_would_too(
    own_url, clock
) -> None:
    with leasehold.open(own_url, clock=clock) as ledger:
        handle = worked(ledger)
    with leasehold.open(own_url, clock=clock, read_only=True) as ledger:
        before = ledger.read.events()
        for call in (
            ledger.create_execution,
            lambda: ledger.create_executions([{}]),
            lambda: ledger.claim(worker_id="w"),
            lambda: ledger.renew(handle),
            lambda: ledger.progress(handle, 1),
            lambda: ledger.append_frame(handle, leasehold.Frame(b"x")),
            lambda: ledger.complete(handle),
            lambda: ledger.fail(handle, "x", leasehold.FailureClass.TRANSIENT),
            lambda: ledger.issue_resume_grant(handle.execution_id, worker_id="w"),
            ledger.sweep,
            ledger.rebuild,
            lambda: ledger.cancel_execution(
                handle.execution_id, actor="ann", reason="x"
            ),
        ):
            with pytest.raises(leasehold.StoreError, match="read_only=True"):
                call()
        for once in (True, False):
            with (
                pytest.raises(leasehold.StoreError, match="takes no writes"),
                ledger._store.read(once=once) as session,
            ):
                session.connection.execute("DELETE FROM leasehold_meta").fetchall()
        for read in READS.values():
            read(ledger, handle.execution_id)
        assert ledger.read.events() == before
