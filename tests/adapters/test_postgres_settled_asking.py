"""Asking for the settled position: in which statements, by whom, on which server."""

import signal
from contextlib import closing

import psycopg
import pytest
from event_logs import (
    ASKED_ONCE,
    BOUND,
    GATE_PASSED,
    READ,
    SCANS,
    SETTLED,
    EventLog,
    read,
    value,
)
from outsiders import use_schema, with_schema
from postgres_server import start_server


@pytest.fixture
def log(new_store):
    """Make an empty log."""
    with closing(EventLog(new_store("postgres"))) as made:
        yield made


@pytest.fixture
def other_log(new_store):
    """Make another in the same database."""
    with closing(EventLog(new_store("postgres"))) as made:
        yield made


@pytest.fixture(params=[BOUND, ASKED_ONCE], ids=["bare", "bracketed"])
def bound(request):
    """Give each way to ask within a statement."""
    return request.param


# The answer within a statement, and the next one


def test_a_statement_is_told_the_same_each_time(log, other_log) -> None:
    idle = []
    for each in (log, other_log):
        each.write()
        idle.append(each.writer().begin())
        each.write(2)
    reader = log.connect()
    asked = [f'"{each.schema}".{BOUND}' for each in (log, other_log)]
    statement = "SELECT ARRAY[{0}, {1}], {gate}, ARRAY[{0}, {1}]".format(
        *asked, gate=GATE_PASSED
    )
    with log.held_up(reader, statement) as running:
        for writer in idle:
            writer.rollback()
    ((before, _, after),) = running.result()
    assert before == after == [1, 1]
    ((before, _, after),) = reader.execute(statement)
    assert before == after == [3, 3]


def test_a_cursor_that_asks_in_brackets_is_told_once(log) -> None:
    reader = log.connect()
    for setting in SCANS["sequential"]:
        reader.execute(f"SET {setting} = off")
    log.write(2)
    late = log.writer().begin()
    (passed_over,) = late.draw()
    idle = log.writer().begin()
    late.insert([passed_over, *late.draw()])
    late.commit()
    reader.execute("BEGIN")
    reader.execute(
        "DECLARE page CURSOR FOR SELECT notification_id FROM stored_events"
        f" WHERE notification_id <= {ASKED_ONCE}"
    )
    assert reader.execute("FETCH 2 FROM page").fetchall() == [(1,), (2,)]
    assert reader.execute("FETCH 1 FROM page").fetchall() == [(3,)]
    idle.rollback()
    assert reader.execute("FETCH ALL FROM page").fetchall() == []
    reader.execute("COMMIT")
    assert read(reader, after=3) == [4]


def test_each_statement_of_a_function_is_told_anew(log) -> None:
    reader = log.connect()
    reader.execute(
        "CREATE FUNCTION asks_twice(OUT first BIGINT, OUT second BIGINT) "
        "LANGUAGE plpgsql VOLATILE AS $$ BEGIN first := leasehold_settled_position();"
        f" PERFORM {GATE_PASSED}; second := leasehold_settled_position(); END $$"
    )
    log.write()
    early = log.writer().begin()
    early.append()
    with log.held_up(reader, "SELECT * FROM asks_twice()") as running:
        log.write()
        early.commit()
    assert running.result() == [(1, 3)]


def test_a_stable_function_is_told_what_its_caller_sees(log) -> None:
    reader = log.connect()
    reader.execute(
        "CREATE FUNCTION asks_late() RETURNS BIGINT LANGUAGE plpgsql STABLE AS $$ "
        "BEGIN RETURN leasehold_settled_position(); END $$"
    )
    log.write()
    early = log.writer().begin()
    early.append()
    log.write()
    statement = f"SELECT {GATE_PASSED}, asks_late()"
    with log.held_up(reader, statement) as running:
        early.commit()
    ((_, settled),) = running.result()
    assert settled == 1
    assert value(reader, "SELECT asks_late()") == 3


