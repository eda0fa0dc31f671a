"""Following the log on PostgreSQL: notices, lost connections, and who holds it up."""

import time
from contextlib import closing

import psycopg
import pytest
from followers import in_thread, positions
from outsiders import outsider_of, use_schema, without_schema
from postgres_server import FAST, start_server

import leasehold
from leasehold import StoreError

LONG_S = 20
PROMPT_S = 0.2
"""Less than the time after which a follower looks by itself."""


@pytest.fixture
def url(new_store):
    return new_store("postgres")


@pytest.fixture
def ledger(url):
    with leasehold.open(url, durability="normal") as opened:
        yield opened


@pytest.fixture
def outsider(url, ledger):
    with closing(outsider_of(url)) as connected:
        yield connected


@pytest.fixture
def listener(url, ledger):
    """Listen as a follower does, but without telling that somebody follows."""
    server, schema = without_schema(url)
    with closing(psycopg.connect(server, autocommit=True)) as connection:
        use_schema(connection, schema)
        asked = "SELECT 'leasehold_' || 'stored_events'::regclass::oid"
        ((channel,),) = connection.execute(asked).fetchall()
        connection.execute(f"LISTEN {channel}")
        yield lambda: len(list(connection.notifies(timeout=0.2)))


FOLLOWERS = """
SELECT l.pid AS pid
FROM pg_locks AS l
WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.objid = 0
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.classid::bigint = (leasehold_floor_class() # 2)::bigint & 4294967295
"""


def followers(outsider):
    """Return the processes of the server that hold the lock of a follower."""
    return [row["pid"] for row in outsider.execute(FOLLOWERS)]


def until(holds):
    """Wait until something holds; the server takes a moment to end a connection."""
    until_s = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def follow(subscription, outsider):
    """Wait until a subscription listens for notices; nothing is to be had yet.

    It has its connection once it has looked and found that there is time to wait.
    """
    until(lambda: subscription.next_events(0.01) == [] and followers(outsider))


def test_nobody_is_notified_where_nobody_follows(ledger, listener, outsider) -> None:
    ledger.create_execution()
    ledger.claim(worker_id="w")
    assert listener() == 0
    with ledger.subscribe(after=0) as subscription:
        subscription.next_events(0)
        follow(subscription, outsider)
        assert len(followers(outsider)) == 1
        ledger.create_execution()
        assert listener() == 1
    until(lambda: followers(outsider) == [])
    ledger.create_execution()
    assert listener() == 0


def test_a_call_that_writes_nothing_notifies_once_at_most(
    ledger, listener, outsider
) -> None:
    with ledger.subscribe() as subscription:
        follow(subscription, outsider)
        ledger.create_executions([{}] * 50)
        assert listener() == 1


CONNECTED = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid = ?"


@pytest.mark.parametrize("end", ["stop", "close", "drop", "error"])
def test_the_connection_of_a_follower_is_closed_after(ledger, outsider, end) -> None:
    subscription = ledger.subscribe()
    follow(subscription, outsider)
    (pid,) = followers(outsider)
    if end == "stop":
        subscription.stop()
        assert list(subscription) == []
    elif end == "close":
        subscription.close()
    elif end == "error":
        ledger.close()
        with pytest.raises(StoreError, match="closed"):
            next(subscription)
    else:
        del subscription
    until(lambda: outsider.execute(CONNECTED, pid) == [{"n": 0}])


def test_a_follower_has_no_connection_before_it_waits(ledger, outsider) -> None:
    ledger.create_execution()
    with ledger.subscribe(after=0) as subscription:
        next(subscription)
        assert followers(outsider) == []


def test_a_follower_is_woken_by_a_notice_and_not_by_its_own_look(
    ledger, outsider
) -> None:
    waits_s = []
    with ledger.subscribe() as subscription:
        for _ in range(9):
            with in_thread(lambda: subscription.next_events(LONG_S)) as follower:
                follower.wait_until(lambda: bool(followers(outsider)))
                ledger.create_execution()
                began_s = time.monotonic()
                assert len(follower.result(LONG_S)) == 1
                waits_s.append(time.monotonic() - began_s)
    assert sorted(waits_s)[4] < 0.05


def test_a_lost_connection_of_a_follower_is_made_anew(ledger, outsider) -> None:
    with ledger.subscribe() as subscription:
        assert subscription.next_events(0.01) == []
        (pid,) = followers(outsider)
        with in_thread(lambda: subscription.next_events(LONG_S)) as follower:
            outsider.execute("SELECT pg_terminate_backend(?)", pid)
            follower.wait_until(lambda: followers(outsider) not in ([], [pid]))
            ledger.create_execution()
            assert positions(follower.result(LONG_S)) == [1]


def hold_floor(outsider, floor):
    """Be a writer that told its floor late, and has not committed yet."""
    outsider.execute("BEGIN")
    take = "SELECT pg_advisory_xact_lock_shared(leasehold_floor_class(), ?::integer)"
    outsider.execute(take, floor)


