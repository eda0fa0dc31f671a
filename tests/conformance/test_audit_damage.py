"""The audit of a store that somebody with plain SQL has changed."""

import pytest
from planting import plant_bytes
from watching import LANE, TTL_MS, Watched, take

from leasehold import AuditCheck, Severity
from leasehold.adapters import codec


def test_a_changed_row_is_named_with_the_event_that_set_it(shared, outsider) -> None:
    first = take(shared)
    shared.renew(first.handle)
    watched = Watched(shared)
    outsider.execute(
        "UPDATE attempt SET worker_id = 'forged' WHERE execution_id = ?",
        str(first.handle.execution_id),
    )
    (found,) = watched.found()
    history = shared.read.history(first.handle.execution_id)
    assert found.check is AuditCheck.ROW_DIFFERS
    (started,) = [it for it in history if it.topic == "attempt.started"]
    assert found.position == started.position
    assert found.execution_id == first.handle.execution_id
    assert "worker_id is 'forged', the replay gives 'first'" in found.text
    assert watched.found(rows=False) == []


def test_a_row_that_no_event_made_is_named_without_a_position(shared, outsider) -> None:
    watched = Watched(shared)
    execution_id = "00000000-0000-7000-8000-00000000abcd"
    outsider.execute(
        "INSERT INTO summary SELECT ?, attempt_index, document_json, version,"
        " patch_kind, first_applied_ms, last_updated_ms FROM summary LIMIT 1",
        execution_id,
    )
    (found,) = watched.found()
    assert (found.check, found.position) == (AuditCheck.ROW_DIFFERS, None)
    assert str(found.execution_id) == execution_id


