"""Pages: every row once, whatever the size of the page."""

import pytest

import leasehold


def pages(read, cursor_of, limit, start=None):
    """Read page after page to the end."""
    rows, after = [], start
    while True:
        page = read(after=after, limit=limit)
        assert len(page) <= limit
        if not page:
            return rows
        rows.extend(page)
        after = cursor_of(page[-1])


every_size = pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])


@every_size
def test_executions(limit, ledger, clock) -> None:
    ids = []
    for number in range(7):
        ids.append(ledger.create_execution(lane_id="one", priority=number % 3))
        ledger.create_execution(lane_id="two")
        clock.advance(number % 2)

    def read(after, limit):
        return ledger.read.executions(lane_id="one", after=after, limit=limit)

    rows = pages(read, lambda row: row.execution_id, limit)
    found = [row.execution_id for row in rows]
    assert len(found) == 7
    assert set(found) == set(ids)
    assert rows == ledger.read.executions(lane_id="one")


@every_size
def test_lease_events(limit, ledger, clock, start) -> None:
    handle = start(worker="w")
    start(worker="other")
    for _ in range(6):
        clock.advance(1)
        ledger.renew(handle)

    def read(after, limit):
        return ledger.read.lease_events(worker_id="w", after=after, limit=limit)

    rows = pages(read, lambda row: row.event_id, limit)
    assert [row.event_type for row in rows] == ["acquired"] + ["renewed"] * 6
    assert rows == ledger.read.lease_events(execution_id=handle.execution_id)


@every_size
def test_frames(limit, ledger, clock, start) -> None:
    handle = start()
    for number in range(7):
        ledger.append_frame(handle, leasehold.Frame(b"%d" % number))
        clock.advance(number % 2)

    def read(after, limit):
        return ledger.read.frames(handle.execution_id, 0, after=after, limit=limit)

    rows = pages(read, lambda row: row.stream_id, limit)
    assert [row.payload for row in rows] == [b"%d" % n for n in range(7)]


def test_the_cursor_of_a_frame_is_what_append_gave(ledger, start) -> None:
    handle = start()
    ids = [
        ledger.append_frame(handle, leasehold.Frame(b"x")).stream_id for _ in range(3)
    ]
    rows = ledger.read.frames(handle.execution_id, 0, after=ids[0])
    assert [row.stream_id for row in rows] == ids[1:]


@every_size
def test_history(limit, ledger, start) -> None:
    handle = start()
    start()
    for _ in range(4):
        ledger.renew(handle)
        ledger.append_frame(handle, leasehold.Frame(b"x"))
    one = handle.execution_id

    def read(after, limit):
        return ledger.read.history(one, after=after, limit=limit)

    rows = pages(read, lambda row: row.position, limit, start=0)
    assert rows == ledger.read.history(one)
    assert [row.topic for row in rows] == [
        "execution.created",
        "execution.claimed",
        "attempt.started",
        *["attempt.lease_renewed", "frame.appended"] * 4,
    ]


@every_size
def test_events(limit, ledger, start, event_count) -> None:
    for _ in range(3):
        ledger.complete(start())

    def read(after, limit):
        return ledger.read.events(after=after, limit=limit)

    rows = pages(read, lambda row: row.position, limit, start=0)
    positions = [row.position for row in rows]
    assert positions == sorted(set(positions))
    assert len(rows) == event_count() == 15


def test_events_of_some_topics(ledger, start) -> None:
    for _ in range(3):
        ledger.complete(start())
    wanted = ("execution.completed", "execution.created")
    rows = ledger.read.events(topics=wanted)
    assert [row.topic for row in rows] == [
        "execution.created",
        "execution.completed",
    ] * 3
    assert ledger.read.events(topics=wanted, limit=2) == rows[:2]
    after = rows[1].position
    assert ledger.read.events(topics=wanted, after=after) == rows[2:]


def test_a_history_holds_all_streams_of_its_execution_and_no_other(
    ledger, start, mismatched
) -> None:
    handle, other = start(), start()
    ledger.renew(other)
    ledger.append_frame(handle, leasehold.Frame(b"x"))
    with pytest.raises(leasehold.LeaseConflictError):
        ledger.renew(mismatched(handle))
    one = str(handle.execution_id)
    assert {event.stream_id for event in ledger.read.history(handle.execution_id)} == {
        one,
        f"{one}/0",
        f"{one}/0/frames",
        f"{one}/refusals",
    }
