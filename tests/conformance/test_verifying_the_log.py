"""Verifying: every damage to the log is found in its place, whatever bytes it has."""

import hashlib
import json
import random
import uuid

import pytest

import leasehold
from leasehold import FaultKind

CHANGED = (FaultKind.CHAIN, FaultKind.UNREADABLE)
COLUMNS = "notification_id, originator_id, originator_version, topic, state"


class Log:
    """The log behind a ledger, to be damaged and made whole again."""

    def __init__(self, outsider):
        self.outsider = outsider
        outsider.lift_the_guard()
        self.rows = self.read()

    def read(self):
        return self.outsider.execute(
            f"SELECT {COLUMNS} FROM stored_events ORDER BY notification_id"
        )

    def change(self, position, **columns):
        """Change an event."""
        assigned = ", ".join(f"{column} = ?" for column in columns)
        self.outsider.execute(
            f"UPDATE stored_events SET {assigned} WHERE notification_id = ?",
            *columns.values(),
            position,
        )

    def restore(self, row):
        """Make an event as it was."""
        self.change(row["notification_id"], **row)

    def remove(self, position):
        """Take an event away."""
        self.outsider.execute(
            "DELETE FROM stored_events WHERE notification_id = ?", position
        )

    def add(self, row):
        """Put an event in."""
        marks = ", ".join("?" * len(row))
        self.outsider.execute(
            f"INSERT INTO stored_events ({', '.join(row)}) VALUES ({marks})",
            *row.values(),
        )

    def swap(self, one, other, *columns):
        """Let two events change what they have in some columns."""
        assert "notification_id" not in columns
        free = {"originator_id": str(uuid.uuid4())}
        self.change(one["notification_id"], **free)
        self.change(other["notification_id"], **{it: one[it] for it in columns})
        back = {it: other[it] for it in columns}
        ids = {"originator_id": one["originator_id"]}
        self.change(one["notification_id"], **{**ids, **back})

    def next_of(self, row):
        """Return the event after another one in its stream."""
        place = row["originator_id"], row["originator_version"] + 1
        for it in self.rows:
            if (it["originator_id"], it["originator_version"]) == place:
                return it
        return None


@pytest.fixture
def log(shared, outsider):
    return Log(outsider)


def execution_of(row):
    return row["originator_id"][:36]


def assert_only_about(report, row):
    """Say that all faults are about the execution of an event."""
    assert not report.ok
    assert {it.execution_id for it in report.faults} == {execution_of(row)}


def first_position(report, kinds):
    return min(it.position for it in report.faults if it.kind in kinds)


def with_another_byte(state, chance):
    index = chance.randrange(len(state))
    changed = bytearray(state)
    changed[index] ^= chance.randrange(1, 256)
    return bytes(changed)


def test_a_changed_byte_is_found_where_it_is(shared, log) -> None:
    chance = random.Random(11)
    for row in log.rows:
        position = row["notification_id"]
        log.change(position, state=with_another_byte(row["state"], chance))
        report = shared.verify()
        assert_only_about(report, row)
        assert first_position(report, CHANGED) == position
        log.restore(row)
    assert shared.verify().ok


def test_bytes_that_still_make_an_event_are_found_by_their_hash(shared, log) -> None:
    row = next(it for it in log.rows if it["topic"] == "execution.created")
    changed = row["state"].replace(b'"priority":-5', b'"priority":-6')
    assert changed != row["state"]
    log.change(row["notification_id"], state=changed)
    chain, *others = shared.verify().faults
    assert (chain.kind, chain.position) == (FaultKind.CHAIN, row["notification_id"])
    assert chain.stream_id == row["originator_id"]
    assert {it.kind for it in others} <= {FaultKind.ROW}


def test_an_event_hashed_anew_breaks_the_chain_after_it(shared, log) -> None:
    row = next(it for it in log.rows if it["topic"] == "execution.created")
    content = b"{" + row["state"][77:].replace(b'"priority":-5', b'"priority":-6')
    place = f"{row['originator_id']}\0001\0{row['topic']}\0".encode()
    sha256 = hashlib.sha256(bytes(32) + place + content).hexdigest()
    state = b'{"sha256":"' + sha256.encode() + b'",' + content[1:]
    log.change(row["notification_id"], state=state)
    report = shared.verify()
    assert_only_about(report, row)
    after = log.next_of(row)["notification_id"]
    assert first_position(report, [FaultKind.CHAIN]) == after


def test_a_changed_topic_is_found(shared, log) -> None:
    for row in log.rows[::5]:
        position = row["notification_id"]
        for topic in ("unknown", "execution.cancelled", "attempt.progressed"):
            log.change(position, topic=topic)
            report = shared.verify()
            if topic != row["topic"]:
                assert_only_about(report, row)
                assert first_position(report, [FaultKind.CHAIN]) == position
        log.restore(row)
    assert shared.verify().ok


