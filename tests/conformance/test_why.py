"""Which event gave a column its value: `why`."""

import uuid
from dataclasses import fields

import pytest

import leasehold

ABSENT = object()
CORE = [it.name for it in fields(leasehold.ExecutionRow)]
ATTEMPT = [it.name for it in fields(leasehold.AttemptRow)]
SUMMARY = [it.name for it in fields(leasehold.SummaryRow)]


def states(ledger, execution_id):
    """Give each event of an execution with the rows after it."""
    for event in ledger.read.history(execution_id):
        with ledger.as_of(event.position) as read:
            attempts = read.attempts(execution_id)
            yield (
                event,
                read.execution(execution_id),
                attempts,
                [read.summary(execution_id, it.attempt_index) for it in attempts],
            )


def expected(values):
    """Return the event of the last value that differs from the one before."""
    found, before = None, ABSENT
    for event, value in values:
        if value is not ABSENT and (before is ABSENT or value != before):
            found = event
        before = value
    return found


def test_it_is_the_last_event_after_which_the_column_has_another_value(told) -> None:
    for execution in told.read.executions():
        execution_id = execution.execution_id
        known = [*states(told, execution_id)]
        for column in CORE:
            values = [(event, getattr(row, column)) for event, row, _, _ in known]
            assert told.why(execution_id, column) == expected(values), column
        for index in range(len(known[-1][2])):
            for column in ATTEMPT:
                values = [
                    (event, getattr(rows[index], column) if rows[index:] else ABSENT)
                    for event, _, rows, _ in known
                ]
                found = told.why(execution_id, column, index)
                assert found == expected(values), column
            for column in set(SUMMARY) - set(ATTEMPT):
                values = [
                    (event, getattr(rows[index], column))
                    if rows[index:] and rows[index] is not None
                    else (event, ABSENT)
                    for event, _, _, rows in known
                ]
                found = told.why(execution_id, column, index)
                assert found == expected(values), column


@pytest.mark.parametrize("payload", [b"", b"work"])
def test_payload_and_result_have_their_events_with_and_without_a_payload(
    payload, ledger, start
) -> None:
    handle = start(payload=payload)
    execution_id = handle.execution_id
    created = ledger.read.history(execution_id)[0]
    assert ledger.why(execution_id, "payload") == created
    assert ledger.why(execution_id, "result") == created
    ledger.complete(handle, b"done")
    assert ledger.why(execution_id, "payload") == created
    assert ledger.why(execution_id, "result").topic == "execution.completed"
    ledger.replay_execution(execution_id, actor="ann", reason="again")
    assert ledger.why(execution_id, "result").topic == "execution.replayed"


def test_the_event_tells_who_and_why(ledger, clock, start) -> None:
    handle = start()
    clock.advance(5)
    ledger.cancel_execution(handle.execution_id, actor="ann", reason="superseded")
    found = ledger.why(handle.execution_id, "public_state")
    assert found.topic == "execution.cancelled"
    assert (found.event.actor, found.event.reason) == ("ann", "superseded")
    assert found.recorded_at_ms == clock()
    assert found == ledger.read.history(handle.execution_id)[-1]


def test_an_attempt_that_is_not_there_has_no_event(ledger, start) -> None:
    handle = start()
    assert ledger.why(handle.execution_id, "outcome", 7) is None
    assert ledger.why(handle.execution_id, "version", 0) is None


@pytest.mark.parametrize("column", ["stream_sha256", "nonsense", "", None, 1, []])
def test_an_unknown_column_is_told_with_those_that_there_are(
    column, ledger, start
) -> None:
    execution_id = start().execution_id
    with pytest.raises(leasehold.InvalidInputError, match="column") as caught:
        ledger.why(execution_id, column)
    assert all(name in str(caught.value) for name in CORE)
    with pytest.raises(leasehold.InvalidInputError, match="column") as caught:
        ledger.why(execution_id, column, 0)
    assert all(name in str(caught.value) for name in (*ATTEMPT, *SUMMARY))
    assert str(caught.value).count("execution_id") == 1


def test_a_column_of_the_other_table_is_told_too(ledger, start) -> None:
    execution_id = start().execution_id
    with pytest.raises(leasehold.InvalidInputError, match="column"):
        ledger.why(execution_id, "outcome")
    with pytest.raises(leasehold.InvalidInputError, match="column"):
        ledger.why(execution_id, "priority", 0)


def test_an_unknown_execution_is_not_found(ledger, start) -> None:
    start()
    with pytest.raises(leasehold.NotFoundError):
        ledger.why(uuid.uuid4(), "priority")


@pytest.mark.parametrize(
    "wrong", [("x", "priority"), (None, "priority"), (uuid.uuid4(), "outcome", -1)]
)
def test_wrong_arguments_are_refused(ledger, wrong) -> None:
    with pytest.raises(leasehold.InvalidInputError):
        ledger.why(*wrong)


def test_a_corrupt_event_is_told(shared, outsider) -> None:
    execution_id = shared.read.executions()[0].execution_id
    outsider.lift_the_guard()
    outsider.execute(
        "UPDATE stored_events SET state = ? WHERE originator_id = ?",
        b"x",
        str(execution_id),
    )
    with pytest.raises(leasehold.StoreError) as caught:
        shared.why(execution_id, "priority")
    assert caught.value.code == "corrupt_event"
