"""Many writers and readers of one log at once, in whatever order chance puts them."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing

import pytest
from event_logs import ASKED_ONCE, BOUND, SCANS, SETTLED, EventLog, read, value

SECONDS = float(os.environ.get("LEASEHOLD_SETTLED_SECONDS", "8"))
WRITERS = 8
PAUSES_S = (0, 0, 0, 0.001, 0.004, 0.02)
PAGE = 7
PAGED = (
    "SELECT notification_id FROM stored_events WHERE notification_id > {after}"
    " AND notification_id <= {bound} ORDER BY notification_id LIMIT {page}"
)
FOLLOW = f"""
CREATE FUNCTION follow(reached BIGINT) RETURNS SETOF BIGINT
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    upto BIGINT := leasehold_settled_position();
BEGIN
    RETURN QUERY SELECT notification_id FROM stored_events
    WHERE notification_id > reached AND notification_id <= upto;
    reached := greatest(reached, upto);
    RETURN QUERY SELECT notification_id FROM stored_events
    WHERE notification_id > reached AND notification_id <= {BOUND};
END
$$
"""
DRAW = (
    "SELECT count(nextval('stored_events_notification_id_seq'))"
    " FROM generate_series(1, 100000)"
)
COUNT_HIGH_FLOORS = """
CREATE PROCEDURE count_high_floors(tries INTEGER, INOUT high INTEGER)
LANGUAGE plpgsql AS $$
DECLARE
    floor_taken BIGINT;
BEGIN
    FOR number IN 1..tries LOOP
        PERFORM leasehold_take_floor();
        SELECT objid::bigint INTO floor_taken FROM pg_locks
        WHERE pid = pg_backend_pid() AND locktype = 'advisory';
        IF nextval('stored_events_notification_id_seq') <= floor_taken THEN
            high := high + 1;
        END IF;
        COMMIT;
    END LOOP;
END
$$
"""


@pytest.fixture
def log(new_store):
    """Make an empty log."""
    with closing(EventLog(new_store("postgres"))) as made:
        yield made


def write_on(log, stop, seed):
    """Write until told to stop; return what was committed."""
    chance, writer, committed = random.Random(seed), log.writer(), []

    def dawdle():
        stop.wait(chance.choice(PAUSES_S))

    while not stop.is_set():
        writer.begin()
        dawdle()
        if chance.random() < 0.1:
            writer.rollback()
            continue
        positions = writer.draw(chance.randint(1, 5))
        dawdle()
        if chance.random() < 0.2:
            writer.run("SAVEPOINT inner_one")
        writer.insert(positions)
        dawdle()
        if chance.random() < 0.15:
            writer.rollback()
        else:
            writer.commit()
            committed += positions
        stop.wait(0.001)
    return committed


def idle_on(log, stop):
    """Open and close transactions that write nothing, some with a number of their own.

    They make the snapshots of the others long and old.
    """
    chance, idler = random.Random(0), log.writer()
    while not stop.is_set():
        idler.run("BEGIN")
        if chance.random() < 0.5:
            idler.run("SELECT pg_current_xact_id()")
        stop.wait(0.02)
        idler.commit()


def read_in_two_statements(connection, after):
    upto = value(connection, SETTLED)
    rows = connection.execute(
        "SELECT notification_id FROM stored_events"
        " WHERE notification_id > %s AND notification_id <= %s",
        [after, upto],
    )
    # A writer that was slow to tell its floor can make an answer lower than the last.
    return [position for (position,) in rows], max(after, upto)


def read_pages(bound):
    def read_page(connection, after):
        statement = PAGED.format(after=after, bound=bound, page=PAGE)
        page = [position for (position,) in connection.execute(statement)]
        return page, page[-1] if page else after

    return read_page


def read_all_rows(connection, after):
    """Read in the order of the table, all in one go."""
    rows = connection.execute(
        f"SELECT notification_id FROM stored_events WHERE notification_id > {after}"
        f" AND notification_id <= {BOUND}"
    )
    found = [position for (position,) in rows]
    return found, max(found, default=after)


def read_by_function(connection, after):
    rows = connection.execute("SELECT follow(%s)", [after])
    found = [position for (position,) in rows]
    return found, max(found, default=after)


def follow_on(log, ended, step, setup):
    """Read until all writers have ended and nothing is left; return what was seen."""
    connection, seen, after = log.connect(), [], 0
    for setting in setup:
        connection.execute(f"SET {setting} = off")
    found = True
    while found or not ended.is_set():
        last_round = ended.is_set()
        found, after = step(connection, after)
        seen += sorted(found)
        found = found or not last_round
    return seen


READERS = {
    "two statements": (read_in_two_statements, ()),
    "pages": (read_pages(BOUND), ()),
    "pages, asked once": (read_pages(ASKED_ONCE), ()),
    "all rows": (read_all_rows, SCANS["sequential"]),
    "a function": (read_by_function, ()),
}


def test_readers_see_each_event_once_whatever_the_writers_do(log) -> None:
    log.connect().execute(FOLLOW)
    stop, ended = threading.Event(), threading.Event()
    with ThreadPoolExecutor(WRITERS + len(READERS) + 1) as threads:
        writers = [threads.submit(write_on, log, stop, n) for n in range(WRITERS)]
        idler = threads.submit(idle_on, log, stop)
        readers = {
            name: threads.submit(follow_on, log, ended, *how)
            for name, how in READERS.items()
        }
        try:
            stop.wait(SECONDS)
        finally:
            stop.set()
            wait(writers)
            ended.set()
    committed = sorted(position for writer in writers for position in writer.result())
    idler.result()
    assert len(committed) > 50 * SECONDS
    assert read(log.connect()) == committed
    wrong = {
        name: (sorted(set(committed) ^ set(seen))[:5], len(seen), len(committed))
        for name, reader in readers.items()
        if (seen := reader.result()) != committed
    }
    assert not wrong


def test_a_floor_is_below_all_that_its_writer_draws(log) -> None:
    taker, stop = log.connect(), threading.Event()
    taker.execute(COUNT_HIGH_FLOORS)

    def draw_on():
        with closing(log.connect()) as connection:
            while not stop.is_set():
                connection.execute(DRAW)

    with ThreadPoolExecutor(2) as threads:
        drawing = [threads.submit(draw_on) for _ in range(2)]
        try:
            high = value(taker, f"CALL count_high_floors({int(2_000 * SECONDS)}, 0)")
        finally:
            stop.set()
        for drawer in drawing:
            drawer.result()
    assert high == 0
