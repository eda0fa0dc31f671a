"""The query side: typed rows, filters, and nothing where nothing is."""

import json
import threading
import uuid

import pytest

import leasehold

TRANSIENT = leasehold.FailureClass.TRANSIENT

COLUMNS = {
    "exec_core": """execution_id namespace lane_id attempt_index lifecycle_phase
        ownership_state eligibility_state public_state attempt_state priority
        created_at_ms started_at_ms eligible_at_ms deadline_at_ms terminal_at_ms
        lease_reclaim_count payload result""",
    "attempt": """execution_id attempt_index worker_id worker_instance_id lease_id
        lease_epoch lease_expires_at_ms started_at_ms terminal_at_ms outcome
        failure_class failure_message failure_detail""",
    "summary": """execution_id attempt_index document_json version patch_kind
        first_applied_ms last_updated_ms""",
    "lease_event": """event_id execution_id attempt_index lease_id lease_epoch
        event_type cause worker_id worker_instance_id actor expires_at_ms
        occurred_at_ms operation late_ms refused_count""",
    "stream_frame": """execution_id attempt_index ts_ms seq frame_type payload
        correlation_id mode summary_version""",
}


def as_sql(value):
    return str(value) if isinstance(value, uuid.UUID | str) else value


@pytest.fixture
def lived(ledger, clock, start):
    """Give the handle of an execution with a row in every table."""
    handle = start(tags={"a": "b"}, ttl=1_000, worker="w")
    ledger.progress(handle, 10, "ten")
    ledger.append_frame(handle, leasehold.Frame(b'{"x":1}', mode=leasehold.Summary()))
    ledger.append_frame(handle, leasehold.Frame(b"x", correlation_id="c"))
    clock.advance(10)
    ledger.renew(handle)
    ledger.fail(handle, leasehold.FailureReason("flaky", "why"), TRANSIENT)
    return handle


def test_typed_rows_have_the_columns_of_the_tables(ledger, lived, sql) -> None:
    one = lived.execution_id
    reads = {
        "exec_core": [ledger.read.execution(one)],
        "attempt": ledger.read.attempts(one),
        "summary": [ledger.read.summary(one, 0)],
        "lease_event": ledger.read.lease_events(execution_id=one),
        "stream_frame": ledger.read.frames(one, 0),
    }
    order = {"lease_event": "event_id", "stream_frame": "ts_ms, seq"}
    for table, rows in reads.items():
        stored = sql(f"SELECT * FROM {table} ORDER BY {order.get(table, 1)}")
        assert len(rows) == len(stored) > 0
        for row, plain in zip(rows, stored, strict=True):
            for column in COLUMNS[table].split():
                assert as_sql(getattr(row, column)) == plain[column], (table, column)
            assert isinstance(row.execution_id, uuid.UUID)


def test_json_columns_come_parsed(ledger, lived) -> None:
    row = ledger.read.execution(lived.execution_id)
    assert row.tags == {"a": "b"}
    assert row.raw_fields == {
        "last_failure_message": "flaky",
        "progress_message": "ten",
        "progress_pct": 10,
    }
    summary = ledger.read.summary(lived.execution_id, 0)
    assert json.loads(summary.document_json) == {"x": 1}


def test_enumerations_and_ids_come_typed(ledger, lived) -> None:
    attempt = ledger.read.attempt(lived.execution_id, 0)
    assert attempt.outcome is leasehold.Outcome.RETRY
    assert attempt.failure_class is TRANSIENT
    assert attempt.lease_id == lived.lease_id
    first = ledger.read.lease_events(execution_id=lived.execution_id)[0]
    assert first.event_type is leasehold.LeaseEventType.ACQUIRED
    assert first.cause is leasehold.LeaseCause.CLAIM
    assert first.lease_id == lived.lease_id
    modes = {frame.mode for frame in ledger.read.frames(lived.execution_id, 0)}
    assert modes == {leasehold.FrameMode.SUMMARY, leasehold.FrameMode.DURABLE}


@pytest.mark.parametrize("known", [False, True])
def test_a_missing_row_is_none_and_a_list_is_empty(known, ledger) -> None:
    one = ledger.create_execution() if known else uuid.uuid4()
    assert (ledger.read.execution(one) is not None) is known
    assert ledger.read.attempt(one, 0) is None
    assert ledger.read.summary(one, 0) is None
    assert ledger.read.attempts(one) == []
    assert ledger.read.frames(one, 0) == []
    assert ledger.read.lease_events(execution_id=one) == []
    assert len(ledger.read.history(one)) == int(known)


def test_an_empty_ledger_reads_empty(ledger) -> None:
    assert ledger.read.executions() == []
    assert ledger.read.lease_events() == []
    assert ledger.read.expired_leases() == []
    assert ledger.read.lanes() == []
    assert ledger.read.events() == []
    assert set(ledger.read.counts().values()) == {0}


def test_attempts_come_in_order(ledger, clock, start) -> None:
    handle = start(ttl=10)
    for _ in range(3):
        clock.advance(10)
        assert ledger.claim(worker_id="w", lease_ttl_ms=10) is not None
    rows = ledger.read.attempts(handle.execution_id)
    assert [row.attempt_index for row in rows] == [0, 1, 2, 3]
    assert ledger.read.attempt(handle.execution_id, 2) == rows[2]


