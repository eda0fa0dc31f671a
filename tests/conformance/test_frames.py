"""Frames: durable ones, their ids, and what every mode has in common."""

import pytest

import leasehold


def position_of(stream_id):
    ts_ms, seq = stream_id.split("-")
    return int(ts_ms), int(seq)


@pytest.fixture
def frame_rows(sql):
    def read(execution_id, attempt_index=0):
        return sql(
            "SELECT * FROM stream_frame WHERE execution_id = ? AND attempt_index = ?"
            " ORDER BY ts_ms, seq",
            execution_id,
            attempt_index,
        )

    return read


def test_a_durable_frame_is_stored_as_given(ledger, clock, start, frame_rows) -> None:
    handle = start()
    frame = leasehold.Frame(
        b"\x00line\xff",
        kind=leasehold.FrameKind.STDERR,
        frame_type="log.warning",
        correlation_id="request-7",
    )

    outcome = ledger.append_frame(handle, frame)

    (row,) = frame_rows(handle.execution_id)
    assert row["payload"] == b"\x00line\xff"
    assert row["frame_type"] == "log.warning"
    assert row["correlation_id"] == "request-7"
    assert row["mode"] == "durable"
    assert row["summary_version"] is None
    assert row["ts_ms"] == clock()
    assert position_of(outcome.stream_id) == (row["ts_ms"], row["seq"])


@pytest.mark.parametrize("kind", ["STDOUT", "STDERR", "EVENT", "BLOB"])
def test_without_a_type_the_kind_is_the_type_in_lower_case(
    kind, ledger, start, frame_rows
) -> None:
    handle = start()
    ledger.append_frame(
        handle, leasehold.Frame(b"x", kind=getattr(leasehold.FrameKind, kind))
    )
    assert frame_rows(handle.execution_id)[0]["frame_type"] == kind.lower()


def test_a_frame_is_durable_standard_output_unless_said(
    ledger, start, frame_rows
) -> None:
    handle = start()
    ledger.append_frame(handle, leasehold.Frame(b"x"))
    (row,) = frame_rows(handle.execution_id)
    assert (row["frame_type"], row["mode"]) == ("stdout", "durable")
    assert row["correlation_id"] is None


def frame_of(number):
    modes = [leasehold.Durable(), leasehold.Summary(), leasehold.BestEffort()]
    return leasehold.Frame(b'{"n":%d}' % number, mode=modes[number % 3])


def test_stream_ids_grow_while_the_clock_stands_still(ledger, start) -> None:
    handle = start()
    ids = [
        position_of(ledger.append_frame(handle, frame_of(n)).stream_id)
        for n in range(12)
    ]
    assert ids == sorted(set(ids))


def test_stream_ids_grow_when_the_clock_steps_back(ledger, clock, start) -> None:
    handle = start()
    ids = []
    for n, step in enumerate([0, 10, -500, 0, 100, -1, 1_000, -3, 0]):
        clock.advance(step)
        ids.append(position_of(ledger.append_frame(handle, frame_of(n)).stream_id))
    assert ids == sorted(set(ids))


def test_stream_ids_grow_over_a_resume_of_the_attempt(ledger, clock, start) -> None:
    handle = start(ttl=1_000)
    first = ledger.append_frame(handle, leasehold.Frame(b"1"))
    clock.advance(1_000)
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w2")
    resumed = ledger.claim_from_resume_grant(grant, worker_id="w2")
    clock.advance(-5_000)
    second = ledger.append_frame(resumed, leasehold.Frame(b"2"))
    assert position_of(second.stream_id) > position_of(first.stream_id)
    assert second.frame_count == 2


def test_the_count_is_the_frames_of_the_attempt_in_all_modes(ledger, start) -> None:
    handle = start()
    counts = [ledger.append_frame(handle, frame_of(n)).frame_count for n in range(6)]
    assert counts == [1, 2, 3, 4, 5, 6]


def test_each_attempt_counts_its_own_frames(ledger, clock, start, frame_rows) -> None:
    handle = start(ttl=1_000)
    for _ in range(3):
        ledger.append_frame(handle, leasehold.Frame(b"old"))
    clock.advance(1_000)
    new = ledger.claim(worker_id="w2")
    assert ledger.append_frame(new, leasehold.Frame(b"new")).frame_count == 1
    assert len(frame_rows(handle.execution_id, 0)) == 3
    assert len(frame_rows(handle.execution_id, 1)) == 1


def test_the_same_frame_twice_is_two_frames(ledger, start, frame_rows) -> None:
    handle = start()
    for _ in range(2):
        ledger.append_frame(handle, leasehold.Frame(b"again"))
    assert len(frame_rows(handle.execution_id)) == 2


def test_a_durable_frame_is_one_event_in_the_stream_of_frames(
    ledger, start, event_count
) -> None:
    handle = start()
    before = event_count()
    ledger.append_frame(handle, leasehold.Frame(b"x"))
    ledger.append_frame(handle, leasehold.Frame(b"{}", mode=leasehold.Summary()))
    assert event_count() == before + 2
    last_two = ledger.read.history(handle.execution_id)[-2:]
    for version, recorded in enumerate(last_two, 1):
        assert recorded.topic == "frame.appended"
        assert recorded.stream_id == f"{handle.execution_id}/0/frames"
        assert recorded.version == version


def test_a_frame_makes_no_lease_event_and_no_change_to_the_execution(
    ledger, start, core, attempt_row, lease_story
) -> None:
    handle = start()
    tables = (core, attempt_row, lease_story)
    before = [read(handle.execution_id) for read in tables]
    ledger.append_frame(handle, leasehold.Frame(b"x"))
    assert [read(handle.execution_id) for read in tables] == before


@pytest.mark.parametrize("mode", ["text", None, 3])
def test_a_mode_that_is_none_is_refused(mode, ledger, start, snapshot) -> None:
    handle = start()
    before = snapshot()
    with pytest.raises(leasehold.InvalidInputError, match="mode"):
        ledger.append_frame(handle, leasehold.Frame(b"{}", mode=mode))
    assert snapshot() == before


def test_a_kind_that_is_none_is_refused(ledger, start) -> None:
    handle = start()
    with pytest.raises(leasehold.InvalidInputError, match="kind"):
        ledger.append_frame(handle, leasehold.Frame(b"{}", kind="video"))
