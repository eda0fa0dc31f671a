"""The settled position: no event at or below it is still to come.

Each test puts the steps of writers and readers in one order. Who asks, and how, stands
in `test_postgres_settled_asking.py`; a soak, which leaves the order to chance, in
`test_postgres_settled_soak.py`.
"""

from contextlib import closing

import pytest
from event_logs import (
    ASKED_ONCE,
    BOUND,
    GATE_PASSED,
    SCANS,
    SETTLED,
    EventLog,
    read,
    value,
)

READ_LATE = (
    f"WITH gate AS MATERIALIZED (SELECT {GATE_PASSED}) SELECT e.notification_id"
    " FROM gate CROSS JOIN stored_events AS e WHERE e.notification_id <= {bound}"
)


@pytest.fixture
def log(new_store):
    """Make an empty log."""
    with closing(EventLog(new_store("postgres"))) as made:
        yield made


@pytest.fixture(params=[BOUND, ASKED_ONCE], ids=["bare", "bracketed"])
def bound(request):
    """Give each way to ask within a statement."""
    return request.param


@pytest.fixture(params=SCANS)
def reader(request, log):
    """Connect somebody who reads by an index, or all rows."""
    connection = log.connect()
    for setting in SCANS[request.param]:
        connection.execute(f"SET {setting} = off")
    # Else the planner asks, which can hide what the executor is told.
    connection.execute("SET plan_cache_mode = force_generic_plan")
    connection.scan = request.param
    return connection


def late_statement(reader, bound):
    """Give a statement that asks after its snapshot was taken, planned before."""
    statement = READ_LATE.format(bound=bound)
    plan = "\n".join(line for (line,) in reader.execute(f"EXPLAIN {statement}"))
    gate, scanned = plan.index("CTE Scan on gate"), plan.index("stored_events")
    assert gate < scanned, plan
    if reader.scan == "index":
        assert "Index Cond: (notification_id <=" in plan
    else:
        assert "Seq Scan on stored_events" in plan
    reader.execute(statement, prepare=True).fetchall()
    return statement


def positions(running):
    return sorted(position for (position,) in running.result())


# One writer after another


def test_an_empty_log_is_settled_up_to_nothing(log) -> None:
    assert log.settled() == 0
    early = log.writer().begin()
    assert log.settled() == 0
    assert early.append() == [1]
    assert log.settled() == 0
    early.commit()
    assert log.settled() == 1


def test_a_floor_without_positions_holds_back_what_is_above_it(log) -> None:
    log.write(2)
    waiting = log.writer().begin()
    assert log.settled() == 2
    log.write(2)
    assert log.settled() == 2
    waiting.commit()
    assert log.settled() == 4


def test_drawn_positions_hold_back_what_is_above_them(log) -> None:
    log.write()
    waiting = log.writer().begin()
    assert waiting.draw() == [2]
    log.write()
    assert log.settled() == 1
    waiting.insert([2])
    log.write()
    assert log.settled() == 1
    waiting.commit()
    assert log.settled() == 4


def test_the_earlier_writer_may_commit_last(log, bound) -> None:
    first, second, third = (log.writer().begin() for _ in range(3))
    assert [w.append() for w in (first, second, third)] == [[1], [2], [3]]
    reader = log.connect()
    third.commit()
    second.commit()
    assert read(reader, bound) == []
    first.commit()
    assert read(reader, bound) == [1, 2, 3]


def test_a_position_that_was_rolled_back_stays_empty(log, bound) -> None:
    first, second = log.writer().begin(), log.writer().begin()
    first.append(2)
    second.append(2)
    second.commit()
    assert log.settled() == 0
    first.rollback()
    assert read(log.connect(), bound) == [3, 4]


def test_the_last_event_bounds_it_not_the_last_position_drawn(log) -> None:
    log.write(2)
    failed = log.writer().begin()
    failed.append(3)
    failed.rollback()
    assert log.settled() == 2
    ahead = log.writer().begin()
    assert log.settled() == 2
    ahead.rollback()
    assert log.write() == [6]
    assert log.settled() == 6


def test_a_writer_that_never_wrote_lets_go_at_its_rollback(log) -> None:
    log.write()
    idle = log.writer().begin()
    log.write()
    assert value(idle.connection, "SELECT pg_current_xact_id_if_assigned()") is None
    reader = log.connect()
    assert value(reader, SETTLED) == 1
    before = value(reader, "SELECT pg_current_snapshot()::text")
    idle.rollback()
    assert value(reader, "SELECT pg_current_snapshot()::text") == before
    assert value(reader, SETTLED) == 2


def test_a_writer_that_is_cut_off_lets_go(log) -> None:
    log.write()
    lost = log.writer().begin()
    lost.append()
    log.write()
    assert log.settled() == 1
    pid = lost.connection.info.backend_pid
    assert value(log.connect(), "SELECT pg_terminate_backend(%s, 10000)", [pid])
    assert log.settled() == 3


def test_a_writer_sees_itself_as_others_do(log) -> None:
    log.write(2)
    writer = log.writer().begin()
    writer.append(2)
    assert value(writer.connection, SETTLED) == 2
    writer.commit()
    assert value(writer.connection, SETTLED) == 4


