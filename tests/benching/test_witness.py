"""The witness finds what must not be, in what it was told and in the log."""

import json
from uuid import uuid4

import pytest

import leasehold
from leasehold.adapters.benching.submitting import specs
from leasehold.adapters.benching.witness import NAMED_MAX, Witness

ONE = "01942000-0000-7000-8000-000000000001"


@pytest.fixture
def witness():
    return Witness()


def claimed(epoch, at_ns, execution_id=ONE):
    return ["claimed", execution_id, epoch, at_ns - 1, at_ns]


def wrote(epoch, operation, sent_ns, code=None, why_late=None, execution_id=ONE):
    return ["wrote", execution_id, epoch, operation, sent_ns, code, why_late]


def found(witness):
    witness.check_overlaps()
    return dict(witness.faults.counts)


def test_a_take_over_is_as_it_should_be(witness):
    witness.hear("amber", claimed(1, 100))
    witness.hear("amber", wrote(1, "progress", 200))
    witness.hear("birch", claimed(2, 300))
    late = "after the lease had run out"
    witness.hear("amber", wrote(1, "complete", 400, "lease_conflict", late))
    witness.hear("birch", wrote(2, "complete", 500))
    assert found(witness) == {}
    assert (witness.late, dict(witness.refused)) == (1, {"lease_conflict": 1})
    assert dict(witness.accepted) == {"progress": 1, "complete": 1}


def test_a_write_that_is_accepted_after_the_next_claim_is_an_overlap(witness):
    # As lines come: that of a process which stood still comes last.
    witness.hear("birch", claimed(2, 300))
    witness.hear("amber", claimed(1, 100))
    witness.hear("amber", wrote(1, "progress", 400))
    assert found(witness) == {"overlap": 1}
    (text,) = witness.faults.texts
    assert "amber" in text
    assert "birch" in text


def test_a_write_that_was_sent_before_the_next_claim_was_answered_is_none(witness):
    witness.hear("amber", claimed(1, 100))
    witness.hear("amber", wrote(1, "progress", 300))
    witness.hear("birch", claimed(2, 300))
    assert found(witness) == {}


def test_a_lease_that_two_have_claimed_is_an_overlap(witness):
    witness.hear("amber", claimed(1, 100))
    witness.hear("birch", claimed(1, 100))
    assert found(witness) == {"overlap": 1}


def test_two_ends_of_an_execution_are_a_duplicate(witness):
    witness.hear("amber", wrote(1, "complete", 100))
    witness.hear("birch", wrote(2, "complete", 200))
    assert found(witness) == {"duplicate": 1}


def test_two_ids_under_a_key_are_a_duplicate(witness):
    witness.hear("submitter", ["created", 0, ["a", "b", "c"]])
    witness.hear("submitter", ["created", 1, ["b"]])
    assert (witness.created, witness.repeated, found(witness)) == (3, 1, {})
    witness.hear("submitter", ["created", 2, ["d"]])
    assert found(witness) == {"duplicate": 1}


def test_a_late_write_that_is_accepted_is_found(witness):
    witness.hear("amber", wrote(1, "renew", 100, None, "after it had run out"))
    assert found(witness) == {"late": 1}


def test_what_nobody_should_tell_is_found(witness):
    witness.hear("amber", ["claimed", ONE])
    assert found(witness) == {"broken": 1}


def test_of_very_many_faults_the_first_are_named_and_all_are_counted(witness):
    for number in range(NAMED_MAX + 5):
        witness.hear("amber", wrote(number, "renew", 1, None, "after it had run out"))
    assert found(witness) == {"late": NAMED_MAX + 5}
    assert len(witness.faults.texts) == NAMED_MAX


def test_who_was_killed_had_held_what_nobody_claimed_after(witness):
    two = str(uuid4())
    witness.hear("amber", claimed(1, 100))
    witness.hear("amber", claimed(1, 100, two))
    witness.hear("birch", claimed(2, 300))
    assert witness.held_by("amber") == [(two, 1)]
    assert witness.claimed_ns(ONE, 2) == 300
    assert witness.claimed_ns(ONE, 3) is None


@pytest.fixture
def ledger(clock):
    with leasehold.open("sqlite://", clock=clock) as opened:
        yield opened


@pytest.fixture
def completed(ledger, witness):
    """Create and complete two executions and tell of it; give the second's handle."""
    ids = ledger.create_executions(specs(range(2)))
    witness.hear("submitter", ["created", 0, [str(one) for one in ids]])
    for _ in ids:
        handle = ledger.claim(worker_id="amber")
        ledger.complete(handle)
        execution_id = str(handle.execution_id)
        told = wrote(1, "complete", 100, execution_id=execution_id)
        witness.hear("amber", json.loads(json.dumps(told)))
    return handle


def test_a_log_that_has_all_that_was_told_is_as_it_should_be(
    witness, completed, ledger
):
    assert witness.check_log(ledger) == 2
    assert found(witness) == {}


def test_a_second_end_in_the_log_is_a_duplicate(witness, completed, ledger, clock):
    from planting import Holder, plant

    plant(ledger, *Holder(completed, "amber", None).completed(clock.now_ms))
    witness.check_log(ledger)
    assert found(witness) == {"duplicate": 1}


def test_an_execution_that_has_not_ended_is_told(witness, completed, ledger):
    ledger.create_execution(idempotency_key="2")
    assert witness.check_log(ledger) == 3
    assert found(witness) == {"open": 1}


def test_what_was_answered_and_is_not_in_the_log_is_lost(witness, completed, ledger):
    witness.hear("submitter", ["created", 2, [ONE]])
    epoch = completed.lease_epoch + 1
    told = wrote(epoch, "complete", 200, execution_id=str(completed.execution_id))
    witness.hear("birch", told)
    witness.check_log(ledger)
    assert witness.faults.counts["lost"] == 2
