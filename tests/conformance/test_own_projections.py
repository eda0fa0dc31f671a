"""Projections of a caller's own: each event takes effect once, with its position."""

import threading
import time
from contextlib import contextmanager

import pytest
from followers import in_thread

import leasehold
from leasehold import InvalidInputError, StoreError

LONG_S = 20
CREATED = "execution.created"


class Counts:
    """Counts events by topic, in a table that would tell a second time."""

    def __init__(self, is_postgres, table="topic_count"):
        self.mark = "%s" if is_postgres else "?"
        self.table = table
        self.fails_at = None
        self.given = []

    def create(self, execute):
        execute(
            f"CREATE TABLE IF NOT EXISTS {self.table}"
            " (topic TEXT PRIMARY KEY, n BIGINT NOT NULL)"
        )

    def apply(self, recorded, execute):
        self.given.append(recorded.position)
        execute(
            f"INSERT INTO {self.table} VALUES ({self.mark}, 1) ON CONFLICT (topic)"
            f" DO UPDATE SET n = {self.table}.n + 1",
            recorded.topic,
        )
        if recorded.position == self.fails_at:
            message = "this one is beyond me"
            raise ValueError(message)


class OfTopics(Counts):
    topics = (CREATED,)


@pytest.fixture
def is_postgres(store_url):
    return store_url.startswith("postgres")


@pytest.fixture
def counts(is_postgres):
    return Counts(is_postgres)


@pytest.fixture
def counted(sql):
    """Read what the projection made of the log."""

    def read(table="topic_count"):
        return {row["topic"]: row["n"] for row in sql(f"SELECT * FROM {table}")}

    return read


@pytest.fixture
def expected(ledger):
    def count(topics=None):
        found = {}
        for recorded in ledger.read.events(limit=100_000):
            if topics is None or recorded.topic in topics:
                found[recorded.topic] = found.get(recorded.topic, 0) + 1
        return found

    return count


@pytest.fixture
def stored_position(sql):
    def read(name="counts"):
        rows = sql(
            "SELECT position AS n FROM leasehold_projection WHERE name = ?", name
        )
        return rows[0]["n"]

    return read


def test_it_is_caught_up_when_it_returns(
    ledger, start, counts, counted, expected, stored_position
) -> None:
    ledger.complete(start())
    ledger.create_executions([{}] * 250)
    running = ledger.run_projection(counts, "counts")
    assert counted() == expected()
    last = ledger.read.settled_position()
    assert running.name == "counts"
    assert running.position == stored_position() == last
    assert counts.given == list(range(1, last + 1))


def test_it_is_kept_up_in_the_block(ledger, counts, counted, expected) -> None:
    with ledger.run_projection(counts, "counts") as running:
        for _ in range(3):
            ledger.create_executions([{}] * 30)
            assert running.wait_until(ledger.read.settled_position(), LONG_S)
            assert counted() == expected()


def test_outside_of_the_block_it_is_caught_up_by_a_call(
    ledger, counts, counted, expected
) -> None:
    running = ledger.run_projection(counts, "counts")
    ledger.create_executions([{}] * 30)
    assert counted() == {}
    assert running.wait_until(30, 0.01) is False
    assert running.catch_up() == 30
    assert running.catch_up() == 0
    assert counted() == expected()
    with running:
        ledger.create_execution()
        assert running.wait_until(31, LONG_S)
    ledger.create_execution()
    assert running.catch_up() == 1
    with running:
        ledger.create_execution()
        assert running.wait_until(33, LONG_S)
    assert counted() == expected()


def test_a_call_in_the_block_and_its_thread_do_not_double(
    ledger, counts, counted, expected
) -> None:
    with ledger.run_projection(counts, "counts") as running:
        for number in range(1, 31):
            ledger.create_execution()
            running.catch_up()
            assert running.position >= number
    assert counted() == expected()


def test_running_it_again_changes_nothing(
    ledger, start, counts, counted, stored_position
) -> None:
    ledger.complete(start())
    ledger.run_projection(counts, "counts")
    before, position = counted(), stored_position()
    counts.given.clear()
    ledger.run_projection(counts, "counts")
    assert counts.given == []
    assert (counted(), stored_position()) == (before, position)


def test_another_name_begins_at_the_first_event(
    ledger, is_postgres, counted, expected
) -> None:
    ledger.create_executions([{}] * 3)
    for name in ("one", "other"):
        table = f"topic_count_{name}"
        ledger.run_projection(Counts(is_postgres, table), name)
        assert counted(table) == expected()


def test_only_its_topics_are_given(
    ledger, start, is_postgres, counted, expected
) -> None:
    with ledger.run_projection(OfTopics(is_postgres), "counts") as running:
        ledger.complete(start())
        ledger.create_execution()
        last = ledger.read.settled_position()
        assert running.wait_until(last, LONG_S)
        assert counted() == expected([CREATED])