@pytest.mark.parametrize("topics", [(), ("execution.created",)])
def test_a_settled_position_that_goes_back_loses_nothing(
    ledger, outsider, topics
) -> None:
    ledger.create_executions([{}] * 10)
    subscription = ledger.subscribe(after=0, topics=topics)
    read = subscription._feed._read
    settled_position = read.settled_position

    def answer_then_hold():
        # The floor appears between the two statements of a look.
        settled = settled_position()
        hold_floor(outsider, 4)
        return settled

    read.settled_position = answer_then_hold
    found = subscription.next_events(0)
    del read.settled_position
    assert ledger.read.settled_position() == 4
    assert positions(found) == list(range(1, 11))
    assert subscription.position == 10
    assert subscription.next_events(0.05) == []
    assert subscription.position == 10
    outsider.release()
    ledger.create_execution()
    assert positions(subscription.next_events(LONG_S)) == [11]
    subscription.close()


def open_writer(outsider):
    """Draw a position as a writer does, and do not commit."""
    outsider.execute("BEGIN")
    outsider.execute("SELECT leasehold_take_floor()")
    outsider.execute(
        "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
        " SELECT 'late', 1, topic, state FROM stored_events LIMIT 1"
    )


@pytest.mark.parametrize("ends", ["COMMIT", "ROLLBACK"])
def test_a_long_writer_holds_followers_back_and_nothing_is_lost(
    ledger, outsider, ends
) -> None:
    first = ledger.create_execution()
    with (
        ledger.subscribe(after=0) as subscription,
        ledger.subscribe(after=0, topics=["execution.created"]) as of_topic,
        ledger.subscribe(after=0, execution_id=first) as of_one,
    ):
        every = (subscription, of_topic, of_one)
        assert [positions(one.next_events(0)) for one in every] == [[1]] * 3
        open_writer(outsider)
        ledger.create_executions([{}] * 3)
        ledger.cancel_execution(first, actor="ann", reason="x")
        assert [one.next_events(0.1) for one in every] == [[]] * 3
        assert [one.position for one in every] == [1] * 3
        outsider.execute(ends)
        late = [2] if ends == "COMMIT" else []
        found = [positions(one.next_events(LONG_S)) for one in every]
        assert found == [[*late, 3, 4, 5, 6], [*late, 3, 4, 5], [6]]
        assert [one.next_events(0) for one in every] == [[]] * 3
        assert [one.position for one in every] == [6] * 3


@pytest.fixture(scope="module")
def own_server():
    with start_server(**{**FAST, "fsync": "on", "synchronous_commit": "on"}) as server:
        yield server


def iterate(subscription, seen, errors):
    """Follow until it is stopped, over errors."""
    while not subscription._feed.stopped.is_set():
        try:
            seen.extend(recorded.position for recorded in subscription)
        except StoreError as error:
            errors.append(error)
            time.sleep(0.05)


def test_a_follower_goes_on_after_a_restart_of_the_server(own_server) -> None:
    url = f"{own_server.url}&schema=restarted"
    seen, errors = [], []
    with leasehold.open(url) as ledger:
        subscription = ledger.subscribe(after=0)
        with in_thread(lambda: iterate(subscription, seen, errors)) as follower:
            for number in range(1, 4):
                ledger.create_executions([{}] * 10)
                follower.wait_until(lambda n=number: len(seen) == 10 * n)
                if number < 3:
                    own_server.kill()
                    follower.wait_until(lambda n=number: len(errors) >= n)
                    own_server.start()
            subscription.stop()
            follower.result(LONG_S)
        assert seen == positions(ledger.read.events())
    assert errors
    assert all(error.retryable for error in errors)


class Positions:
    """Keeps the positions of events."""

    def create(self, execute):
        execute("CREATE TABLE IF NOT EXISTS seen (position BIGINT PRIMARY KEY)")

    def apply(self, recorded, execute):
        execute("INSERT INTO seen VALUES (%s)", recorded.position)


def test_a_projection_goes_on_after_a_restart_of_the_server(own_server) -> None:
    url = f"{own_server.url}&schema=projected"
    with (
        leasehold.open(url) as ledger,
        ledger.run_projection(Positions(), "seen") as running,
    ):
        for _ in range(2):
            ledger.create_executions([{}] * 10)
            assert running.wait_until(ledger.read.settled_position(), LONG_S)
            own_server.kill()
            time.sleep(0.3)
            own_server.start()
        ledger.create_executions([{}] * 10)
        expected = positions(ledger.read.events())
        assert running.wait_until(expected[-1], LONG_S)
        with closing(outsider_of(url)) as outsider:
            rows = outsider.execute("SELECT position FROM seen ORDER BY 1")
    assert [row["position"] for row in rows] == expected