def test_a_changed_version_is_found(shared, log) -> None:
    for row in log.rows:
        position = row["notification_id"]
        log.change(position, originator_version=9_000)
        report = shared.verify()
        assert_only_about(report, row)
        places = {it.position for it in report.faults if it.kind is FaultKind.VERSION}
        after = log.next_of(row)
        expected = {position} | ({after["notification_id"]} if after else set())
        assert places == expected
        log.restore(row)
    assert shared.verify().ok


def test_a_removed_event_is_found_at_the_next_one_or_by_its_rows(shared, log) -> None:
    for row in log.rows:
        log.remove(row["notification_id"])
        report = shared.verify()
        assert_only_about(report, row)
        after = log.next_of(row)
        missing = [it for it in report.faults if it.kind is FaultKind.VERSION]
        if after is None:
            assert missing == []
            assert {it.kind for it in report.faults} == {FaultKind.ROW}
        else:
            assert [it.position for it in missing] == [after["notification_id"]]
        log.add(row)
    assert shared.verify().ok


def test_an_event_that_moved_in_its_stream_is_found(shared, log) -> None:
    last = log.rows[-1]["notification_id"]
    for row in log.rows:
        after = log.next_of(row)
        if after is None:
            continue
        log.change(row["notification_id"], notification_id=last + 10)
        report = shared.verify()
        assert_only_about(report, row)
        order = [it for it in report.faults if it.kind is FaultKind.ORDER]
        assert order[0].position == after["notification_id"]
        log.change(last + 10, notification_id=row["notification_id"])
    assert shared.verify().ok


def test_an_event_of_a_lease_that_moved_is_found_by_its_row(shared, log) -> None:
    last = log.rows[-1]["notification_id"]
    leases = [it.event_id for it in shared.read.lease_events()]
    for position in leases:
        log.change(position, notification_id=last + 10)
        report = shared.verify()
        moved = [it for it in report.faults if it.table == "lease_event"]
        assert {it.position for it in moved} == {last + 10, None}
        log.change(last + 10, notification_id=position)
    assert shared.verify().ok


def test_an_event_that_moved_is_found_by_its_time(shared, log, clock) -> None:
    """A single frame: no stream and no row tells where it stood."""
    shared.create_execution(lane_id="moved")
    handle = shared.claim("moved", worker_id="w")
    shared.append_frame(handle, leasehold.Frame(b"x"))
    position = shared.read.settled_position()
    clock.advance(1_000)
    shared.complete(handle)
    assert shared.verify().ok
    last = shared.read.settled_position()
    log.change(position, notification_id=last + 10)
    report = shared.verify()
    assert first_position(report, [FaultKind.ORDER]) == last + 10
    assert {it.execution_id for it in report.faults} == {str(handle.execution_id)}


def test_a_moved_event_is_found_by_a_checkpoint(shared, log) -> None:
    line = shared.checkpoint()
    whole = [it for it in log.rows if log.next_of(it) is None]
    row = next(it for it in whole if it["topic"] == "execution.cancelled")
    log.change(row["notification_id"], notification_id=10_000)
    faults = shared.verify(line).faults
    assert faults[0].kind is FaultKind.CHECKPOINT


def test_events_that_changed_places_are_found(shared, log) -> None:
    for columns in (
        ("originator_id", "originator_version"),
        ("originator_id", "originator_version", "topic"),
        ("originator_id", "originator_version", "topic", "state"),
        ("topic", "state"),
        ("state",),
    ):
        for row in log.rows[::3]:
            other = log.next_of(row)
            if other is None:
                continue
            log.swap(row, other, *columns)
            if log.read() != log.rows:
                report = shared.verify()
                assert_only_about(report, row)
                assert not {it.kind for it in report.faults} <= {FaultKind.ROW}
            log.restore(row | {"originator_version": 9_000})
            log.restore(other)
            log.restore(row)
    assert shared.verify().ok


def test_events_of_two_executions_that_changed_places_are_found(shared, log) -> None:
    one, other = [it for it in log.rows if it["topic"] == "execution.created"][:2]
    log.swap(one, other, "topic", "state")
    report = shared.verify()
    found = {it.execution_id for it in report.faults}
    assert found == {execution_of(one), execution_of(other)}
    assert first_position(report, CHANGED) == one["notification_id"]


def test_a_tail_that_was_cut_shows_against_a_checkpoint(shared, log) -> None:
    line = shared.checkpoint()
    last = json.loads(line)["position"]
    for cut in (1, 2, 5, len(log.rows)):
        for row in log.rows[-cut:]:
            log.remove(row["notification_id"])
        fault = shared.verify(line).faults[0]
        assert (fault.kind, fault.position) == (FaultKind.CHECKPOINT, last)
        # The rows tell too, until they are worked out anew.
        assert not shared.verify().ok
        shared.rebuild()
        assert shared.verify().ok
        assert [it.kind for it in shared.verify(line).faults] == [FaultKind.CHECKPOINT]
        for row in log.rows[-cut:]:
            log.add(row)
        shared.rebuild()
    assert shared.verify(line).ok


