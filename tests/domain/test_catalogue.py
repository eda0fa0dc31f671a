"""All events: their topics, and what the contract asks of each."""

import sys

import pytest
from event_samples import FIELDS, make
from pydantic import ValidationError

from leasehold.domain.catalogue import BY_TOPIC, EVENT_TYPES
from leasehold.domain.events import DomainEvent

# They are stored: a topic is added here with its event, and never changed.
TOPICS = {
    "execution.created",
    "execution.became_eligible",
    "execution.claimed",
    "execution.resume_grant_issued",
    "execution.reprioritised",
    "execution.retry_scheduled",
    "execution.failed",
    "execution.completed",
    "execution.cancelled",
    "execution.expired",
    "execution.replayed",
    "attempt.started",
    "attempt.progressed",
    "attempt.lease_renewed",
    "attempt.lease_expired",
    "attempt.lease_reclaimed",
    "attempt.lease_revoked",
    "attempt.interrupted",
    "attempt.succeeded",
    "attempt.failed",
    "attempt.cancelled",
    "attempt.deadline_passed",
    "frame.appended",
    "refusal.recorded",
}
BY_A_PERSON = {
    "execution.created",
    "execution.resume_grant_issued",
    "execution.reprioritised",
    "execution.cancelled",
    "execution.replayed",
    "attempt.lease_revoked",
    "attempt.cancelled",
}
BY_A_WORKER = {
    "execution.claimed",
    "execution.retry_scheduled",
    "execution.failed",
    "execution.completed",
    "frame.appended",
    "refusal.recorded",
} | {topic for topic in TOPICS if topic.startswith("attempt.")}

each_event_type = pytest.mark.parametrize(
    "event_type", EVENT_TYPES, ids=lambda each: each.TOPIC
)


def is_of_the_domain(event_type):
    """Tell it from an event that another test made, for a while, under any name."""
    module = sys.modules.get(event_type.__module__)
    found = getattr(module, event_type.__name__, None)
    return found is event_type and module.__name__.startswith("leasehold.")


def leaves(event_type):
    below = [each for each in event_type.__subclasses__() if is_of_the_domain(each)]
    return {leaf for each in below for leaf in leaves(each)} if below else {event_type}


def test_the_topics_are_those_of_the_contract() -> None:
    assert set(BY_TOPIC) == TOPICS
    assert len(EVENT_TYPES) == len(TOPICS)


def test_every_event_of_the_domain_is_in_the_catalogue() -> None:
    assert leaves(DomainEvent) == set(EVENT_TYPES)


def test_every_event_has_a_sample_in_these_tests() -> None:
    assert set(FIELDS) == set(EVENT_TYPES)


@each_event_type
def test_a_topic_finds_its_event(event_type) -> None:
    assert BY_TOPIC[event_type.TOPIC] is event_type


@each_event_type
def test_an_event_cannot_be_changed(event_type) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make(event_type).occurred_at_ms = 2


@each_event_type
def test_an_event_takes_no_unknown_field(event_type) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        make(event_type, surprise=1)


@each_event_type
def test_an_event_comes_back_from_its_json(event_type) -> None:
    event = make(event_type, clock_at_ms=999)
    assert event_type.model_validate_json(event.model_dump_json()) == event


@each_event_type
def test_an_event_is_of_a_schema_version_from_1(event_type) -> None:
    assert type(event_type.SCHEMA_VERSION) is int
    assert event_type.SCHEMA_VERSION >= 1


@each_event_type
def test_an_event_by_a_person_and_no_other_names_the_actor(event_type) -> None:
    names_it = "actor" in event_type.model_fields
    assert names_it is (event_type.TOPIC in BY_A_PERSON)


@each_event_type
def test_an_event_by_a_worker_names_the_lease_and_the_epoch(event_type) -> None:
    named = {"lease_id", "lease_epoch"} <= event_type.model_fields.keys()
    assert named is (event_type.TOPIC in BY_A_WORKER)


@each_event_type
@pytest.mark.parametrize("field", ["execution_id", "occurred_at_ms"])
def test_an_event_is_nothing_without_its_execution_and_time(event_type, field) -> None:
    fields = make(event_type).model_dump()
    del fields[field]
    with pytest.raises(ValidationError, match=field):
        event_type.model_validate(fields)


@each_event_type
def test_a_field_that_is_left_out_is_none(event_type) -> None:
    defaults = {
        field.get_default(call_default_factory=True)
        for field in event_type.model_fields.values()
        if not field.is_required()
    }
    assert defaults <= {None}
