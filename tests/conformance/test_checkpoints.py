"""Checkpoints: one line that tells what the log is."""

import hashlib
import json

import pytest

import leasehold


def test_a_line_tells_the_position_the_digest_and_the_time(told, clock) -> None:
    line = told.checkpoint()
    log = told.read.events()
    digest = hashlib.sha256(b"".join(bytes.fromhex(it.sha256) for it in log))
    assert line == json.dumps(
        {
            "at_ms": clock(),
            "position": log[-1].position,
            "sha256": digest.hexdigest(),
        },
        separators=(",", ":"),
    )
    assert "\n" not in line


def test_it_is_read_again(told) -> None:
    line = told.checkpoint()
    parsed = leasehold.Checkpoint.parse(line)
    assert str(parsed) == line
    for form in (
        line + "\n",
        f"  {line} ",
        line.encode(),
        json.dumps(json.loads(line)),
    ):
        assert leasehold.Checkpoint.parse(form) == parsed
    for form in (line, f"{line}\n", line.encode(), parsed):
        assert told.verify(form).ok


def test_of_an_empty_log(ledger) -> None:
    parsed = leasehold.Checkpoint.parse(ledger.checkpoint())
    assert (parsed.position, parsed.sha256) == (0, hashlib.sha256().hexdigest())
    ledger.create_execution()
    assert ledger.verify(parsed).ok


def test_it_holds_while_the_log_grows(told, clock, start) -> None:
    lines = [told.checkpoint()]
    for _ in range(3):
        clock.advance(1_000)
        handle = start(lane_id="further")
        told.complete(handle)
        lines.append(told.checkpoint())
    assert len(set(lines)) == 4
    for line in lines:
        assert told.verify(line).faults == ()


def test_a_copy_with_the_same_events_has_the_same_digest(told, fresh, clock) -> None:
    from bundle_lines import exported

    store = fresh(clock=clock)
    import io

    store.import_bundle(io.BytesIO(exported(told)))
    assert store.checkpoint() == told.checkpoint()
    assert store.verify(told.checkpoint()).ok


GOOD = {"at_ms": 5, "position": 3, "sha256": "0" * 64}
WRONG = {
    "nothing": "",
    "text": "hello",
    "a number": "1",
    "a list": "[]",
    "no text": None,
    "a number of its own": 5,
    "bytes that are no UTF-8": b"\xff",
    "nesting": "[" * 100_000,
    "a word too many": json.dumps({**GOOD, "more": 1}),
    "a word missing": json.dumps({"at_ms": 5, "position": 3}),
    "a negative position": json.dumps({**GOOD, "position": -1}),
    "a position that is true": json.dumps({**GOOD, "position": True}),
    "a float": json.dumps({**GOOD, "position": 3.0}),
    "a huge position": json.dumps({**GOOD, "position": 2**63}),
    "a long position": '{"at_ms":5,"position":' + "9" * 5_000 + ',"sha256":""}',
    "a time that is text": json.dumps({**GOOD, "at_ms": "5"}),
    "a short digest": json.dumps({**GOOD, "sha256": "0" * 63}),
    "an upper case digest": json.dumps({**GOOD, "sha256": "A" * 64}),
    "a digest that is none": json.dumps({**GOOD, "sha256": 5}),
    "two lines": json.dumps(GOOD) + "\n" + json.dumps(GOOD),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_checkpoint_is_refused(wrong, ledger) -> None:
    with pytest.raises(leasehold.InvalidInputError) as caught:
        leasehold.Checkpoint.parse(WRONG[wrong])
    assert len(str(caught.value)) < 500
    if WRONG[wrong] is not None:
        with pytest.raises(leasehold.InvalidInputError):
            ledger.verify(WRONG[wrong])
