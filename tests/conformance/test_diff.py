"""What differs between two positions of the log: `diff`."""

import random

import pytest
from reading_all import kept

import leasehold

TABLES = ("exec_core", "attempt", "summary", "lease_event", "stream_frame")


def plain(row):
    """Give a row of a reader in the values of its table."""
    from leasehold.domain.merge_patch import canonical_json

    def value(it):
        if it is None or isinstance(it, bytes | int | float):
            return it
        return canonical_json(it) if isinstance(it, dict) else str(it)

    return {name: value(getattr(row, name)) for name in type(row).__slots__}


def rows_at(ledger, position):
    """Read all rows as they were, by table and key."""
    found = {}
    with ledger.as_of(position) as read:
        for execution in read.executions(limit=1_000):
            execution_id = execution.execution_id
            found["exec_core", str(execution_id)] = plain(execution)
            for attempt in read.attempts(execution_id):
                asked = execution_id, attempt.attempt_index
                key = str(execution_id), attempt.attempt_index
                found["attempt", *key] = plain(attempt)
                for frame in kept(read.frames(*asked)):
                    found["stream_frame", *key, frame.ts_ms, frame.seq] = plain(frame)
                summary = read.summary(*asked)
                if summary is not None:
                    found["summary", *key] = plain(summary)
        for event in read.lease_events(limit=1_000):
            found["lease_event", event.event_id] = plain(event)
    return found


def as_rows(differences):
    return {(it.table, *it.key.values()): (it.before, it.after) for it in differences}


def test_it_equals_two_states_held_side_by_side_row_by_row(told) -> None:
    log = told.read.events()
    chance = random.Random(3)
    positions = [0, *(it.position for it in log), log[-1].position + 50]
    pairs = [(positions[0], positions[-1])]
    pairs += [tuple(chance.choices(positions, k=2)) for _ in range(15)]
    for before, after in pairs:
        earlier, later = rows_at(told, before), rows_at(told, after)
        expected = {
            key: (earlier.get(key), later.get(key))
            for key in {*earlier, *later}
            if earlier.get(key) != later.get(key)
        }
        found = told.diff(before, after)
        assert as_rows(found) == expected
        assert len(found) == len(expected)


def test_it_names_the_columns_that_differ(ledger, start) -> None:
    handle = start()
    before = ledger.read.settled_position()
    ledger.progress(handle, 12.5)
    ledger.renew(handle)
    after = ledger.read.settled_position()
    core, attempt, lease = ledger.diff(before, after)
    assert (core.table, attempt.table, lease.table) == (
        "exec_core",
        "attempt",
        "lease_event",
    )
    assert core.key == {"execution_id": str(handle.execution_id)}
    assert core.columns == {"raw_fields": ("{}", '{"progress_pct":12.5}')}
    assert attempt.key == {**core.key, "attempt_index": 0}
    expires_at_ms = ledger.read.attempt(handle.execution_id, 0).lease_expires_at_ms
    assert attempt.columns == {
        "lease_expires_at_ms": (handle.lease_expires_at_ms, expires_at_ms)
    }
    assert (lease.key, lease.before) == ({"event_id": after}, None)
    assert lease.columns["cause"] == (None, "renew")


def test_the_other_way_round_it_is_the_same(told) -> None:
    positions = [it.position for it in told.read.events()][::9]
    for before, after in zip(positions, positions[2:], strict=False):
        forth, back = told.diff(before, after), told.diff(after, before)
        assert [
            leasehold.RowDifference(it.table, it.key, it.after, it.before)
            for it in back
        ] == forth


def test_between_a_position_and_itself_nothing_differs(told) -> None:
    for it in told.read.events()[::10]:
        assert told.diff(it.position, it.position) == []


def test_a_position_beyond_the_end_is_the_last_one(told) -> None:
    last = told.read.settled_position()
    assert told.diff(last, 2**63 - 1) == []
    assert told.diff(0, 2**63 - 1) == told.diff(0, last)


def test_rows_stand_by_execution_and_table(told) -> None:
    found = told.diff(0, told.read.settled_position())
    owners = [str(it.after["execution_id"]) for it in found]
    assert owners == sorted(owners)
    for owner in set(owners):
        named = [it.table for it in found if it.after["execution_id"] == owner]
        assert named == sorted(named, key=TABLES.index)


def test_only_executions_with_events_between_are_replayed(
    shared, outsider, start_in
) -> None:
    before = shared.read.settled_position()
    execution_id = start_in(shared)
    outsider.lift_the_guard()
    outsider.execute(
        "UPDATE stored_events SET state = ? WHERE notification_id <= ?", b"x", before
    )
    found = shared.diff(before, shared.read.settled_position())
    assert {it.after["execution_id"] for it in found} == {str(execution_id)}
    with pytest.raises(leasehold.StoreError) as caught:
        shared.diff(0, before)
    assert caught.value.code == "corrupt_event"


@pytest.fixture
def start_in():
    def start(ledger):
        execution_id = ledger.create_execution(lane_id="further")
        ledger.claim("further", worker_id="w")
        return execution_id

    return start


@pytest.mark.parametrize("wrong", [-1, True, None, "1", 1.0, 2**63])
def test_a_wrong_position_is_named(ledger, wrong) -> None:
    for asked in ((wrong, 1), (1, wrong)):
        with pytest.raises(leasehold.InvalidInputError, match=r"^(before|after) "):
            ledger.diff(*asked)
