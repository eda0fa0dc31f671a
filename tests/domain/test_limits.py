"""The limits, each at its edge."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leasehold.domain import limits
from leasehold.domain.errors import InvalidInputError


def refused(check) -> str:
    """Return what a refusal says."""
    with pytest.raises(InvalidInputError) as raised:
        check()
    assert raised.value.code == "invalid_input"
    return str(raised.value)


def test_the_numbers_are_those_of_the_contract() -> None:
    assert (limits.NAME_BYTES_MAX, limits.WORKER_BYTES_MAX) == (64, 128)
    assert (limits.KEY_BYTES_MAX, limits.TAG_VALUE_BYTES_MAX) == (256, 256)
    assert (limits.TAGS_MAX, limits.CAPABILITIES_MAX) == (64, 256)
    assert (limits.CAPABILITIES_BYTES_MAX, limits.TEXT_BYTES_MAX) == (4096, 4096)
    assert (limits.PRIORITY_MAX, limits.COUNT_MAX) == (9_000, 10_000)
    assert (limits.LEASE_TTL_MS_MAX, limits.LIMIT_MAX) == (86_400_000, 1_000_000)
    assert (limits.PAYLOAD_BYTES_MAX, limits.FRAME_BYTES_MAX) == (2**24, 2**20)
    assert (limits.DETAIL_BYTES_MAX, limits.SUMMARY_BYTES_MAX) == (2**16, 2**20)
    assert limits.SUMMARY_DEPTH_MAX == 64


GOOD_NAMES = ["a", "a b", "a-b_c.d/e:f", "~!@#", "x" * 64]
BAD_NAMES = {
    "empty": "",
    "too long": "x" * 65,
    "a space before": " a",
    "a space after": "a ",
    "only a space": " ",
    "a tab": "a\tb",
    "a newline": "a\n",
    "a NUL": "a\0",
    "DEL": "a\x7f",
    "beyond ASCII": "ä",
    "bytes": b"a",
    "nothing": None,
    "a number": 1,
}


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_name_is_given_back(name) -> None:
    assert limits.name("lane_id", name) == name


@pytest.mark.parametrize("case", BAD_NAMES)
def test_a_name_that_breaks_the_rule_is_refused(case) -> None:
    told = refused(lambda: limits.name("lane_id", BAD_NAMES[case]))
    assert told.startswith("lane_id must be 1 to 64 bytes of printable ASCII")


@given(st.text(max_size=70))
def test_a_name_is_printable_ascii_of_bounded_length(text) -> None:
    fits = (
        1 <= len(text) <= 64
        and all(" " <= character <= "~" for character in text)
        and text == text.strip(" ")
    )
    if fits:
        assert limits.name("name", text) == text
    else:
        refused(lambda: limits.name("name", text))


def test_text_is_measured_in_bytes() -> None:
    assert limits.text("reason", "é" * 4, bytes_max=8) == "é" * 4
    refused(lambda: limits.text("reason", "é" * 4 + "x", bytes_max=8))
    refused(lambda: limits.text("actor", "", bytes_min=1, bytes_max=8))
    assert limits.text("reason", "", bytes_max=8) == ""


@pytest.mark.parametrize("text", ["a\0b", "\ud800", b"a", None, 1])
def test_text_is_valid_utf_8_without_nul(text) -> None:
    assert "valid UTF-8" in refused(lambda: limits.text("reason", text, bytes_max=9))


@pytest.mark.parametrize("value", [-3, 0, 3])
def test_a_whole_number_within_its_bounds_is_given_back(value) -> None:
    assert limits.integer("n", value, least=-3, most=3) == value


@pytest.mark.parametrize("value", [-4, 4, True, False, 1.0, "1", None, 10**40])
def test_another_number_is_refused(value) -> None:
    told = refused(lambda: limits.integer("n", value, least=-3, most=3))
    assert told.startswith("n must be a whole number from -3 to 3; got ")


@pytest.mark.parametrize("limit", [0, -1, 1_000_001, True, 1.0, "1", None])
def test_a_limit_out_of_bounds_is_refused(limit) -> None:
    refused(lambda: limits.page(limit))


def test_a_limit_and_a_time_may_stand_at_their_bounds() -> None:
    assert [limits.page(1), limits.page(1_000_000)] == [1, 1_000_000]
    last = limits.TIME_MS_MAX
    assert [limits.time_ms("t", 0), limits.time_ms("t", last)] == [0, last]
    refused(lambda: limits.time_ms("t", last + 1))
    refused(lambda: limits.time_ms("t", -1))


@pytest.mark.parametrize("value", [b"ab", bytearray(b"ab"), memoryview(b"ab")])
def test_bytes_of_any_kind_become_bytes(value) -> None:
    given_back = limits.bytes_of("payload", value, bytes_max=2)
    assert (type(given_back), given_back) == (bytes, b"ab")


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), "ab", None, 7, [1]])
def test_other_or_more_bytes_are_refused(value) -> None:
    assert "payload" in refused(lambda: limits.bytes_of("payload", value, bytes_max=2))


def test_text_for_bytes_is_told_how_to_become_bytes() -> None:
    told = refused(lambda: limits.bytes_of("payload", "ab", bytes_max=2))
    assert ".encode()" in told


def test_an_id_is_a_uuid_and_text_is_told_how_to_become_one() -> None:
    one = UUID(int=1)
    assert limits.identifier("execution_id", one) is one
    told = refused(lambda: limits.identifier("execution_id", str(one)))
    assert "uuid.UUID(text)" in told
    refused(lambda: limits.identifier("execution_id", None))


def test_capabilities_are_a_sorted_set() -> None:
    tokens = limits.capabilities("capabilities", ["b", "a", "é", "B", "a"])
    assert tokens == ("B", "a", "b", "é")
    assert limits.capabilities("capabilities", {"x"}) == ("x",)
    assert limits.capabilities("capabilities", (t for t in "ba")) == ("a", "b")
    assert limits.capabilities("capabilities", ()) == ()


BAD_CAPABILITIES = {
    "text": "gpu",
    "bytes": b"gpu",
    "nothing": None,
    "a number": 3,
    "an empty token": [""],
    "a comma": ["a,b"],
    "a space": ["a b"],
    "a no-break space": ["a\u00a0b"],
    "a newline": ["a\n"],
    "a NUL": ["a\0"],
    "DEL": ["a\x7f"],
    "a C1 control": ["a\x85"],
    "a lone surrogate": ["\ud800"],
    "a number inside": [1],
    "257 tokens": [str(n) for n in range(257)],
    "4097 bytes": ["x" * 2048, "y" * 2048],
}


@pytest.mark.parametrize("case", BAD_CAPABILITIES)
def test_capabilities_that_break_the_rule_are_refused(case) -> None:
    given_ = BAD_CAPABILITIES[case]
    refused(lambda: limits.capabilities("capabilities", given_))


def test_capabilities_may_stand_at_their_bounds() -> None:
    assert len(limits.capabilities("c", [str(n) for n in range(256)])) == 256
    assert len(limits.capabilities("c", ["x" * 2048, "y" * 2047])) == 2
    assert len(limits.capabilities("c", ["same"] * 300)) == 1


def test_tags_are_given_back_in_the_order_of_their_keys() -> None:
    assert limits.tags("tags", None) == {}
    assert list(limits.tags("tags", {"b": "", "a": "é"}).items()) == [
        ("a", "é"),
        ("b", ""),
    ]
    most = {f"k{n}": "v" * 256 for n in range(64)}
    assert limits.tags("tags", most) == most


BAD_TAGS = {
    "a list": [("a", "b")],
    "65 of them": {f"k{n}": "" for n in range(65)},
    "a long value": {"a": "v" * 257},
    "a number for a value": {"a": 1},
    "no value": {"a": None},
    "an empty key": {"": "v"},
    "a long key": {"k" * 65: "v"},
    "a number for a key": {1: "v"},
    "a NUL": {"a": "\0"},
}


@pytest.mark.parametrize("case", BAD_TAGS)
def test_tags_that_break_the_rule_are_refused(case) -> None:
    assert "tags" in refused(lambda: limits.tags("tags", BAD_TAGS[case]))


def test_a_refusal_shows_the_value_but_not_all_of_a_long_one() -> None:
    told = refused(lambda: limits.name("lane_id", "secret" * 1_000))
    assert "got str 'secretsecret" in told
    assert told.endswith("…")
    assert len(told) < 250