class TestDamage:
    """What is wrong with the log itself, by somebody with plain SQL."""

    @pytest.fixture(autouse=True)
    def _begin(self, shared, outsider, clock):
        self.ledger, self.outsider = shared, outsider
        outsider.lift_the_guard()
        first = take(shared)
        shared.progress(first.handle, 10)
        shared.renew(first.handle)
        shared.progress(first.handle, 20)
        clock.advance(2 * TTL_MS)
        second = take(shared, "second", new=False)
        shared.progress(second.handle, 30)
        shared.complete(second.handle, b"r")
        self.execution_id = second.handle.execution_id
        self.history = shared.read.history(self.execution_id)
        self.watched = Watched(shared)

    def rewrite(self, position, **columns):
        assigned = ", ".join(f"{column} = ?" for column in columns)
        self.outsider.execute(
            f"UPDATE stored_events SET {assigned} WHERE notification_id = ?",
            *columns.values(),
            position,
        )

    def state(self, position):
        (row,) = self.outsider.execute(
            "SELECT state FROM stored_events WHERE notification_id = ?", position
        )
        return row["state"]

    @pytest.fixture(params=[True, False], ids=["rows", "no rows"])
    def rows(self, request):
        return request.param

    def test_a_missing_event_is_named_at_the_next_one_of_its_stream(self, rows):
        for event in self.history:
            following = [
                it.position
                for it in self.history
                if it.stream_id == event.stream_id and it.version == event.version + 1
            ]
            if not following:
                continue
            row = self.outsider.execute(
                "SELECT * FROM stored_events WHERE notification_id = ?", event.position
            )[0]
            self.outsider.execute(
                "DELETE FROM stored_events WHERE notification_id = ?", event.position
            )
            found = self.watched.found_at(rows=rows)
            assert found == [(AuditCheck.VERSION_MISSING, following[0])], event
            marks = ", ".join("?" * len(row))
            self.outsider.execute(
                f"INSERT INTO stored_events ({', '.join(row)}) VALUES ({marks})",
                *row.values(),
            )
        assert self.watched.found() == []

    def test_a_changed_version_is_named_once(self, rows):
        event = self.history[3]
        self.rewrite(event.position, originator_version=900)
        checks = [it.check for it in self.watched.found(rows=rows)]
        assert checks == [AuditCheck.VERSION_MISSING]

    def test_a_changed_byte_breaks_the_chain_where_it_is(self, rows):
        for event in self.history:
            state = self.state(event.position)
            changed = bytearray(state)
            changed[len(state) // 2] ^= 1
            self.rewrite(event.position, state=bytes(changed))
            found = self.watched.found_at(rows=rows)
            assert found == [(AuditCheck.BROKEN_CHAIN, event.position)], event
            self.rewrite(event.position, state=state)
        assert self.watched.found() == []

    def test_a_promise_that_was_rewritten_breaks_the_chain_and_no_more(self, rows):
        started = next(it for it in self.history if it.topic == "attempt.started")
        state = self.state(started.position)
        expiry = str(started.event.lease_expires_at_ms).encode()
        shorter = str(started.event.occurred_at_ms).encode()
        self.rewrite(started.position, state=state.replace(expiry, shorter))
        found = self.watched.found_at(rows=rows)
        assert found == [(AuditCheck.BROKEN_CHAIN, started.position)]

    def test_bytes_that_are_no_event_are_named_once(self, rows):
        event = self.history[1]
        for state in (b"", b"{}", b"\x00" * 200, b'{"sha256":"' + b"0" * 300):
            self.rewrite(event.position, state=state)
            found = self.watched.found_at(rows=rows)
            assert found == [(AuditCheck.BROKEN_CHAIN, event.position)], state

    @pytest.mark.parametrize(
        ("topic", "content"),
        [
            ("attempt.progressed", b'{"schema_version":1,"no":1}'),
            ("attempt.progressed", b'{"schema_version":99}'),
            ("attempt.progressed", b"{nonsense"),
            ("attempt.unheard_of", b'{"schema_version":1}'),
        ],
    )
    def test_an_event_that_cannot_be_read_is_named(self, topic, content, rows):
        stream_id = f"{self.execution_id}/1"
        position = plant_bytes(self.ledger, self.outsider, stream_id, topic, content)
        found = self.watched.found_at(rows=rows)
        assert found == [(AuditCheck.UNREADABLE_EVENT, position)]

    def test_an_event_whose_rows_cannot_be_worked_out_is_named_with_the_rows(self):
        handle = take(self.ledger, "third")
        summary = handle.framed(0, mode="summary", summary_version=1)
        state, _ = codec.encode(summary, "", 1, codec.FIRST_HASH)
        stream_id = f"{handle.handle.execution_id}/0/frames"
        topic, content = "frame.appended", b"{" + state[77:]
        assert self.watched.found() == []
        position = plant_bytes(self.ledger, self.outsider, stream_id, topic, content)
        errors = [
            (it.check, it.position)
            for it in self.watched.found()
            if it.severity is Severity.ERROR
        ]
        assert errors == [(AuditCheck.UNREADABLE_EVENT, position)]

    def test_an_event_of_another_stream_is_named(self, rows):
        event = self.history[1]
        content = b"{" + self.state(event.position)[77:]
        other = self.ledger.create_execution(lane_id=LANE)
        stream_id = str(other)
        position = plant_bytes(
            self.ledger, self.outsider, stream_id, event.topic, content
        )
        found = self.watched.found_at(rows=rows)
        assert found == [(AuditCheck.UNREADABLE_EVENT, position)]

    def test_an_event_that_moved_behind_the_next_one_is_named(self, rows):
        event = self.history[3]
        self.rewrite(event.position, notification_id=100_000)
        checks = [it.check for it in self.watched.found(rows=rows)]
        assert checks == [AuditCheck.UNREADABLE_EVENT]

    def test_an_id_that_is_none_is_reported_without_one(self, rows):
        event = self.history[0]
        self.rewrite(event.position, originator_id="no such id")
        found = self.watched.found(rows=rows)
        nameless = [it for it in found if it.execution_id is None]
        assert {it.position for it in nameless} == {event.position}

    def test_damage_is_told_of_whatever_the_time_asked_for(self, clock):
        event = self.history[1]
        self.rewrite(event.position, state=self.state(event.position) + b" ")
        found = self.watched.found_at(since_ms=clock() + 1)
        assert found == [(AuditCheck.BROKEN_CHAIN, event.position)]
