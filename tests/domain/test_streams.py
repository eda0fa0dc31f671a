"""The names of the streams, and the stream of each event."""

import pytest
from event_samples import EXECUTION, FIELDS, make

from leasehold.domain import streams
from leasehold.domain.attempts import AttemptStarted
from leasehold.domain.frames import FrameAppended
from leasehold.domain.refusals import RefusalRecorded

ID = "018f0000-0000-7000-8000-000000000001"
STREAM_OF_PREFIX = {
    "execution": ID,
    "attempt": f"{ID}/0",
    "frame": f"{ID}/0/frames",
    "refusal": f"{ID}/refusals",
}


def test_the_streams_are_named_as_in_the_contract() -> None:
    assert streams.of_execution(EXECUTION) == ID
    assert streams.of_attempt(EXECUTION, 12) == f"{ID}/12"
    assert streams.of_frames(EXECUTION, 12) == f"{ID}/12/frames"
    assert streams.of_refusals(EXECUTION) == f"{ID}/refusals"


@pytest.mark.parametrize("event_type", FIELDS, ids=lambda each: each.TOPIC)
def test_an_event_belongs_to_the_stream_of_its_aggregate(event_type) -> None:
    prefix = event_type.TOPIC.partition(".")[0]
    assert streams.of_event(make(event_type), ID) == STREAM_OF_PREFIX[prefix]


@pytest.mark.parametrize(
    ("event_type", "stream"),
    [
        (AttemptStarted, f"{ID}/7"),
        (FrameAppended, f"{ID}/7/frames"),
        (RefusalRecorded, f"{ID}/refusals"),
    ],
)
def test_each_attempt_has_its_own_streams(event_type, stream) -> None:
    assert streams.of_event(make(event_type, attempt_index=7), ID) == stream