def test_where_nothing_is_for_it_the_position_goes_on(
    ledger, is_postgres, stored_position
) -> None:
    projection = OfTopics(is_postgres)
    projection.topics = ["frame.appended"]
    running = ledger.run_projection(projection, "counts")
    ledger.create_executions([{}] * 1_200)
    assert running.catch_up() == 0
    assert running.position == stored_position() == 1_200
    with running:
        ledger.create_executions([{}] * 5)
        assert running.wait_until(1_205, LONG_S)
    assert stored_position() == 1_200, "a position alone is not written each time"


def test_an_error_keeps_nothing_of_its_transaction(
    ledger, counts, counted, expected, stored_position
) -> None:
    ledger.create_executions([{}] * 150)
    counts.fails_at = 130
    with pytest.raises(ValueError, match="beyond me") as told:
        ledger.run_projection(counts, "counts")
    assert any("position 130" in note for note in told.value.__notes__)
    assert counted() == {CREATED: 100}
    assert stored_position() == 100
    counts.fails_at = None
    ledger.run_projection(counts, "counts")
    assert counted() == expected()


def test_after_an_error_the_same_events_come_again(
    ledger, counts, counted, expected
) -> None:
    running = ledger.run_projection(counts, "counts")
    ledger.create_executions([{}] * 20)
    counts.fails_at = 7
    for _ in range(2):
        with pytest.raises(ValueError, match="beyond me"):
            running.catch_up()
        assert running.position == 0
    assert counted() == {}
    counts.fails_at = None
    assert running.catch_up() == 20
    assert counted() == expected()


def test_an_error_in_the_block_is_told_with_its_cause_and_position(
    ledger, counts, counted, expected
) -> None:
    counts.fails_at = 3

    def in_a_block():
        with ledger.run_projection(counts, "counts") as running:
            ledger.create_execution()
            assert running.wait_until(1, LONG_S)
            ledger.create_executions([{}] * 5)
            running.wait_until(6, LONG_S)

    with pytest.raises(
        StoreError, match=r"'counts'.*position 3 \(exec.*until 1:"
    ) as told:
        in_a_block()
    assert isinstance(told.value.__cause__, ValueError)
    assert counted() == {CREATED: 1}
    counts.fails_at = None
    with ledger.run_projection(counts, "counts"):
        assert counted() == expected()


def test_an_error_in_the_block_is_told_when_it_ends(ledger, counts) -> None:
    counts.fails_at = 1
    failed = threading.Event()
    running = ledger.run_projection(counts, "counts")

    def in_a_block():
        with running:
            ledger.create_execution()
            with in_thread(lambda: running._thread.join(LONG_S)):
                failed.set()

    with pytest.raises(StoreError, match="beyond me"):
        in_a_block()
    assert failed.is_set()
    counts.fails_at = None
    with running:
        assert running.wait_until(1, LONG_S)


def test_an_error_of_the_block_itself_goes_before(ledger, counts) -> None:
    counts.fails_at = 1

    def in_a_block():
        with ledger.run_projection(counts, "counts") as running:
            ledger.create_execution()
            running._thread.join(LONG_S)
            message = "the block's own"
            raise KeyError(message)

    with pytest.raises(KeyError, match="own"):
        in_a_block()


def test_wrong_sql_is_told(ledger, is_postgres, stored_position) -> None:
    class Wrong(Counts):
        def apply(self, recorded, execute):
            execute("SELECT no_such_column FROM topic_count")

    ledger.create_execution()
    with pytest.raises(StoreError, match="no_such_column"):
        ledger.run_projection(Wrong(is_postgres), "counts")
    assert stored_position() == 0


def test_execute_gives_rows_with_and_without_values(ledger, is_postgres) -> None:
    mark = "%s" if is_postgres else "?"
    seen = []

    class Asks(Counts):
        def apply(self, recorded, execute):
            seen.append(list(execute("DELETE FROM topic_count")))
            seen.append(list(execute("SELECT 1, 'a%b' WHERE 'x%' LIKE 'x%'")))
            asked = f"SELECT {mark} WHERE 1 < {mark}"
            seen.append(list(execute(asked, "grün", 2)))
            seen.append(list(execute(asked, None, 0)))
            insert = f"INSERT INTO topic_count VALUES ({mark}, {mark}) RETURNING n"
            seen.append(list(execute(insert, "t", 5)))
            seen.append(list(execute("SELECT n, topic FROM topic_count")))

    ledger.create_execution()
    ledger.run_projection(Asks(is_postgres), "asks")
    plain = [[tuple(row) for row in part] for part in seen]
    assert plain == [[], [(1, "a%b")], [("grün",)], [], [(5,)], [(5, "t")]]


