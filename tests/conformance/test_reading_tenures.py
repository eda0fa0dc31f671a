"""Reading tenures: filters, pages, earlier times, and the views for plain SQL."""

from __future__ import annotations

import itertools
import uuid
from contextlib import closing
from typing import Any

import pytest
from histories import History, seeded_draws

import leasehold
from leasehold.adapters.guarding import REFUSAL_COUNTS

START_MS = 1_700_000_000_000
STEPS = 900
COLUMNS = list(leasehold.TenureRow.__slots__)
DAY_MS = 86_400_000


def plain(row: leasehold.TenureRow) -> dict[str, Any]:
    """Return a row as an outsider reads it."""
    values = {name: getattr(row, name) for name in COLUMNS}
    return {
        name: str(value) if isinstance(value, str | uuid.UUID) else value
        for name, value in values.items()
    }


class OnTheClock(History):
    """A random history that moves the clock of a test."""

    def __init__(self, seed, clock):
        self.moved = clock
        super().__init__(seed)

    now_ms = property(
        lambda self: self.moved(), lambda self, now_ms: self.moved.set(now_ms)
    )


@pytest.fixture
def history(ledger, clock):
    """Make a random history in the store in turn."""
    REFUSAL_COUNTS.forget()
    made = OnTheClock(0, clock)
    made.make(leasehold.Ledger(ledger._store, seeded_draws(0)), STEPS)
    return made


def matches(row, execution_id, worker_id, lane_id, since_ms) -> bool:
    """Say whether a row is one that was asked for."""
    return (
        execution_id in (None, row.execution_id)
        and worker_id in (None, row.worker_id)
        and lane_id in (None, row.lane_id)
        and (since_ms is None or row.ended_at_ms is None or row.ended_at_ms >= since_ms)
    )


def test_every_filter_alone_and_with_others(ledger, clock, history) -> None:
    rows = ledger.read.tenures()
    assert {row.ended_by for row in rows} == {*leasehold.TenureEnd, None}
    assert {row.acquired_by for row in rows} == {*leasehold.TenureOrigin}
    ends = sorted({row.ended_at_ms for row in rows if row.ended_at_ms})
    busiest = max(rows, key=lambda row: row.lease_epoch).execution_id
    found = set()
    for asked in itertools.product(
        (None, busiest, rows[-1].execution_id),
        (None, "w-1", "w-2", "nobody"),
        (None, "left", "right", "elsewhere"),
        (None, 0, ends[0], ends[len(ends) // 2], ends[-1] + 1, clock() + DAY_MS),
    ):
        expected = [row for row in rows if matches(row, *asked)]
        assert ledger.read.tenures(*asked) == expected, asked
        found.add(len(expected))
    assert len(found) > 10


def test_pages_have_every_row_once(ledger, history) -> None:
    for asked in ({}, {"lane_id": "left"}, {"worker_id": "w-1"}):
        rows = ledger.read.tenures(**asked)
        assert len(rows) > 7
        for limit in (1, 7, 1000):
            found, after = [], None
            while page := ledger.read.tenures(**asked, limit=limit, after=after):
                assert len(page) <= limit
                found += page
                after = page[-1].event_id
            assert found == rows


def test_pages_of_one_execution(ledger, clock, start) -> None:
    policy = leasehold.RetryPolicy(max_retries=9, backoff=leasehold.Fixed(0))
    handle = start(retry_policy=policy)
    one = handle.execution_id
    for _ in range(5):
        ledger.fail(handle, "flaky", leasehold.FailureClass.TRANSIENT)
        handle = ledger.claim(worker_id="w")
    rows = ledger.read.tenures(one)
    assert [row.lease_epoch for row in rows] == [1, 2, 3, 4, 5, 6]
    assert ledger.read.tenures(one, limit=2) == rows[:2]
    assert ledger.read.tenures(one, limit=2, after=rows[1].event_id) == rows[2:4]
    assert ledger.read.tenures(one, after=rows[-1].event_id) == []
    assert ledger.read.tenures(one, "w", "default", limit=2) == rows[1:3]


def test_an_empty_ledger_and_an_execution_that_nobody_held(ledger) -> None:
    assert ledger.read.tenures() == []
    one = ledger.create_execution()
    assert ledger.read.tenures() == ledger.read.tenures(one) == []
    assert ledger.read.tenures(uuid.uuid4()) == []


def test_since_counts_the_end_itself_and_what_is_live(ledger, clock, start) -> None:
    done = start(ttl=1_000)
    clock.advance(10)
    ledger.complete(done)
    live = start(ttl=1_000)
    ended = clock()

    def held(since_ms):
        return [row.lease_id for row in ledger.read.tenures(since_ms=since_ms)]

    assert held(ended) == [done.lease_id, live.lease_id]
    assert held(ended + 1) == held(ended + 10**9) == [live.lease_id]
    clock.advance(1_000)  # It ran out just now, and nobody has recorded that.
    assert held(clock()) == [live.lease_id]
    assert held(clock() + 1) == []


WRONG = {
    "execution_id": ["x", 7, b""],
    "worker_id": ["", " w", "w\n", "w" * 129, 7],
    "lane_id": ["", "l" * 65, "é", 7],
    "since_ms": [-1, 1.5, "0", True, 2**60],
    "limit": [0, -1, 1_000_001, "1", None],
    "after": [-1, "x", 2**63, 1.0],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]]
)
def test_a_wrong_argument_is_named(name, value, ledger) -> None:
    with pytest.raises(leasehold.InvalidInputError, match=name):
        ledger.read.tenures(**{name: value})


