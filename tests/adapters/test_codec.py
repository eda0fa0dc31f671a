"""The bytes of stored events: their form, their hash, and what is no event."""

import hashlib
import json
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leasehold.adapters import codec
from leasehold.domain.attempts import AttemptProgressed
from leasehold.domain.errors import StoreError
from leasehold.domain.executions import ExecutionCreated, ExecutionReprioritised
from leasehold.domain.frames import FrameAppended, FrameMode
from leasehold.domain.records import RecordedEvent
from leasehold.domain.retries import Exponential, Fixed, RetryPolicy

ID = UUID("018f0000-0000-7000-8000-000000000001")
STREAM = str(ID)
TOPIC = "execution.reprioritised"
EVENT = ExecutionReprioritised(
    execution_id=ID, occurred_at_ms=1_000, priority=8, actor="änn"
)
STATE, SHA256 = codec.encode(EVENT, STREAM, 1, codec.FIRST_HASH)
CONTENT = (
    '{"schema_version":1,"execution_id":"018f0000-0000-7000-8000-000000000001",'
    '"occurred_at_ms":1000,"priority":8,"actor":"änn"}'
).encode()
HASH = SHA256.encode()


def decode(state, *, topic=TOPIC):
    return codec.decode(17, STREAM, 1, topic, state)


def as_stored(content: bytes) -> bytes:
    """Put a hash before a content, so that it decodes if anything does."""
    return b'{"sha256":"' + HASH + b'",' + content[1:]


def digest(previous, stream, version, topic, content) -> str:
    """Compute the hash of an event as the documentation says, without the codec."""
    head = b"\0".join([stream.encode(), str(version).encode(), topic.encode(), b""])
    return hashlib.sha256(bytes.fromhex(previous) + head + content).hexdigest()


def test_the_state_is_the_hash_then_the_version_then_the_fields() -> None:
    sha256 = digest("0" * 64, STREAM, 1, TOPIC, CONTENT)
    assert sha256 == SHA256
    assert as_stored(CONTENT) == STATE
    assert json.loads(STATE) == {"sha256": sha256, **json.loads(CONTENT)}


def test_a_state_splits_into_hash_and_content() -> None:
    assert codec.split(STATE) == (SHA256, CONTENT)


def test_a_field_that_is_none_is_left_out() -> None:
    progressed = AttemptProgressed(
        execution_id=ID,
        occurred_at_ms=1,
        attempt_index=0,
        lease_id=ID,
        lease_epoch=1,
        worker_id="w",
        percent=0,
    )
    state, _ = codec.encode(progressed, f"{STREAM}/0", 2, SHA256)
    assert json.loads(state).keys() == {
        "sha256",
        "schema_version",
        "execution_id",
        "occurred_at_ms",
        "attempt_index",
        "lease_id",
        "lease_epoch",
        "worker_id",
        "percent",
    }


CHAINED = {
    "another event before": (EVENT, STREAM, 1, "a" * 64),
    "another stream": (EVENT, f"{STREAM}/0", 1, codec.FIRST_HASH),
    "another version": (EVENT, STREAM, 2, codec.FIRST_HASH),
    "another content": (
        EVENT.model_copy(update={"priority": 9}),
        STREAM,
        1,
        codec.FIRST_HASH,
    ),
}


@pytest.mark.parametrize("case", CHAINED)
def test_the_hash_depends_on_all_that_it_is_over(case) -> None:
    event, stream_id, version, previous = CHAINED[case]
    state, sha256 = codec.encode(event, stream_id, version, previous)
    _, content = codec.split(state)
    assert sha256 == digest(previous, stream_id, version, TOPIC, content)
    assert sha256 != SHA256


def test_the_hash_depends_on_the_topic() -> None:
    renamed = codec.hash_of(codec.FIRST_HASH, STREAM, 1, "execution.renamed", CONTENT)
    assert renamed == digest("0" * 64, STREAM, 1, "execution.renamed", CONTENT)
    assert renamed != SHA256


def test_a_stored_event_is_decoded_with_its_place() -> None:
    assert decode(STATE) == RecordedEvent(17, STREAM, 1, TOPIC, 1_000, EVENT, SHA256)
    assert decode(memoryview(STATE)) == decode(STATE)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