def test_it_may_read_the_tables_of_the_ledger(ledger, is_postgres, sql) -> None:
    mark = "%s" if is_postgres else "?"

    class Lanes:
        def create(self, execute):
            execute("CREATE TABLE lane_of (execution_id TEXT, lane_id TEXT)")

        def apply(self, recorded, execute):
            execute(
                "INSERT INTO lane_of SELECT execution_id, lane_id FROM exec_core"
                f" WHERE execution_id = {mark}",
                str(recorded.event.execution_id),
            )

    ledger.create_execution(lane_id="mail")
    ledger.run_projection(Lanes(), "lanes")
    assert [row["lane_id"] for row in sql("SELECT lane_id FROM lane_of")] == ["mail"]


NO_PROJECTIONS = [None, 5, "x", object(), Counts, type("Half", (), {"create": print})()]


@pytest.mark.parametrize(
    "wrong", NO_PROJECTIONS, ids=lambda wrong: type(wrong).__name__
)
def test_what_is_no_projection_is_refused_by_name(ledger, wrong) -> None:
    name = getattr(wrong, "__name__", type(wrong).__name__)
    with pytest.raises(InvalidInputError, match=f"{name} is none"):
        ledger.run_projection(wrong, "x")


@pytest.mark.parametrize("topics", [CREATED, ["no.such"], None, 5])
def test_wrong_topics_are_named(ledger, counts, topics) -> None:
    counts.topics = topics
    with pytest.raises(InvalidInputError, match="topics"):
        ledger.run_projection(counts, "x")


@pytest.mark.parametrize("name", ["", " x", "a" * 65, "grün", 5, None])
def test_wrong_names_are_refused(ledger, counts, name) -> None:
    with pytest.raises(InvalidInputError, match="name"):
        ledger.run_projection(counts, name)


def test_a_ledger_that_only_reads_runs_none(shared_url) -> None:
    leasehold.open(shared_url).close()
    with (
        leasehold.open(shared_url, read_only=True) as ledger,
        pytest.raises(StoreError, match="read_only"),
    ):
        ledger.run_projection(Counts(is_postgres=False), "counts")


def test_its_tables_survive_a_rebuild_and_do_not_disturb_verify(
    ledger, start, counts, counted, expected
) -> None:
    with ledger.run_projection(counts, "counts") as running:
        ledger.complete(start())
        ledger.rebuild()
        assert ledger.verify().ok
        ledger.complete(start())
        assert running.wait_until(ledger.read.settled_position(), LONG_S)
        assert counted() == expected()
    assert ledger.verify().ok


def test_two_at_once_under_one_name_take_each_event_once(shared_url, outsider) -> None:
    is_postgres = shared_url.startswith("postgres")
    projections = [Counts(is_postgres) for _ in range(4)]
    with leasehold.open(shared_url, durability="normal") as ledger:
        ledger.create_executions([{}] * 300)

    def run(projection):
        with (
            leasehold.open(shared_url, durability="normal") as ledger,
            ledger.run_projection(projection, "counts") as running,
        ):
            for _ in range(10):
                ledger.create_execution()
            running.wait_until(340, LONG_S)

    threads = [threading.Thread(target=run, args=[one]) for one in projections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    given = [position for one in projections for position in one.given]
    assert sorted(given) == list(range(1, 341))
    assert outsider.execute("SELECT n FROM topic_count") == [{"n": 340}]


def test_what_has_no_topics_and_what_has_an_empty_list_get_all(
    ledger, is_postgres, counted, expected
) -> None:
    ledger.create_execution()
    empty = Counts(is_postgres, "with_empty_list")
    empty.topics = []
    ledger.run_projection(empty, "one")
    ledger.run_projection(Counts(is_postgres), "other")
    assert counted() == counted("with_empty_list") == expected()


def test_closing_the_ledger_ends_the_thread_with_an_error(ledger, counts) -> None:
    running = ledger.run_projection(counts, "counts")

    def in_a_block():
        with running:
            ledger.close()
            running._thread.join(LONG_S)

    with pytest.raises(StoreError, match="closed"):
        in_a_block()
    assert not running._thread.is_alive()


def test_a_store_that_is_busy_is_tried_again(
    ledger, counts, counted, expected, caplog
) -> None:
    running = ledger.run_projection(counts, "counts")
    with running, busy_once(ledger._store):
        ledger.create_execution()
        assert running.wait_until(1, LONG_S)
    assert counted() == expected()
    assert "tried again" in caplog.text


@contextmanager
def busy_once(store):
    """Let the first transaction of the projection's thread find the store busy."""
    write = store.write
    told = threading.Event()

    def busy(**options):
        in_projection = threading.current_thread().name.startswith("leasehold")
        if in_projection and not told.is_set():
            told.set()
            message = "busy"
            raise StoreError(message, code="store_busy", retryable=True)
        return write(**options)

    store.write = busy
    try:
        yield
        assert told.wait(LONG_S)
    finally:
        del store.write


def test_wait_until_says_in_time_that_it_is_late(ledger, counts) -> None:
    with ledger.run_projection(counts, "counts") as running:
        began_s = time.monotonic()
        assert running.wait_until(5, 0.05) is False
        assert time.monotonic() - began_s < 1