def test_the_last_argument_is_given_by_name(ledger) -> None:
    with pytest.raises(TypeError):
        ledger.read.tenures(None, None, None, None, 10, 0)


def test_as_of_shows_the_tenures_of_then(ledger, clock, start) -> None:
    old = start(ttl=1_000, worker="w1")
    one = old.execution_id
    before = ledger.read.settled_position()
    clock.advance(400)
    ledger.renew(old)
    clock.advance(2_000)
    new = ledger.claim(worker_id="w2", lease_ttl_ms=1_000)
    with pytest.raises(leasehold.LeaseConflictError):
        ledger.complete(old)
    now = ledger.read.tenures()
    with ledger.as_of() as read:
        assert read.tenures() == now
        assert read.tenures(one, "w2") == now[1:]
    with ledger.as_of(before) as read:
        (then,) = read.tenures(one)
        assert (then.renewals, then.expires_at_ms) == (0, START_MS + 1_000)
        assert (then.ended_at_ms, then.refusals) == (None, 0)
        assert read.tenures() == [then]
    # At 1399 the lease was live; it ran out at 1400, which nobody knew before 2400.
    for at_ms, ended in ((1_399, None), (1_400, 1_400), (2_399, 1_400)):
        with ledger.as_of(at_ms=START_MS + at_ms) as read:
            (then,) = read.tenures(lane_id="default")
            assert then.renewals == 1
            assert then.ended_at_ms == (ended and START_MS + ended)
            assert (then.orphaned_ms, then.refusals) == (None, 0)
    with ledger.as_of(at_ms=clock()) as read:
        assert read.tenures() == now
    assert (now[0].orphaned_ms, now[0].refusals) == (1_000, 1)
    assert now[1].lease_id == new.lease_id


def test_the_view_shows_what_the_read_gives(
    ledger, clock, history, start, sql, store_now_ms
) -> None:
    # By the database's own clock all of the history is long over, and this runs.
    clock.set(store_now_ms())
    live = start(ttl=DAY_MS, lane_id="last")
    rows = ledger.read.tenures()
    assert sql("SELECT * FROM tenure ORDER BY event_id") == [plain(row) for row in rows]
    assert (rows[-1].lease_id, rows[-1].ended_at_ms) == (live.lease_id, None)
    assert sum(row.ended_at_ms is None for row in rows) == 1
    one = rows[0].execution_id
    shown = sql("SELECT * FROM tenure WHERE execution_id = ? ORDER BY event_id", one)
    assert shown == [plain(row) for row in ledger.read.tenures(one)]


def test_the_view_without_a_clock_knows_only_what_is_on_record(
    ledger, clock, start, sql
) -> None:
    start(ttl=1_000)
    asked = "SELECT expires_at_ms, ended_at_ms, ended_by FROM {}"
    until = START_MS + 1_000
    live = {"expires_at_ms": until, "ended_at_ms": None, "ended_by": None}
    over = {"expires_at_ms": until, "ended_at_ms": until, "ended_by": "expired"}
    assert sql(asked.format("tenure_recorded")) == [live]
    assert sql(asked.format("tenure")) == [over]
    clock.advance(1_000)
    ledger.sweep()
    assert sql(asked.format("tenure_recorded")) == [over]
    (row,) = sql("SELECT * FROM tenure_recorded")
    assert list(row) == COLUMNS


def test_what_is_recorded_past_the_ledger_does_not_hide_a_tenure(
    shared, outsider
) -> None:
    before = shared.read.tenures()
    outsider.execute("DELETE FROM attempt")
    bare = shared.read.tenures()
    assert [row.event_id for row in bare] == [row.event_id for row in before]
    assert {row.lane_id for row in bare} == {None}
    assert shared.rebuild() != []
    assert shared.read.tenures() == before