times = st.integers(0, 2**53)
policies = st.builds(
    RetryPolicy,
    st.integers(0, 10_000),
    st.builds(Fixed, st.integers(0, 10**10))
    | st.builds(
        Exponential,
        st.integers(0, 10**10),
        st.floats(1, 1_000),
        st.integers(0, 10**10),
        st.floats(0, 1),
    ),
)
events = (
    st.builds(
        ExecutionCreated,
        execution_id=st.uuids(),
        occurred_at_ms=times,
        clock_at_ms=st.none() | times,
        namespace=texts,
        lane_id=texts,
        payload=st.binary(),
        capabilities=st.lists(texts, max_size=3).map(tuple),
        priority=st.integers(-9_000, 9_000),
        idempotency_key=st.none() | texts,
        eligible_at_ms=times,
        due=st.booleans(),
        deadline_at_ms=st.none() | times,
        retry_policy=policies,
        max_reclaim_count=st.integers(0, 10_000),
        tags=st.dictionaries(texts, texts, max_size=3),
        actor=st.none() | texts,
        arguments_sha256=texts,
    )
    | st.builds(
        AttemptProgressed,
        execution_id=st.uuids(),
        occurred_at_ms=times,
        attempt_index=st.integers(0, 10_000),
        lease_id=st.uuids(),
        lease_epoch=st.integers(1, 2**40),
        worker_id=texts,
        percent=st.none() | st.integers(0, 100) | st.floats(0, 100),
        message=st.none() | texts,
    )
    | st.builds(
        FrameAppended,
        execution_id=st.uuids(),
        occurred_at_ms=times,
        attempt_index=st.integers(0, 10_000),
        lease_id=st.uuids(),
        lease_epoch=st.integers(1, 2**40),
        ts_ms=times,
        seq=st.integers(0, 2**40),
        frame_type=texts,
        payload=st.binary(),
        correlation_id=st.none() | texts,
        mode=st.sampled_from(FrameMode),
        summary_version=st.none() | st.integers(1, 2**40),
    )
)


@settings(deadline=None)
@given(events, texts, st.integers(1, 2**40), st.binary(min_size=32, max_size=32))
def test_any_event_comes_back_from_its_bytes(event, stream_id, version, head) -> None:
    state, sha256 = codec.encode(event, stream_id, version, head.hex())
    recorded = codec.decode(3, stream_id, version, event.TOPIC, state)
    assert recorded.event == event
    assert repr(recorded.event) == repr(event)
    assert recorded.sha256 == sha256
    _, content = codec.split(state)
    assert sha256 == digest(head.hex(), stream_id, version, event.TOPIC, content)
    again, _ = codec.encode(recorded.event, stream_id, version, head.hex())
    assert again == state


def changed(**fields) -> bytes:
    """Return the state with some fields changed; `...` takes one out."""
    content = {**json.loads(CONTENT), **fields}
    kept = {name: value for name, value in content.items() if value is not ...}
    return as_stored(json.dumps(kept).encode())