def test_executions_are_filtered_by_what_is_given(ledger, start) -> None:
    for lane in ("one", "two"):
        for namespace in ("a", "b"):
            ledger.create_execution(lane_id=lane, namespace=namespace, priority=-1)
            start(lane_id=lane, namespace=namespace)

    def count(**filters):
        return len(ledger.read.executions(**filters))

    assert count() == 8
    assert count(lane_id="one") == 4
    assert count(namespace="b") == 4
    assert count(public_state="running") == 4
    assert count(public_state=leasehold.PublicState.PENDING) == 4
    assert count(lane_id="one", namespace="a", public_state="running") == 1
    assert count(lane_id="three") == 0
    assert count(public_state="failed") == 0
    for row in ledger.read.executions(lane_id="two", public_state="pending"):
        assert (row.lane_id, row.public_state) == ("two", "pending")


def test_a_state_that_there_is_not_is_refused(ledger) -> None:
    with pytest.raises(leasehold.InvalidInputError, match="public_state"):
        ledger.read.executions(public_state="nonsense")


def test_lease_events_are_filtered_by_worker(ledger, start) -> None:
    first, second = start(worker="one"), start(worker="two")
    ledger.renew(second)
    rows = ledger.read.lease_events(worker_id="two")
    assert [row.event_type for row in rows] == ["acquired", "renewed"]
    assert {row.execution_id for row in rows} == {second.execution_id}
    both = ledger.read.lease_events(worker_id="one", execution_id=second.execution_id)
    assert both == []
    assert ledger.read.lease_events(execution_id=first.execution_id)


def test_lanes_and_counts(ledger, clock, start) -> None:
    start(lane_id="b")
    ledger.complete(start(lane_id="a"))
    ledger.create_execution(lane_id="c", delay_until_ms=clock() + 10)
    ledger.create_execution(lane_id="c")
    assert list(ledger.read.lanes()) == ["a", "b", "c"]
    counts = ledger.read.counts()
    assert set(counts) == set(leasehold.PublicState)
    assert {state: n for state, n in counts.items() if n} == {
        "running": 1,
        "completed": 1,
        "delayed": 1,
        "pending": 1,
    }


def test_expired_leases_are_those_taken_by_nobody(ledger, clock, start) -> None:
    first, second, ended, taken, live = (
        start(ttl=ttl, worker=f"w{ttl}") for ttl in (200, 100, 150, 50, 1_000)
    )
    clock.advance(50)
    reclaimed = ledger.claim(worker_id="w", lease_ttl_ms=1_000)
    assert reclaimed.execution_id == taken.execution_id
    ledger.complete(ended)
    assert ledger.read.expired_leases() == []
    clock.advance(150)
    rows = ledger.read.expired_leases()  # Run out, and not recorded.
    expected = [second.execution_id, first.execution_id]
    assert [row.execution_id for row in rows] == expected
    ledger.sweep()
    rows = ledger.read.expired_leases()  # Run out, and recorded.
    assert {row.execution_id for row in rows} == set(expected)
    for row, handle in zip(rows, (second, first), strict=True):
        assert row.lease_id == handle.lease_id
        assert row.lease_epoch == 1
        assert row.worker_id in {"w100", "w200"}
    assert len(ledger.read.expired_leases(limit=1)) == 1
    ledger.renew(live)


def test_a_tail_gives_what_is_there_at_once(ledger, lived) -> None:
    frames = ledger.read.frames(lived.execution_id, 0)
    tail = ledger.read.tail_frames(lived.execution_id, 0, None, 0)
    assert tail == frames
    after = frames[0].stream_id
    assert ledger.read.tail_frames(lived.execution_id, 0, after, 5_000) == frames[1:]


def test_a_tail_with_nothing_new_comes_back_empty(ledger, lived) -> None:
    last = ledger.read.frames(lived.execution_id, 0)[-1].stream_id
    assert ledger.read.tail_frames(lived.execution_id, 0, last, 0) == []
    assert ledger.read.tail_frames(lived.execution_id, 0, last, 30) == []


def test_a_tail_waits_for_the_next_frame(ledger, start) -> None:
    handle = start()
    last = ledger.append_frame(handle, leasehold.Frame(b"old")).stream_id
    got, waiting = [], threading.Event()

    def tail():
        waiting.set()
        got.extend(ledger.read.tail_frames(handle.execution_id, 0, last, 20_000))

    thread = threading.Thread(target=tail)
    thread.start()
    waiting.wait()
    ledger.append_frame(handle, leasehold.Frame(b"new"))
    thread.join(20)
    assert [frame.payload for frame in got] == [b"new"]


def test_reads_write_nothing(ledger, clock, start, snapshot) -> None:
    handle = start(ttl=10)
    clock.advance(100)
    before = snapshot()
    one = handle.execution_id
    for _ in range(2):
        ledger.read.execution(one)
        ledger.read.executions()
        ledger.read.attempts(one)
        ledger.read.lease_events()
        ledger.read.tenures()
        ledger.read.frames(one, 0)
        ledger.read.expired_leases()
        ledger.read.lanes()
        ledger.read.counts()
        ledger.read.history(one)
        ledger.read.events()
    assert snapshot() == before


QUESTIONS = {
    "an id as text": lambda read: read.execution("text"),
    "an id as a number": lambda read: read.attempts(7),
    "an index as text": lambda read: read.attempt(uuid.uuid4(), "0"),
    "a position as text": lambda read: read.lease_events(after="x"),
    "no frame id": lambda read: read.frames(uuid.uuid4(), 0, after="nonsense"),
    "no time to wait": lambda read: read.tail_frames(uuid.uuid4(), 0, None, -1),
    "no execution id": lambda read: read.executions(after="nonsense"),
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_a_question_without_sense_is_refused(case, ledger) -> None:
    with pytest.raises(leasehold.InvalidInputError):
        QUESTIONS[case](ledger.read)
