"""Frames: what they may hold, their ids, and how many best-effort ones are kept."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leasehold.domain.errors import InvalidInputError
from leasehold.domain.frames import (
    MODE_NAMES,
    BestEffort,
    Durable,
    Frame,
    FrameId,
    FrameKind,
    FrameMode,
    next_frame_id,
)


def test_a_frame_is_durable_output_unless_said_otherwise() -> None:
    frame = Frame(b"line")
    assert (frame.kind, frame.frame_type, frame.correlation_id, frame.mode) == (
        FrameKind.STDOUT,
        "",
        None,
        Durable(),
    )


@pytest.mark.parametrize("kind", FrameKind)
def test_without_a_type_the_kind_stands_in_lower_case(kind) -> None:
    assert Frame(b"", kind).stored_type == kind.name.lower()
    assert Frame(b"", kind, "log").stored_type == "log"


def test_the_kinds_and_modes_are_those_of_the_contract() -> None:
    assert [kind.name for kind in FrameKind] == ["STDOUT", "STDERR", "EVENT", "BLOB"]
    assert {mode.value for mode in FrameMode} == {"durable", "summary", "best_effort"}
    names = {mode.__name__: name for mode, name in MODE_NAMES.items()}
    assert names == {
        "Durable": "durable",
        "Summary": "summary",
        "BestEffort": "best_effort",
    }


def test_a_kind_may_be_given_as_text() -> None:
    assert Frame(b"", "stderr").kind is FrameKind.STDERR


@pytest.mark.parametrize("payload", [bytearray(b"x"), memoryview(b"x")])
def test_a_payload_is_copied_to_bytes(payload) -> None:
    assert type(Frame(payload).payload) is bytes
    assert Frame(payload) == Frame(b"x")


def test_a_frame_may_have_a_mebibyte_and_not_a_byte_more() -> None:
    assert len(Frame(bytes(1_048_576)).payload) == 1_048_576
    with pytest.raises(InvalidInputError, match="1048577"):
        Frame(bytes(1_048_577))


BAD = {
    "text for a payload": lambda: Frame("line"),
    "no payload": lambda: Frame(None),
    "an unknown kind": lambda: Frame(b"", "stdin"),
    "no kind": lambda: Frame(b"", None),
    "a long type": lambda: Frame(b"", frame_type="é" * 33),
    "a type with NUL": lambda: Frame(b"", frame_type="a\0"),
    "no text for a type": lambda: Frame(b"", frame_type=None),
    "an empty correlation": lambda: Frame(b"", correlation_id=""),
    "a long correlation": lambda: Frame(b"", correlation_id="x" * 257),
    "a lone surrogate": lambda: Frame(b"", correlation_id="\ud800"),
    "the class for a mode": lambda: Frame(b"", mode=Durable),
    "text for a mode": lambda: Frame(b"", mode="durable"),
    "a ttl of nought": lambda: BestEffort(ttl_ms=0),
    "a ttl over a day": lambda: BestEffort(ttl_ms=86_400_001),
    "a floor of nought": lambda: BestEffort(maxlen_floor=0),
    "a floor over the ceiling": lambda: BestEffort(maxlen_floor=9, maxlen_ceiling=8),
    "a ceiling over a million": lambda: BestEffort(maxlen_ceiling=1_000_001),
    "an alpha of nought": lambda: BestEffort(ema_alpha=0),
    "an alpha over one": lambda: BestEffort(ema_alpha=1.001),
    "an alpha that is no number": lambda: BestEffort(ema_alpha=float("nan")),
    "a bool for an alpha": lambda: BestEffort(ema_alpha=True),
    "text for an alpha": lambda: BestEffort(ema_alpha="0.2"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused(case) -> None:
    with pytest.raises(InvalidInputError):
        BAD[case]()


def test_the_bounds_themselves_are_allowed() -> None:
    Frame(b"", frame_type="é" * 32, correlation_id="x" * 256)
    BestEffort(ttl_ms=1, maxlen_floor=1, maxlen_ceiling=1, ema_alpha=1)
    BestEffort(ttl_ms=86_400_000, maxlen_floor=1_000_000, maxlen_ceiling=1_000_000)


def test_the_defaults_of_best_effort_are_those_of_the_contract() -> None:
    assert BestEffort() == BestEffort(
        ttl_ms=60_000, maxlen_floor=64, maxlen_ceiling=16_384, ema_alpha=0.2
    )


def test_the_rate_is_the_moving_average_of_the_contract() -> None:
    mode, rate, rates = BestEffort(), 0.0, []
    for interval_ms in (None, 100, 100, 0, 1_000):
        rate = mode.next_rate(rate, interval_ms)
        rates.append(rate)
    assert rates == pytest.approx([0, 2.0, 3.6, 202.88, 162.504])


def test_an_interval_counts_as_a_millisecond_at_least() -> None:
    mode = BestEffort()
    assert mode.next_rate(5.0, 0) == mode.next_rate(5.0, 1)


def test_with_an_alpha_of_one_only_the_newest_interval_counts() -> None:
    assert BestEffort(ema_alpha=1).next_rate(999.0, 10) == 100.0


@pytest.mark.parametrize(
    ("rate", "kept"),
    [(0.0, 64), (0.5, 64), (0.55, 66), (1.0, 120), (1.001, 122), (1_000.0, 16_384)],
)
def test_twice_the_frames_of_the_ttl_are_kept_within_bounds(rate, kept) -> None:
    assert BestEffort().kept_frames(rate) == kept


@given(
    st.floats(0, 1_000),
    st.integers(1, 86_400_000),
    st.integers(1, 1_000_000),
    st.integers(1, 1_000_000),
)
def test_what_is_kept_never_leaves_its_bounds(rate, ttl_ms, one, other) -> None:
    floor, ceiling = sorted((one, other))
    mode = BestEffort(ttl_ms, floor, ceiling)
    kept = mode.kept_frames(rate)
    assert floor <= kept <= ceiling
    if floor < kept < ceiling:
        assert kept == 2 * math.ceil(rate * ttl_ms / 1000)


def test_an_id_grows_even_where_the_clock_does_not() -> None:
    given_ids = [None]
    for now_ms in (1_000, 1_000, 1_001, 1_001, 900, 1_002):
        given_ids.append(next_frame_id(given_ids[-1], now_ms=now_ms))
    texts = [str(frame_id) for frame_id in given_ids[1:]]
    assert texts == ["1000-0", "1000-1", "1001-0", "1001-1", "1001-2", "1002-0"]


@given(st.integers(0, 10**18 - 1), st.integers(0, 10**18 - 1))
def test_an_id_comes_back_from_its_text(ts_ms, seq) -> None:
    assert FrameId.parse(f"{ts_ms}-{seq}") == FrameId(ts_ms, seq)
    assert str(FrameId(ts_ms, seq)) == f"{ts_ms}-{seq}"


def test_ids_are_in_the_order_of_time_then_number() -> None:
    assert FrameId(9, 5) < FrameId(10, 0) < FrameId(10, 9) < FrameId(10, 10)


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "1", "1-", "-1", "1-2-3", "1--2", " 1-2", "1-2 ", "+1-2", "1.0-2"),
        *("\u0661-2", "²-1", "a-b", "1" * 19 + "-0", None, 12, b"1-2"),
    ],
)
def test_what_is_no_id_is_refused(text) -> None:
    with pytest.raises(InvalidInputError, match="<ts_ms>-<seq>"):
        FrameId.parse(text)