DEEP = b"[" * 100_000 + b"]" * 100_000
CORRUPT = {
    "nothing": b"",
    "a brace": b"{",
    "an empty object": b"{}",
    "the content without a hash": CONTENT,
    "the hash alone": STATE[:77],
    "a short hash": STATE.replace(HASH, HASH[:-1]),
    "a long hash": STATE.replace(HASH, HASH + b"0"),
    "another first member": STATE.replace(b'"sha256"', b'"sha-256"', 1),
    "a space after the brace": b"{ " + STATE[1:],
    "cut in the middle": STATE[: len(STATE) // 2],
    "without its last byte": STATE[:-1],
    "something after it": STATE + b"{}",
    "a byte that is no UTF-8": STATE.replace("ä".encode(), b"\xff"),
    "a lone surrogate": STATE.replace("ä".encode(), b"\\ud800"),
    "a raw control character": STATE.replace("ä".encode(), b"\x01"),
    "a field too many": changed(colour="red"),
    "a field missing": changed(priority=...),
    "a field of another type": changed(priority="high"),
    "a number with a fraction": changed(occurred_at_ms=1.5),
    "an id that is none": changed(execution_id="7"),
    "no schema version": changed(schema_version=...),
    "a schema version of text": changed(schema_version="1"),
    "a schema version that is a bool": changed(schema_version=True),
    "a schema version of nought": changed(schema_version=0),
    "a negative schema version": changed(schema_version=-1),
    "a later schema version": changed(schema_version=2),
    "a schema version far too large": as_stored(
        b'{"schema_version":' + b"9" * 5_000 + b"}"
    ),
    "deep JSON in this version": as_stored(CONTENT[:-1] + b',"colour":' + DEEP + b"}"),
    "deep JSON in another version": as_stored(b'{"colour":' + DEEP + b"}"),
    "an array": b"[" + STATE + b"]",
    "zeros": bytes(200),
}


@pytest.mark.parametrize("case", CORRUPT)
def test_what_is_no_event_is_told_by_its_place(case) -> None:
    with pytest.raises(StoreError) as raised:
        decode(CORRUPT[case])
    error = raised.value
    assert (error.code, error.retryable) == ("corrupt_event", False)
    told = str(error)
    assert told.startswith("the event at position 17 ")
    for fact in (f"stream {STREAM}", "version 1", repr(TOPIC)):
        assert fact in told


@pytest.mark.parametrize("state", [STATE.decode(), 7, 10**15, 1.5, None, [7]])
def test_a_state_that_is_no_bytes_is_told_by_its_place(state) -> None:
    with pytest.raises(StoreError, match="the event at position 17 ") as raised:
        decode(state)
    assert raised.value.code == "corrupt_event"


def test_a_later_schema_version_says_which_is_known() -> None:
    with pytest.raises(StoreError, match=r"version is 2, .* reads up to 1"):
        decode(changed(schema_version=2))


@pytest.mark.parametrize("topic", ["execution.vanished", "", "Execution.Created", "\0"])
def test_an_unknown_topic_is_told(topic) -> None:
    with pytest.raises(StoreError, match="no such event") as raised:
        decode(STATE, topic=topic)
    assert raised.value.code == "corrupt_event"
    assert repr(topic) in str(raised.value)


def test_the_event_of_another_topic_is_told() -> None:
    with pytest.raises(StoreError) as raised:
        decode(STATE, topic="execution.cancelled")
    assert raised.value.code == "corrupt_event"


def readable(state: bytes) -> RecordedEvent | None:
    """Decode; None where the bytes are refused in the one way they may be."""
    try:
        return decode(state)
    except StoreError as error:
        if error.code != "corrupt_event":
            raise
        return None


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_one_way(state) -> None:
    assert readable(state) is None


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_after_a_hash_are_refused_in_one_way(tail) -> None:
    assert readable(as_stored(b"{" + tail)) is None


@settings(deadline=None, max_examples=500)
@given(st.integers(0, len(STATE) * 8 - 1))
def test_a_flipped_bit_is_noticed_by_the_decoding_or_by_the_hash(bit) -> None:
    flipped = bytearray(STATE)
    flipped[bit // 8] ^= 1 << bit % 8
    recorded = readable(bytes(flipped))
    if recorded is not None:
        _, content = codec.split(bytes(flipped))
        hashed = codec.hash_of(codec.FIRST_HASH, STREAM, 1, TOPIC, content)
        assert recorded.sha256 != hashed


@pytest.fixture
def third_version(monkeypatch):
    """Let the event be of its third schema, with upcasters from the other two."""

    def rank_became_priority(fields):
        rank = fields.pop("rank")
        return {**fields, "priority": rank}

    def actors_got_a_prefix(fields):
        return {**fields, "actor": "user:" + fields["actor"]}

    upcasters = {(TOPIC, 1): rank_became_priority, (TOPIC, 2): actors_got_a_prefix}
    monkeypatch.setattr(ExecutionReprioritised, "SCHEMA_VERSION", 3)
    opening = b'{"schema_version":3,'
    monkeypatch.setitem(codec._OPENINGS, ExecutionReprioritised, opening)
    monkeypatch.setattr(codec, "UPCASTERS", upcasters)


def test_an_event_of_each_earlier_version_is_brought_up_to_date(third_version) -> None:
    first = changed(schema_version=1, rank=8, priority=...)
    second = changed(schema_version=2)
    third = changed(schema_version=3, actor="user:änn")
    expected = EVENT.model_copy(update={"actor": "user:änn"})
    assert [decode(state).event for state in (first, second, third)] == [expected] * 3
    assert decode(first).sha256 == SHA256


def test_a_version_with_no_upcaster_is_told(third_version, monkeypatch) -> None:
    monkeypatch.setattr(codec, "UPCASTERS", {})
    with pytest.raises(StoreError, match="no such event or version") as raised:
        decode(changed(schema_version=1))
    assert raised.value.code == "corrupt_event"


def test_an_upcaster_that_meets_other_fields_is_told(third_version) -> None:
    with pytest.raises(StoreError) as raised:
        decode(changed(schema_version=1))
    assert raised.value.code == "corrupt_event"
