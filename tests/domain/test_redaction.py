"""What of an event is confidential."""

import pytest
from event_samples import make

from leasehold.domain.catalogue import EVENT_TYPES
from leasehold.domain.frames import FrameAppended
from leasehold.domain.redaction import NO_DIGEST, redacted

# Any field of a type that can carry what somebody typed or computed is named here, on
# the one side or on the other: a new one has to be thought about.
TAKEN_OUT = {
    "execution.created": {"payload": b"", "arguments_sha256": NO_DIGEST},
    "execution.completed": {"result": None},
    "execution.retry_scheduled": {"failure_message": ""},
    "execution.failed": {"failure_message": None},
    "execution.cancelled": {"reason": ""},
    "execution.replayed": {"reason": ""},
    "attempt.progressed": {"message": None},
    "attempt.succeeded": {"result_sha256": None},
    "attempt.failed": {"failure_message": "", "failure_detail": None},
    "attempt.lease_revoked": {"reason": ""},
}
KEPT = {
    "actor",
    "attempt_index",
    "capabilities",
    "cause",
    "clock_at_ms",
    "current_lease_epoch",
    "deadline_at_ms",
    "due",
    "eligible_at_ms",
    "execution_id",
    "expires_at_ms",
    "failure_class",
    "grant_id",
    "idempotency_key",
    "lane_id",
    "late_ms",
    "lease_epoch",
    "lease_expires_at_ms",
    "lease_id",
    "lease_reclaim_count",
    "lease_ttl_ms",
    "max_reclaim_count",
    "namespace",
    "occurred_at_ms",
    "operation",
    "percent",
    "priority",
    "refused_count",
    "retry_at_ms",
    "retry_count",
    "retry_policy",
    "tags",
    "taken_over",
    "terminal_cause",
    "worker_id",
    "worker_instance_id",
}
TYPES = [it for it in EVENT_TYPES if it is not FrameAppended]


@pytest.mark.parametrize("event_type", TYPES, ids=lambda it: it.TOPIC)
def test_what_is_confidential_goes_and_all_else_stays(event_type) -> None:
    event = make(event_type, clock_at_ms=5)
    expected = event.model_copy(update=TAKEN_OUT.get(event_type.TOPIC, {}))
    assert redacted(event) == expected
    assert type(redacted(event)) is event_type


@pytest.mark.parametrize("event_type", TYPES, ids=lambda it: it.TOPIC)
def test_every_field_is_known_to_stay_or_to_go(event_type) -> None:
    gone = {*TAKEN_OUT.get(event_type.TOPIC, {})}
    assert {*event_type.model_fields} - gone <= KEPT
    assert not gone & KEPT


@pytest.mark.parametrize("event_type", TYPES, ids=lambda it: it.TOPIC)
def test_what_is_redacted_stays_as_it_is(event_type) -> None:
    once = redacted(make(event_type))
    assert redacted(once) == once


def test_a_frame_goes_as_a_whole() -> None:
    assert redacted(make(FrameAppended)) is None
