"""What each event carries, in streams without gaps."""

import itertools
import json

import pytest

import leasehold

TRANSIENT = leasehold.FailureClass.TRANSIENT
PERMANENT = leasehold.FailureClass.PERMANENT
BY = {"actor": "ann", "reason": "because"}


@pytest.fixture
def eventful(ledger, clock, start):
    """Give the id of an execution to which everything has happened."""
    handle = start(actor="maker", ttl=1_000)
    one = handle.execution_id
    ledger.renew(handle)
    ledger.progress(handle, 5, "five")
    ledger.append_frame(handle, leasehold.Frame(b"x"))
    ledger.append_frame(handle, leasehold.Frame(b"{}", mode=leasehold.Summary()))
    clock.advance(2_000)
    with pytest.raises(leasehold.LeaseExpiredError):
        ledger.renew(handle)
    taken = ledger.claim(worker_id="w2")
    ledger.revoke_lease(one, **BY)
    grant = ledger.issue_resume_grant(one, worker_id="w3", actor="ann")
    resumed = ledger.claim_from_resume_grant(grant, worker_id="w3")
    assert taken.attempt_index == resumed.attempt_index
    ledger.fail(resumed, "flaky", TRANSIENT)
    ledger.change_priority(one, 3, actor="ann")
    clock.advance(1_000)
    ledger.fail(ledger.claim(worker_id="w4"), "broken", PERMANENT)
    ledger.replay_execution(one, **BY)
    ledger.complete(ledger.claim(worker_id="w5"), b"done")
    ledger.replay_execution(one, **BY)
    ledger.claim(worker_id="w6")
    ledger.cancel_execution(one, **BY)
    return one


def test_versions_of_each_stream_are_contiguous_from_1(ledger, eventful) -> None:
    history = ledger.read.history(eventful)
    positions = [event.position for event in history]
    assert positions == sorted(set(positions))
    by_stream = sorted(history, key=lambda event: event.stream_id)
    for _, events in itertools.groupby(by_stream, key=lambda event: event.stream_id):
        versions = [event.version for event in events]
        assert versions == list(range(1, len(versions) + 1))


WORKER_TOPICS = {
    "attempt.started",
    "attempt.lease_renewed",
    "attempt.progressed",
    "frame.appended",
    "attempt.lease_reclaimed",
    "attempt.succeeded",
    "attempt.failed",
    "execution.claimed",
    "execution.completed",
    "execution.retry_scheduled",
    "execution.failed",
    "refusal.recorded",
}
OPERATOR_TOPICS = {
    "execution.created",
    "execution.resume_grant_issued",
    "execution.reprioritised",
    "execution.replayed",
    "attempt.lease_revoked",
    "attempt.cancelled",
    "execution.cancelled",
}


def test_what_a_worker_caused_carries_its_lease(ledger, eventful) -> None:
    seen = set()
    for recorded_event in ledger.read.history(eventful):
        if recorded_event.topic in WORKER_TOPICS:
            seen.add(recorded_event.topic)
            assert recorded_event.event.lease_id.version == 4
            assert recorded_event.event.lease_epoch >= 1
    assert seen == WORKER_TOPICS


def test_what_a_person_caused_carries_the_actor(ledger, eventful) -> None:
    actors = {
        recorded_event.topic: recorded_event.event.actor
        for recorded_event in ledger.read.history(eventful)
        if recorded_event.topic in OPERATOR_TOPICS
    }
    assert actors == dict.fromkeys(OPERATOR_TOPICS, "ann") | {
        "execution.created": "maker"
    }


def test_no_event_makes_two_lease_events(eventful, lease_rows, sql) -> None:
    rows = lease_rows(eventful)
    positions = [row["event_id"] for row in rows]
    assert len(positions) == len(set(positions))
    log = {row["notification_id"] for row in sql("SELECT * FROM stored_events")}
    assert set(positions) <= log


def test_every_stored_event_has_a_schema_version(eventful, sql) -> None:
    states = [
        json.loads(row["state"]) for row in sql("SELECT state FROM stored_events")
    ]
    assert states
    for state in states:
        assert state["schema_version"] >= 1


def test_events_are_frozen(ledger, eventful) -> None:
    recorded_event = ledger.read.history(eventful)[0]
    with pytest.raises(Exception, match="frozen"):
        recorded_event.event.occurred_at_ms = 1