def views(outsider) -> list[Any]:
    """Read both views, as anybody could."""
    return [
        outsider.execute(f"SELECT * FROM {name} ORDER BY event_id")
        for name in ("tenure", "tenure_recorded")
    ]


def drop(outsider) -> None:
    """Make the store what it was before there were views."""
    for statement in (
        "DROP VIEW tenure",
        "DROP VIEW tenure_recorded",
        "DROP INDEX lease_event_refused",
    ):
        outsider.execute(statement)


def objects(outsider, url) -> list[Any]:
    """Name what the views and their index are."""
    if url.startswith("postgres"):
        return outsider.execute(
            "SELECT relname, relkind FROM pg_class WHERE relname IN"
            " ('tenure', 'tenure_recorded', 'lease_event_refused')"
            " AND relnamespace = current_schema()::regnamespace ORDER BY relname"
        )
    return outsider.execute(
        "SELECT name, sql FROM sqlite_master WHERE name IN"
        " ('tenure', 'tenure_recorded', 'lease_event_refused') ORDER BY name"
    )


def test_a_store_that_is_older_than_the_views_gets_them_when_it_is_opened(
    shared, shared_url, outsider, clock
) -> None:
    rows, seen = shared.read.tenures(), views(outsider)
    made = objects(outsider, shared_url)
    assert len(made) == 3
    outsider.execute("UPDATE summary SET version = version + 70")
    drop(outsider)
    # Who has it open, and who only reads, does without.
    assert shared.read.tenures() == rows
    with leasehold.open(shared_url, clock=clock, read_only=True) as reader:
        assert reader.read.tenures() == rows
    assert objects(outsider, shared_url) == []
    for _ in range(2):
        leasehold.open(shared_url).close()
        assert views(outsider) == seen
        assert objects(outsider, shared_url) == made
    # Nothing was rebuilt for it.
    assert outsider.execute("SELECT min(version) > 70 AS kept FROM summary") in (
        [{"kept": 1}],
        [{"kept": True}],
    )


def test_a_rebuild_from_scratch_makes_the_views_again(
    shared, shared_url, outsider
) -> None:
    seen = views(outsider)
    outsider.execute("UPDATE leasehold_meta SET value = '0' WHERE key LIKE 'proj%'")
    leasehold.open(shared_url).close()
    assert views(outsider) == seen


def test_a_table_of_that_name_that_is_somebody_elses_is_left_alone(
    shared, shared_url, outsider, clock
) -> None:
    rows = shared.read.tenures()
    drop(outsider)
    outsider.execute("CREATE TABLE tenure (of_whom text)")
    outsider.execute("INSERT INTO tenure VALUES ('the faculty')")
    for reset in (False, True):
        if reset:
            outsider.execute(
                "UPDATE leasehold_meta SET value = '0' WHERE key LIKE 'proj%'"
            )
        with leasehold.open(shared_url, clock=clock) as ledger:
            assert ledger.read.tenures() == rows
        assert outsider.execute("SELECT * FROM tenure") == [{"of_whom": "the faculty"}]
        assert outsider.execute("SELECT count(*) AS n FROM tenure_recorded") == [
            {"n": len(rows)}
        ]


def test_many_who_open_an_older_store_at_once_make_the_views_once(
    shared, shared_url, outsider
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    seen = views(outsider)
    drop(outsider)

    def open_it(_: int) -> None:
        with closing(leasehold.open(shared_url)):
            pass

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(open_it, range(8)))
    assert views(outsider) == seen


def test_pages_stop_at_the_settled_position(new_store, clock) -> None:
    from outsiders import outsider_of

    url = new_store("postgres")
    with (
        leasehold.open(url, clock=clock) as ledger,
        closing(outsider_of(url)) as slow_writer,
    ):
        first = ledger.create_execution()
        ledger.claim(worker_id="w")
        settled = ledger.read.tenures()
        slow_writer.execute("BEGIN")
        slow_writer.execute("SELECT leasehold_take_floor()")
        second = ledger.create_execution()
        ledger.claim(worker_id="w")
        for asked in ({}, {"worker_id": "w"}, {"lane_id": "default"}):
            assert ledger.read.tenures(**asked) == settled
        assert [row.execution_id for row in settled] == [first]
        # Those of one execution are committed in the order of their positions.
        (unsettled,) = ledger.read.tenures(second)
        slow_writer.execute("ROLLBACK")
        assert ledger.read.tenures() == [*settled, unsettled]