@pytest.mark.parametrize(
    "around", [2**31, 2**32, 3 * 2**31, 2**33, 5 * 2**32 + 2**31], ids=hex
)
def test_floors_reach_over_the_ends_of_their_numbers(log, around) -> None:
    log.stand_at(around - 4)
    log.write()
    held = [log.writer().begin()]
    for _ in range(6):
        held.append(log.writer().begin())
        held[-1].append()
    log.write()
    last = around + 4
    for position, writer in enumerate(held, start=around - 3):
        assert log.settled() == position - (position > around - 3)
        writer.commit()
    assert log.settled() == last


def test_a_far_jump_of_the_positions_hides_nobody(log) -> None:
    writer = log.writer().begin()
    early = log.writer().begin()
    writer.insert([1, 2, 7 * 2**32 + 5])
    log.stand_at(7 * 2**32 + 5)
    assert log.settled() == 0
    early.append()
    assert log.settled() == 0
    writer.commit()
    assert log.settled() < 7 * 2**32 + 6
    early.commit()
    assert log.settled() == 7 * 2**32 + 6


# In the midst of a reader's statement


@pytest.mark.parametrize("wrote_before", [True, False])
def test_what_is_committed_behind_a_statements_back_is_left_to_the_next(
    log, reader, bound, wrote_before
) -> None:
    statement = late_statement(reader, bound)
    log.write()
    early = log.writer().begin()
    drawn = early.append() if wrote_before else early.draw()
    assert [*drawn, *log.write()] == [2, 3]
    with log.held_up(reader, statement) as running:
        if not wrote_before:
            early.insert(drawn)
        early.commit()
        log.write()
    assert positions(running) == [1]
    assert read(reader, bound, after=1) == [2, 3, 4]


@pytest.mark.parametrize("savepoints", [1, 100])
def test_events_under_savepoints_count_as_their_transactions(
    log, reader, bound, savepoints
) -> None:
    statement = late_statement(reader, bound)
    early = log.writer().begin()
    for _ in range(savepoints):
        early.run("SAVEPOINT inner_one")
        early.append()
    early.run("SAVEPOINT given_up")
    early.append()
    early.run("ROLLBACK TO SAVEPOINT given_up")
    (last,) = log.write()
    assert log.settled() == 0
    with log.held_up(reader, statement) as running:
        early.commit()
    assert positions(running) == []
    assert read(reader, bound) == [*range(1, savepoints + 1), last]


def test_a_statement_waits_for_a_floor_that_is_let_go_behind_its_back(
    log, reader, bound
) -> None:
    log.write()
    idle = log.writer().begin()
    log.write()
    with log.held_up(reader, late_statement(reader, bound)) as running:
        idle.rollback()
    # Nothing is missing from its snapshot: it may go on to the end or stop early.
    assert positions(running) in ([1], [1, 2])
    assert read(reader, bound) == [1, 2]


def test_a_writer_may_come_between_the_two_readings(log) -> None:
    reader = log.connect()
    log.write()
    leaving = log.writer().begin()
    leaving.append()
    log.write()
    assert value(reader, SETTLED) == 1
    coming, overtaking = log.writer(), log.writer()
    # The first reading, of the log, is done; that of the locks needs this table.
    block = "LOCK TABLE pg_catalog.pg_database IN ACCESS EXCLUSIVE MODE"
    with log.held_up(reader, SETTLED, block=block) as running:
        leaving.commit()
        assert coming.begin().append() == [4]
        assert overtaking.begin().append() == [5]
        overtaking.commit()
    # Its own snapshot does not show the second event.
    assert positions(running) == [1]
    assert value(reader, SETTLED) == 3
    coming.commit()
    assert value(reader, SETTLED) == 5


# A log that was restored from a dump


def restore(log, transaction_ids):
    """Write events as a dump holds them: with the transactions of another server."""
    owner = log.connect()
    owner.execute(
        "INSERT INTO stored_events (originator_id, originator_version, topic, state,"
        " transaction_id) SELECT gen_random_uuid(), 1, 'x', '', number::text::xid8"
        " FROM unnest(%s::bigint[]) AS number",
        [list(transaction_ids)],
    )


def test_a_restored_log_never_stops_its_readers(log, reader, bound) -> None:
    upcoming = value(reader, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
    restore(log, range(int(upcoming) + 5, int(upcoming) + 45))
    assert log.settled() == 40
    seen = []
    early = log.writer().begin()
    early.append()
    for number in range(60):
        # The server comes past the transactions that the log tells of.
        if number == 30:
            early.commit()
        log.write()
        seen += read(reader, bound, after=max(seen, default=0))
    seen += read(reader, bound, after=max(seen))
    assert seen == list(range(1, 102))
    assert log.settled() == 101


def test_a_transaction_that_a_restored_log_names_holds_nobody_back(
    log, reader, bound
) -> None:
    idle = log.writer()
    idle.run("BEGIN")
    running = value(idle.connection, "SELECT pg_current_xact_id()::text")
    log.write()
    restore(log, [int(running)])
    log.write()
    assert read(reader, bound) == [1, 2, 3]


def test_a_restored_event_may_name_the_transaction_of_a_writer(
    log, reader, bound
) -> None:
    statement = late_statement(reader, bound)
    early = log.writer().begin()
    early.append()
    restore(log, [int(value(early.connection, "SELECT pg_current_xact_id()::text"))])
    with log.held_up(reader, statement) as running:
        early.commit()
    assert positions(running) == []
    assert read(reader, bound) == [1, 2]