def hashed(content):
    return b'{"sha256":"' + b"0" * 64 + b'",' + content


GARBAGE = {
    "nothing": b"",
    "no UTF-8": b"\xff\xfe\xfd",
    "no UTF-8 in place of a hash": b'{"sha256":"' + b"\xff" * 64 + b'","a":1}',
    "zeros": bytes(100),
    "text": b"hello",
    "an array": b"[1,2]",
    "a number": b"1e999",
    "an object": b"{}",
    "another object": hashed(b'"a":1}'),
    "no end": hashed(b'"schema_version":1,"execution_id":"'),
    "nesting": b"[" * 200_000,
    "nesting in an event": hashed(b'"schema_version":1,"a":' + b"[" * 200_000),
    "nesting in an object": hashed(b'"schema_version":0,"a":' + b'{"a":' * 100_000),
    "a later schema": hashed(b'"schema_version":99}'),
    "no schema": hashed(b'"schema_version":0}'),
    "an earlier schema": hashed(b'"schema_version":-1}'),
    "a schema that is true": hashed(b'"schema_version":true}'),
    "a schema that is text": hashed(b'"schema_version":"1"}'),
    "a long number": hashed(b'"schema_version":' + b"9" * 10_000 + b"}"),
    "infinity": hashed(b'"schema_version":1e999}'),
    "a surrogate": hashed(b'"schema_version":0,"a":"\\ud800"}'),
    "much": b"x" * 1_000_000,
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_whatever_bytes_there_are_are_told_and_not_raised(garbage, shared, log) -> None:
    line = shared.checkpoint()
    for row in log.rows[:: len(log.rows) // 3]:
        log.change(row["notification_id"], state=GARBAGE[garbage])
        report = shared.verify(line)
        checkpoint, *faults = report.faults
        assert checkpoint.kind is FaultKind.CHECKPOINT
        assert {it.execution_id for it in faults} == {execution_of(row)}
        assert min(it.position for it in faults) == row["notification_id"]
        assert report.events == len(log.rows)
        assert all(len(it.text) < 1_000 for it in report.faults)
        log.restore(row)
    assert shared.verify(line).ok


FIELDS = [
    (b'"occurred_at_ms":1', b'"occurred_at_ms":' + b"9" * 40),
    (b'"occurred_at_ms":1', b'"occurred_at_ms":-1'),
    (b'"payload":"', b'"payload":"###'),
    (b'"payload":"eyJh', b'"payload":"AAAA'),
    (b'"percent":12.5', b'"percent":1e999'),
    (b'"percent":12.5', b'"percent":NaN'),
    (b'"message":"', b'"message":"\\u0000'),
    (b'"attempt_index":0', b'"attempt_index":5'),
    (b'"execution_id":"0', b'"execution_id":"1'),
    (b'"lease_epoch":1', b'"lease_epoch":"1"'),
    (b'"summary_version":', b'"summary_version":9'),
]


@pytest.mark.parametrize(("there", "put"), FIELDS)
def test_fields_that_no_event_has_are_told_and_not_raised(
    there, put, shared, log
) -> None:
    rows = [it for it in log.rows if there in it["state"]]
    assert rows
    for row in rows:
        log.change(row["notification_id"], state=row["state"].replace(there, put))
        report = shared.verify()
        assert_only_about(report, row)
        assert first_position(report, CHANGED) == row["notification_id"]
        log.restore(row)
    assert shared.verify().ok


def test_each_fault_names_what_a_person_needs(shared, log) -> None:
    row = log.rows[3]
    log.change(row["notification_id"], state=b"x")
    for fault in shared.verify().faults:
        assert fault.stream_id == row["originator_id"]
        assert row["originator_id"] in fault.text
        assert f"position {row['notification_id']}" in fault.text


def test_a_good_log_has_a_fault_only_where_a_checkpoint_is_another_one(
    shared, log
) -> None:
    line = json.loads(shared.checkpoint())
    other = json.dumps({**line, "sha256": "0" * 64})
    (fault,) = shared.verify(other).faults
    assert (fault.kind, fault.position) == (FaultKind.CHECKPOINT, line["position"])
    beyond = json.dumps({**line, "position": line["position"] + 1})
    (fault,) = shared.verify(beyond).faults
    assert fault.kind is FaultKind.CHECKPOINT
    parsed = leasehold.Checkpoint.parse(other)
    assert shared.verify(parsed).faults == shared.verify(other).faults
