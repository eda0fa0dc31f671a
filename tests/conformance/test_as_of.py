"""The state at any time: `as_of`."""

import io
import threading
import uuid
from contextlib import suppress

import pytest
from bundle_lines import exported, until
from reading_all import everything

import leasehold

SECOND_MS = 1_000
NOBODY = uuid.UUID(int=7)


@pytest.fixture
def ids(told):
    """Name all executions of the story, and one that is not there."""
    return [it.execution_id for it in told.read.executions()] + [NOBODY]


def test_every_read_of_now_answers_as_the_live_tables_do(told, clock, ids) -> None:
    with told.as_of(at_ms=clock()) as read:
        assert everything(read, ids) == everything(told.read, ids)
    with told.as_of() as read:
        assert everything(read, ids, now=False) == everything(told.read, ids, now=False)


def test_every_read_answers_as_a_store_built_from_the_first_events(
    told, fresh, ids
) -> None:
    bundle, log = exported(told), told.read.events()
    for last in log[:: len(log) // 7]:
        then_ms = max(it.recorded_at_ms for it in log if it.position <= last.position)
        built = fresh(clock=lambda then_ms=then_ms: then_ms)
        built.import_bundle(io.BytesIO(until(bundle, last.position)))
        with told.as_of(last.position) as read:
            assert everything(read, ids) == everything(built.read, ids)


def test_it_does_not_matter_what_was_asked_before(told, clock, ids) -> None:
    with told.as_of(at_ms=clock()) as read:
        by_execution = {it: read.history(it) for it in ids}
        assert read.counts() == told.read.counts()
        assert {it: read.history(it) for it in ids} == by_execution
        assert everything(read, ids) == everything(told.read, ids)


def test_a_time_is_a_bound_for_each_event(told, ids) -> None:
    log = told.read.events()
    for at_ms in sorted({it.recorded_at_ms for it in log})[::4]:
        with told.as_of(at_ms=at_ms) as read:
            assert read.events() == [it for it in log if it.recorded_at_ms <= at_ms]
            for it in ids:
                assert read.history(it) == [
                    event for event in read.events() if event.event.execution_id == it
                ]


def test_before_all_events_there_is_nothing(told, ids) -> None:
    first_ms = told.read.events()[0].recorded_at_ms
    for moment in ({"position": 0}, {"at_ms": 0}, {"at_ms": first_ms - 1}):
        with told.as_of(**moment) as read:
            assert read.executions() == read.events() == read.lanes() == []
            assert set(read.counts().values()) == {0}
            assert read.settled_position() == 0
            assert read.expired_leases() == []
            assert read.execution(ids[0]) is None


def test_a_position_beyond_the_end_is_the_last_one(told, ids) -> None:
    beyond = 2**63 - 1
    with told.as_of(beyond) as read, told.as_of() as last:
        assert everything(read, ids) == everything(last, ids)


def test_leases_are_expired_by_the_time_of_the_moment(ledger, clock, start) -> None:
    handle = start(ttl=SECOND_MS)
    claimed = ledger.read.settled_position()
    run_out_ms = clock.advance(SECOND_MS)
    clock.advance(10 * SECOND_MS)
    assert [it.lease_id for it in ledger.read.expired_leases()] == [handle.lease_id]
    with ledger.as_of(claimed) as read:
        assert read.expired_leases() == []
    with ledger.as_of(at_ms=run_out_ms - 1) as read:
        assert read.expired_leases() == []
    with ledger.as_of(at_ms=run_out_ms) as read:
        assert [it.lease_id for it in read.expired_leases()] == [handle.lease_id]


def test_a_position_asked_of_one_execution_first_has_the_time_of_all(
    ledger, clock, start
) -> None:
    early = start(ttl=SECOND_MS)
    clock.advance(SECOND_MS)
    ledger.create_execution(lane_id="other")
    with ledger.as_of() as read:
        assert read.execution(early.execution_id) is not None
        assert [it.lease_id for it in read.expired_leases()] == [early.lease_id]


def test_best_effort_frames_are_no_history(ledger, start) -> None:
    handle = start()
    ledger.append_frame(handle, leasehold.Frame(b"kept"))
    ledger.append_frame(handle, leasehold.Frame(b"live", mode=leasehold.BestEffort()))
    asked = handle.execution_id, 0
    assert len(ledger.read.frames(*asked)) == 2
    with ledger.as_of() as read:
        assert [it.payload for it in read.frames(*asked)] == [b"kept"]
        assert [it.payload for it in read.tail_frames(*asked, None, 0)] == [b"kept"]


def test_what_happens_meanwhile_is_not_seen(ledger, start) -> None:
    handle = start()
    with ledger.as_of() as read:
        ledger.complete(handle)
        ledger.create_execution(lane_id="late")
        assert read.execution(handle.execution_id).public_state == "running"
        assert read.lanes() == ["default"]
    assert ledger.read.execution(handle.execution_id).public_state == "completed"


WRONG = [
    ({"position": 1, "at_ms": 1}, "not both"),
    ({"position": -1}, "position"),
    ({"position": True}, "position"),
    ({"position": "1"}, "position"),
    ({"position": 2**63}, "position"),
    ({"at_ms": -1}, "at_ms"),
    ({"at_ms": 1.5}, "at_ms"),
    ({"at_ms": 2**60}, "at_ms"),
]


@pytest.mark.parametrize(("moment", "named"), WRONG)
def test_a_wrong_moment_is_named(ledger, moment, named) -> None:
    with (
        pytest.raises(leasehold.InvalidInputError, match=named),
        ledger.as_of(**moment),
    ):
        pass


def test_arguments_of_reads_are_checked_there_too(told) -> None:
    with told.as_of() as read:
        for call in (
            lambda: read.execution("x"),
            lambda: read.lease_events(limit=0),
            lambda: read.events(topics=["x"]),
        ):
            with pytest.raises(leasehold.InvalidInputError):
                call()


def test_history_cannot_be_written(told, clock) -> None:
    before = told.read.settled_position()
    with told.as_of() as read:
        past = leasehold.Ledger(read._store)
        for call in (
            past.create_execution,
            past.sweep,
            past.rebuild,
            lambda: past.import_bundle(io.BytesIO(exported(told))),
        ):
            with pytest.raises(leasehold.StoreError, match=r"read|written"):
                call()
        with suppress(leasehold.StoreError):
            past.claim(worker_id="w")
        assert read.settled_position() == before
    assert told.read.settled_position() == before


def test_a_read_only_ledger_has_its_history_too(shared, shared_url, ids_of) -> None:
    with (
        leasehold.open(shared_url, read_only=True) as reader,
        reader.as_of() as read,
        shared.as_of() as expected,
    ):
        ids = ids_of(shared)
        assert everything(read, ids) == everything(expected, ids)


@pytest.fixture
def ids_of():
    return lambda ledger: [it.execution_id for it in ledger.read.executions()]


def test_a_question_about_one_execution_replays_that_one_alone(
    shared, outsider, ids_of
) -> None:
    damaged, *others = ids_of(shared)
    expected = {it: shared.read.history(it) for it in others}
    rows = {it: shared.read.execution(it) for it in others}
    outsider.lift_the_guard()
    outsider.execute(
        "UPDATE stored_events SET state = ? WHERE originator_id = ?",
        b"x",
        str(damaged),
    )
    with shared.as_of() as read:
        for it in others:
            assert read.history(it) == expected[it]
            assert read.execution(it) == rows[it]
            assert read.attempts(it) == shared.read.attempts(it)
            assert read.lease_events(it) == shared.read.lease_events(it)
            assert read.frames(it, 0) == shared.read.frames(it, 0)
            assert read.summary(it, 0) == shared.read.summary(it, 0)
        for call in (lambda: read.execution(damaged), read.counts, read.events):
            with pytest.raises(leasehold.StoreError) as caught:
                call()
            assert caught.value.code == "corrupt_event"
        # Nothing was lost by the replay that failed.
        assert {it: read.history(it) for it in others} == expected


def test_a_question_about_one_execution_asks_for_the_log_of_that_one(
    told, ids, monkeypatch
) -> None:
    asked = []
    with told.as_of() as read:
        source = type(read._store._source)
        original = source.read

        def counted(self, **options):
            asked.append(self)
            return original(self, **options)

        monkeypatch.setattr(source, "read", counted)
        for _ in range(3):
            read.execution(ids[0])
            read.attempts(ids[0])
        mine = [it for it in asked if it is told._store]
        assert len(mine) == 1
        read.counts()
        read.execution(ids[1])
        read.events()
        assert len([it for it in asked if it is told._store]) == 2


def test_an_event_that_cannot_be_projected_is_a_corrupt_event(
    shared, outsider, start_in
) -> None:
    handle = start_in(shared)
    shared.append_frame(handle, leasehold.Frame(b'{"a":1}', mode=leasehold.Summary()))
    outsider.lift_the_guard()
    (row,) = outsider.execute(
        "SELECT * FROM stored_events WHERE originator_id = ?",
        f"{handle.execution_id}/0/frames",
    )
    outsider.execute(
        "UPDATE stored_events SET state = ? WHERE notification_id = ?",
        row["state"].replace(b'"eyJhIjoxfQ=="', b'"eyJhIjox"'),
        row["notification_id"],
    )
    with shared.as_of() as read, pytest.raises(leasehold.StoreError) as caught:
        read.execution(handle.execution_id)
    assert caught.value.code == "corrupt_event"
    assert str(row["notification_id"]) in str(caught.value)


@pytest.fixture
def start_in():
    def start(ledger):
        ledger.create_execution(lane_id="further")
        return ledger.claim("further", worker_id="w", lease_ttl_ms=80_000_000)

    return start


def test_threads_may_share_a_reader(told, ids) -> None:
    expected = everything(told.read, ids, now=False)
    found, failures = [], []

    def ask(read):
        try:
            found.append(everything(read, ids, now=False))
        except Exception as error:  # noqa: BLE001 - told by the assertion
            failures.append(error)

    with told.as_of() as read:
        threads = [threading.Thread(target=ask, args=[read]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert found == [expected] * 4


def test_a_replay_of_all_tells_how_far_it_is(told) -> None:
    seen = []
    with told.as_of(progress=lambda *told: seen.append(told)) as read:
        read.execution(read.executions()[0].execution_id)
        read.counts()
    events = len(told.read.events())
    assert [done for done, _ in seen] == [*range(1, events + 1)]
    assert all(done <= total for done, total in seen)


def test_a_reader_ends_with_its_block(told, ids) -> None:
    with told.as_of() as read:
        pass
    with pytest.raises(leasehold.StoreError, match="closed"):
        read.counts()
