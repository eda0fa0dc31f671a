"""The log: a chain of hashes per stream that anybody can follow, and no changes."""

import hashlib
import json

import pytest

import leasehold

TRANSIENT = leasehold.FailureClass.TRANSIENT


@pytest.fixture
def busy(ledger, clock, start):
    """Let much happen to several executions."""
    for number in range(3):
        lane = f"lane-{number}"
        handle = start(
            lane_id=lane, ttl=1_000, payload=b"\x00\xff" * number, tags={"a": "ö"}
        )
        for _ in range(4):
            ledger.renew(handle)
            ledger.append_frame(handle, leasehold.Frame(b"f"))
        clock.advance(1_100)
        with pytest.raises(leasehold.LeaseExpiredError):
            ledger.progress(handle, 1)
        taken = ledger.claim(lane, worker_id="w2")
        clock.advance(-10)
        ledger.fail(taken, leasehold.FailureReason("é", "…"), TRANSIENT)
    return ledger


def test_every_event_carries_the_hash_of_the_chain_so_far(busy, sql) -> None:
    events = sql(
        "SELECT * FROM stored_events ORDER BY originator_id, originator_version"
    )
    previous, stream = bytes(32), None
    assert len(events) > 40
    for event in events:
        if event["originator_id"] != stream:
            previous, stream = bytes(32), event["originator_id"]
        state = event["state"]
        head = f"{stream}\0{event['originator_version']}\0{event['topic']}\0"
        content = b"{" + state[77:]
        digest = hashlib.sha256(previous + head.encode() + content).digest()
        assert json.loads(state)["sha256"] == digest.hex()
        assert json.loads(content) == {
            key: value for key, value in json.loads(state).items() if key != "sha256"
        }
        previous = digest


def test_positions_grow_and_versions_have_no_gap(busy, sql) -> None:
    events = sql("SELECT * FROM stored_events ORDER BY notification_id")
    positions = [event["notification_id"] for event in events]
    assert len(set(positions)) == len(events) > 40
    last = {}
    for event in events:
        stream, version = event["originator_id"], event["originator_version"]
        assert version == last.get(stream, 0) + 1
        last[stream] = version


FIRST = "(SELECT min(notification_id) FROM stored_events)"
LAST = "(SELECT max(notification_id) FROM stored_events)"
CHANGES = {
    "update": f"UPDATE stored_events SET topic = 'x' WHERE notification_id = {FIRST}",
    "update of the state": "UPDATE stored_events SET state = ''",
    "update of nothing new": "UPDATE stored_events SET topic = topic",
    "update of positions": (
        "UPDATE stored_events SET notification_id = -notification_id"
    ),
    "delete": f"DELETE FROM stored_events WHERE notification_id = {FIRST}",
    "delete of the last": f"DELETE FROM stored_events WHERE notification_id = {LAST}",
    "delete of all": "DELETE FROM stored_events",
    "another at the same position": (
        "INSERT INTO stored_events"
        " (notification_id, originator_id, originator_version, topic, state)"
        " SELECT notification_id, 'x', 1, 'x', state FROM stored_events LIMIT 1"
    ),
    "another of the same version": (
        "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
        " SELECT originator_id, originator_version, 'x', state"
        " FROM stored_events LIMIT 1"
    ),
    "upsert on the position": (
        "INSERT INTO stored_events"
        " (notification_id, originator_id, originator_version, topic, state)"
        " SELECT notification_id, 'x', 1, 'x', state"
        " FROM stored_events WHERE true LIMIT 1"
        " ON CONFLICT (notification_id) DO UPDATE SET topic = 'x'"
    ),
    "update from a query": (
        "UPDATE stored_events SET topic = one.topic FROM (SELECT 'x' AS topic) AS one"
    ),
    "delete with what was deleted": "DELETE FROM stored_events RETURNING topic",
    "upsert": (
        "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
        " SELECT originator_id, originator_version, 'x', state"
        " FROM stored_events WHERE true LIMIT 1"
        " ON CONFLICT (originator_id, originator_version) DO UPDATE SET topic = 'x'"
    ),
}


@pytest.fixture
def worked(shared_url, clock):
    """Leave a few events in a store that outsiders can reach."""
    with leasehold.open(shared_url, clock=clock) as ledger:
        for _ in range(3):
            ledger.create_execution()
            ledger.complete(ledger.claim(worker_id="w"))


def test_a_stored_event_cannot_be_changed(worked, outsider) -> None:
    whole = "SELECT * FROM stored_events ORDER BY notification_id"
    before = outsider.execute(whole)
    assert len(before) == 15
    for name, change in (CHANGES | outsider.OTHER_CHANGES).items():
        with pytest.raises(outsider.REFUSALS):
            print(name, outsider.execute(change))
        assert outsider.execute(whole) == before, name


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE exec_core SET public_state = 'nonsense'",
        "UPDATE exec_core SET lifecycle_phase = 'nonsense'",
        "UPDATE exec_core SET ownership_state = 'nonsense'",
        "UPDATE exec_core SET eligibility_state = 'nonsense'",
        "UPDATE exec_core SET attempt_state = 'nonsense'",
        "UPDATE attempt SET outcome = 'nonsense'",
        "UPDATE lease_event SET event_type = 'nonsense'",
        "UPDATE lease_event SET cause = 'nonsense'",
    ],
)
def test_checks_guard_the_literals(statement, worked, outsider) -> None:
    with pytest.raises(outsider.VIOLATIONS):
        outsider.execute(statement)


def test_a_plain_reader_finds_every_column_of_the_contract(worked, outsider) -> None:
    for table, columns in {
        "exec_core": """execution_id namespace lane_id attempt_index lifecycle_phase
            ownership_state eligibility_state public_state attempt_state priority
            created_at_ms started_at_ms eligible_at_ms deadline_at_ms terminal_at_ms
            lease_reclaim_count payload result tags raw_fields""",
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
    }.items():
        outsider.execute(f"SELECT {', '.join(columns.split())} FROM {table}")
