"""Bundles that were altered, cut or forged are refused whole."""

import base64
import io
import json

import pytest
from bundle_lines import closed, exported
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading_all import bare_log, tables

import leasehold
from leasehold.adapters.codec import FIRST_HASH, encode
from leasehold.domain.executions import (
    ExecutionBecameEligible,
    ExecutionReprioritised,
)

SETTINGS = settings(
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def bundle(clock):
    from golden_story import tell_story

    with leasehold.open("sqlite://", clock=clock) as ledger:
        tell_story(ledger, clock)
        yield exported(ledger)


@pytest.fixture
def target(ledger):
    """Give a store that must not change."""
    ledger.create_execution(lane_id="there")
    return ledger


def refused(ledger, altered):
    """Import what must be refused; return the message."""
    before = bare_log(ledger), tables(ledger)
    with pytest.raises(leasehold.InvalidInputError) as caught:
        ledger.import_bundle(io.BytesIO(altered))
    assert caught.value.code == "invalid_input"
    assert (bare_log(ledger), tables(ledger)) == before
    return str(caught.value)


def lines_of(bundle):
    return bundle.splitlines(keepends=True)


def test_a_line_that_was_dropped_is_missed(target, bundle) -> None:
    lines = lines_of(bundle)
    for index in range(len(lines)):
        altered = lines[:index] + lines[index + 1 :]
        assert "line " in refused(target, b"".join(altered))


def test_a_line_that_is_there_twice_is_refused(target, bundle) -> None:
    lines = lines_of(bundle)
    for index in range(len(lines)):
        altered = [*lines[: index + 1], *lines[index:]]
        message = refused(target, b"".join(altered))
        expected = index + 2 if 0 < index < len(lines) - 1 else None
        assert "line " in message
        if expected is not None:
            assert f"line {expected} " in message


def test_lines_that_changed_places_are_refused(target, bundle) -> None:
    lines = lines_of(bundle)
    for index in range(len(lines) - 1):
        altered = [*lines]
        altered[index], altered[index + 1] = altered[index + 1], altered[index]
        refused(target, b"".join(altered))


def test_also_with_a_right_digest_at_the_end(target, bundle) -> None:
    header, *events, _ = lines_of(bundle)
    for index in range(len(events)):
        rest = events[:index] + events[index + 1 :]
        streams = [json.loads(it)["stream"] for it in events]
        if streams[index] not in streams[index + 1 :]:
            continue  # The last of its stream: nothing of that is told by the others.
        refused(target, closed([header, *rest]))
        refused(target, closed([header, *events[: index + 1], *events[index:]]))
        refused(target, closed([header, events[index], *rest]) if index else b"")


@SETTINGS
@given(data=st.data())
def test_any_byte_that_was_altered_is_noticed(data, target, bundle) -> None:
    index = data.draw(st.integers(0, len(bundle) - 1))
    altered = bytearray(bundle)
    altered[index] ^= data.draw(st.integers(1, 255))
    message = refused(target, bytes(altered))
    line = bundle.count(b"\n", 0, index) + 1
    named = int(message.partition("line ")[2].partition(" ")[0])
    # A line's end that is gone shows in that line; a digest shows at the end at last.
    assert line <= named


@SETTINGS
@given(data=st.data())
def test_wherever_it_is_cut_it_is_refused(data, target, bundle) -> None:
    length = data.draw(st.integers(0, len(bundle) - 1))
    assert "line " in refused(target, bundle[:length])


@pytest.mark.parametrize("trailing", [b"\n", b" ", b"x", b"{}\n", bytes(1)])
def test_whatever_follows_is_refused(target, bundle, trailing) -> None:
    last = bundle.count(b"\n")
    assert f"line {last} " in refused(target, bundle + trailing)


def test_two_bundles_in_one_are_refused(target, bundle) -> None:
    refused(target, bundle + bundle)


def with_header(bundle, /, **changes):
    header, *events, _ = lines_of(bundle)
    told = {**json.loads(header), **changes}
    told = {name: value for name, value in told.items() if value is not None}
    line = json.dumps(told, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return closed([line, *events])


HEADERS = [
    ({"bundle": "other"}, "header"),
    ({"bundle": None}, "header"),
    ({"format_version": 2}, "format_version is 2"),
    ({"format_version": 0}, "format_version"),
    ({"format_version": True}, "format_version"),
    ({"format_version": 1.0}, "format_version"),
    ({"format_version": None}, "format_version"),
    ({"schema_versions": None}, "schema_versions"),
    ({"schema_versions": []}, "schema_versions"),
    ({"schema_versions": {"execution.created": 2}}, "install a later"),
    ({"schema_versions": {"execution.created": 0}}, "version 0"),
    ({"schema_versions": {"execution.created": "1"}}, "version '1'"),
    ({"schema_versions": {"no.topic": 1}}, "no.topic"),
    ({"redacted": True}, "redacted"),
    ({"redacted": None}, "redacted"),
    ({"redacted": 1}, "redacted"),
    ({"original_sha256": "0" * 64}, "redacted"),
    ({"redacted": True, "original_sha256": "A" * 64}, "redacted"),
    ({"redacted": True, "original_sha256": "0" * 63}, "redacted"),
    ({"colour": "red"}, "colour"),
]


@pytest.mark.parametrize(("changes", "named"), HEADERS)
def test_a_header_that_is_not_known_is_refused(target, bundle, changes, named) -> None:
    message = refused(target, with_header(bundle, **changes))
    assert "line 1 " in message
    assert named in message


def test_a_header_written_another_way_is_refused(target, bundle) -> None:
    header, *events, _ = lines_of(bundle)
    told = json.loads(header)
    spaced = json.dumps(told, sort_keys=True).encode() + b"\n"
    backwards = dict(reversed(told.items()))
    unsorted = json.dumps(backwards, separators=(",", ":")).encode() + b"\n"
    for other in (spaced, unsorted, b" " + header, b"\xef\xbb\xbf" + header):
        assert "line 1 " in refused(target, closed([other, *events]))


ENDS = {
    "one more": lambda told: {**told, "events": told["events"] + 1},
    "a float": lambda told: {**told, "events": float(told["events"])},
    "another digest": lambda told: {**told, "sha256": "0" * 64},
    "a further word": lambda told: {**told, "more": 1},
    "no digest": lambda told: {"events": told["events"]},
}


@pytest.mark.parametrize("changed", ENDS)
def test_a_wrong_closing_line_is_refused(target, bundle, changed) -> None:
    *lines, end = lines_of(bundle)
    told = ENDS[changed](json.loads(end))
    line = json.dumps(told, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert f"line {len(lines) + 1} " in refused(target, b"".join([*lines, line]))


def test_one_event_is_not_counted_as_true(target, ledger) -> None:
    *lines, end = lines_of(exported(ledger))
    assert json.loads(end)["events"] == 1
    refused(target, b"".join([*lines, end.replace(b":1,", b":true,")]))


@pytest.mark.parametrize(
    "nothing",
    [b"", b"\n", b"{}", b"{}\n", b"[" * 100_000 + b"\n", b"\xff\n", b"x" * 99],
)
def test_what_is_no_bundle_is_refused(target, nothing) -> None:
    assert "line 1 " in refused(target, nothing)


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(target) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            if self.given > 60 * 1024 * 1024:
                return 0
            self.given += len(buffer)
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    with pytest.raises(leasehold.InvalidInputError, match="more than"):
        target.import_bundle(io.BufferedReader(Endless()))


def test_an_event_hashed_anew_does_not_follow(target, bundle) -> None:
    """With a right digest at the end: the chain tells."""
    header, *events, _ = lines_of(bundle)
    index = next(
        number for number, it in enumerate(events) if b'"topic":"attempt.started"' in it
    )
    told = json.loads(events[index])
    changed = events[index].replace(b'"lease_ttl_ms":', b'"lease_ttl_ms":1')
    assert changed != events[index]
    message = refused(
        target, closed([header, *events[:index], changed, *events[index + 1 :]])
    )
    assert f"line {index + 2} " in message
    assert "hash" in message
    moved = events[index].replace(told["topic"].encode(), b"attempt.progressed")
    refused(target, closed([header, *events[:index], moved, *events[index + 1 :]]))


def line_of(event, stream_id, position=1, version=1, head=FIRST_HASH):
    state, _ = encode(event, stream_id, version, head)
    return b'{"position":%d,"state":%b,"stream":"%b","topic":"%b","version":%d}\n' % (
        position,
        state,
        stream_id.encode(),
        event.TOPIC.encode(),
        version,
    )


def test_forged_events_that_no_store_wrote_are_refused(target, bundle) -> None:
    header, created, *_ = lines_of(bundle)
    event = ExecutionBecameEligible(
        execution_id="00000000-0000-7000-8000-000000000001",
        occurred_at_ms=1,
        eligible_at_ms=1,
    )
    home = str(event.execution_id)
    for forged in (
        [line_of(event, home)],
        [line_of(event, f"{home}/0")],
        [line_of(event, "x")],
        [created, created.replace(b'"position":1,', b'"position":2,')],
        [created.replace(b'"position":1,', b'"position":0,')],
        [created.replace(b'"position":1,', b'"position":01,')],
        [created.replace(b'"position":1,', b'"position":9223372036854775808,')],
        [created.replace(b'"version":1}', b'"version":2}')],
        [created[:-1] + b"\r\n"],
    ):
        assert "line " in refused(target, closed([header, *forged]))


def test_an_event_in_a_stream_of_another_execution_is_refused(target, bundle) -> None:
    header, created, *_ = lines_of(bundle)
    other = ExecutionBecameEligible(
        execution_id="00000000-0000-7000-8000-000000000001",
        occurred_at_ms=2 * 10**12,
        eligible_at_ms=1,
    )
    told = json.loads(created)
    for stream_id, version, head in (
        (told["stream"], 2, told["state"]["sha256"]),
        (f"{told['stream']}/refusals", 1, FIRST_HASH),
    ):
        forged = line_of(other, stream_id, 2, version, head)
        message = refused(target, closed([header, created, forged]))
        assert message.startswith("line 3 ")
        assert "not of the stream" in message


@pytest.mark.parametrize("at_ms", [0, -1, 2**62])
def test_a_time_that_no_store_would_have_written_is_refused(
    at_ms, target, bundle
) -> None:
    header, created, *_ = lines_of(bundle)
    told = json.loads(created)
    event = ExecutionBecameEligible(
        execution_id=told["stream"], occurred_at_ms=at_ms, eligible_at_ms=1
    )
    forged = line_of(event, told["stream"], 2, 2, told["state"]["sha256"])
    message = refused(target, closed([header, created, forged]))
    assert message.startswith("line 3 ")
    assert "time" in message


def test_a_number_that_no_store_can_hold_is_no_bare_error(target, bundle) -> None:
    header, created, *_ = lines_of(bundle)
    told = json.loads(created)
    event = ExecutionReprioritised(
        execution_id=told["stream"],
        occurred_at_ms=2 * 10**12,
        priority=2**80,
        actor="ann",
    )
    forged = line_of(event, told["stream"], 2, 2, told["state"]["sha256"])
    before = bare_log(target), tables(target)
    with pytest.raises(leasehold.LeaseholdError, match=r"too large|out of range"):
        target.import_bundle(io.BytesIO(closed([header, created, forged])))
    assert (bare_log(target), tables(target)) == before


def test_a_summary_that_is_none_is_refused(target, start_elsewhere) -> None:
    header, *events, _ = start_elsewhere
    index = next(
        number for number, it in enumerate(events) if b'"mode":"summary"' in it
    )
    told = json.loads(events[index])
    state = told["state"] | {"payload": base64.b64encode(b"no JSON").decode()}
    from leasehold.domain.catalogue import BY_TOPIC

    fields = {
        name: value
        for name, value in state.items()
        if name not in ("sha256", "schema_version")
    }
    event = BY_TOPIC[told["topic"]].model_validate_json(json.dumps(fields))
    forged = line_of(event, told["stream"], told["position"])
    refused(target, closed([header, *events[:index], forged, *events[index + 1 :]]))


@pytest.fixture
def start_elsewhere(clock):
    with leasehold.open("sqlite://", clock=clock) as ledger:
        ledger.create_execution()
        handle = ledger.claim(worker_id="w")
        summary = leasehold.Frame(b'{"a":1}', mode=leasehold.Summary())
        ledger.append_frame(handle, summary)
        return lines_of(exported(ledger))