def test_each_transaction_of_a_block_is_told_anew(log) -> None:
    reader = log.connect()
    log.write()
    idle = log.writer().begin()
    log.write()
    # To note it in a table would make another snapshot.
    ask = "PERFORM set_config('told.at{}', leasehold_settled_position()::text, false);"
    block = (
        f"DO $$ BEGIN {ask.format(1)} COMMIT; PERFORM {GATE_PASSED}; COMMIT;"
        f" {ask.format(2)} END $$"
    )

    def run():
        return reader.execute(block)

    with log.held_up(reader, run):
        idle.rollback()
    told = "SELECT ARRAY[current_setting('told.at1'), current_setting('told.at2')]"
    assert value(reader, told) == ["1", "2"]


def test_a_prepared_statement_is_told_anew(log, bound) -> None:
    reader = log.connect()
    statement = READ.format(after=0, bound=bound)
    for last in range(1, 12):
        log.write()
        rows = reader.execute(statement, prepare=True).fetchall()
        assert rows == [(position,) for position in range(1, last + 1)]


def test_each_statement_of_a_pipeline_is_told_anew(log) -> None:
    reader = log.connect()
    log.write()
    early = log.writer().begin()
    early.append()

    def ask():
        with reader.pipeline():
            first = reader.execute(SETTLED)
            reader.execute(f"SELECT {GATE_PASSED}")
            second = reader.execute(SETTLED)
        return first.fetchall() + second.fetchall()

    with log.held_up(reader, ask) as running:
        log.write()
        early.commit()
    assert running.result() == [(1,), (3,)]


# Who asks, and how


def test_logs_of_one_database_do_not_hold_each_other_back(log, other_log) -> None:
    other = other_log.writer().begin()
    other.append()
    other_log.write()
    log.write(2)
    assert (log.settled(), other_log.settled()) == (2, 0)


def test_it_can_be_called_by_its_full_name_from_elsewhere(log, other_log) -> None:
    log.write(2)
    other_log.write()
    stranger = log.connect(use=False)
    asked = f'SELECT "{log.schema}".{BOUND}'
    assert value(stranger, asked) == 2
    use_schema(stranger, other_log.schema)
    assert value(stranger, asked) == 2
    stranger.execute("BEGIN")
    stranger.execute(f'SELECT "{log.schema}".leasehold_take_floor()')
    assert other_log.write() == [2]
    assert log.write() == [3]
    assert (log.settled(), other_log.settled()) == (2, 2)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_with_one_snapshot_is_refused(log, level, bound) -> None:
    log.write()
    reader = log.connect()
    reader.execute(f"BEGIN ISOLATION LEVEL {level}")
    with pytest.raises(psycopg.errors.RaiseException, match="one snapshot"):
        read(reader, bound)
    reader.execute("ROLLBACK")
    assert read(reader, bound) == [1]


def test_reading_the_log_is_all_that_a_reader_needs_to_be_allowed(log) -> None:
    log.write(2)
    owner, role = log.connect(), f"reader_of_{log.schema}"
    owner.execute(f"CREATE ROLE {role}")
    try:
        owner.execute(f"GRANT USAGE ON SCHEMA {log.schema} TO {role}")
        owner.execute(f"GRANT SELECT ON stored_events TO {role}")
        reader = log.connect()
        reader.execute(f"SET ROLE {role}")
        reader.execute("SET default_transaction_read_only = on")
        log.writer().begin().append()
        log.write()
        assert read(reader) == read(reader, ASKED_ONCE) == [1, 2]
    finally:
        owner.execute(f"DROP OWNED BY {role}")
        owner.execute(f"DROP ROLE {role}")


# On which server


def test_a_standby_refuses_and_a_prepared_transaction_counts() -> None:
    with start_server(max_prepared_transactions=2) as server:
        admin = psycopg.connect(server.url, autocommit=True)
        admin.execute("CREATE SCHEMA the_log")
        with closing(EventLog(with_schema(server.url, "the_log"))) as log:
            prepared = log.writer().begin()
            prepared.append()
            prepared.run("PREPARE TRANSACTION 'half_way'")
            log.write()
            assert log.settled() == 0
            prepared.run("COMMIT PREPARED 'half_way'")
            assert log.settled() == 2
        admin.close()
        server.stop(signal.SIGINT)
        (server.directory / "data" / "standby.signal").touch()
        server.start()
        with psycopg.connect(server.url) as reader:
            use_schema(reader, "the_log")
            with pytest.raises(psycopg.errors.RaiseException, match="standby"):
                read(reader)
