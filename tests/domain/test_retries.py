"""Backoff: its formula, its cap, its jitter, and its bounds."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from leasehold.domain.errors import InvalidInputError
from leasehold.domain.retries import DELAY_MS_MAX, Exponential, Fixed, RetryPolicy

delays = st.integers(0, DELAY_MS_MAX)
multipliers = st.floats(1, 1_000) | st.just(1.0 + 2**-52)
counts = st.integers(0, 10_000)
draws = st.floats(-1, 1)


def test_the_defaults_are_those_of_the_contract() -> None:
    assert RetryPolicy() == RetryPolicy(
        max_retries=3,
        backoff=Exponential(
            initial_ms=1_000, multiplier=2.0, max_ms=60_000, jitter=0.0
        ),
    )


def test_an_exponential_wait_doubles_up_to_its_cap() -> None:
    waits = [Exponential().wait_ms(n, 0.7) for n in range(9)]
    assert waits == [1e3, 2e3, 4e3, 8e3, 16e3, 32e3, 60e3, 60e3, 60e3]
    assert {type(wait) for wait in waits} == {int}


@pytest.mark.parametrize(
    ("backoff", "retries_made", "expected"),
    [
        (Exponential(initial_ms=0), 10_000, 0),
        (Exponential(max_ms=0), 3, 0),
        (Exponential(initial_ms=500, max_ms=200), 0, 200),
        (Exponential(multiplier=1), 10_000, 1_000),
        (Exponential(initial_ms=1, multiplier=1.5), 3, 3),
        (Exponential(initial_ms=100, multiplier=10, max_ms=1_000), 1, 1_000),
        (Exponential(initial_ms=1, multiplier=1_000, max_ms=DELAY_MS_MAX), 9, 31536e6),
    ],
)
def test_a_wait_is_what_the_formula_says(backoff, retries_made, expected) -> None:
    assert backoff.wait_ms(retries_made, 0.0) == expected


@given(delays, multipliers, delays, st.integers(0, 40))
def test_a_wait_is_the_exact_formula_to_a_rounding(
    initial_ms, multiplier, max_ms, retries_made
) -> None:
    backoff = Exponential(initial_ms, multiplier, max_ms)
    exact = min(Fraction(max_ms), initial_ms * Fraction(multiplier) ** retries_made)
    wait_ms = backoff.wait_ms(retries_made, 0.0)
    assert abs(wait_ms - exact) <= max(1, exact * Fraction(1, 10**9))


@given(delays, multipliers, delays, st.floats(0, 1), counts, draws)
def test_no_wait_overflows_or_leaves_its_bounds(
    initial_ms, multiplier, max_ms, jitter, retries_made, draw
) -> None:
    backoff = Exponential(initial_ms, multiplier, max_ms, jitter)
    nominal = Exponential(initial_ms, multiplier, max_ms).wait_ms(retries_made, 0.0)
    wait_ms = backoff.wait_ms(retries_made, draw)
    assert 0 <= nominal <= max_ms
    assert nominal * (1 - jitter) - 1 <= wait_ms <= nominal * (1 + jitter) + 1


@given(delays, multipliers, delays, st.integers(0, 9_999))
def test_a_wait_never_gets_shorter(initial_ms, multiplier, max_ms, retries) -> None:
    backoff = Exponential(initial_ms, multiplier, max_ms)
    assert backoff.wait_ms(retries, 0.0) <= backoff.wait_ms(retries + 1, 0.0)


def test_full_jitter_reaches_from_nought_to_twice_the_wait() -> None:
    backoff = Exponential(jitter=1)
    assert [backoff.wait_ms(0, draw) for draw in (-1, 0, 1)] == [0, 1_000, 2_000]


@given(delays, counts, draws)
def test_a_fixed_wait_is_always_the_same(delay_ms, retries_made, draw) -> None:
    assert Fixed(delay_ms).wait_ms(retries_made, draw) == delay_ms


def test_whole_numbers_and_floats_make_equal_policies() -> None:
    assert Exponential(multiplier=2, jitter=1) == Exponential(
        multiplier=2.0, jitter=1.0
    )
    assert repr(Exponential(multiplier=2)) == repr(Exponential(multiplier=2.0))


BAD = {
    "a negative delay": lambda: Fixed(-1),
    "a delay over a year": lambda: Fixed(DELAY_MS_MAX + 1),
    "a delay that is no whole number": lambda: Fixed(1.0),
    "a bool for a delay": lambda: Fixed(True),
    "a negative first delay": lambda: Exponential(initial_ms=-1),
    "a cap over a year": lambda: Exponential(max_ms=DELAY_MS_MAX + 1),
    "a shrinking multiplier": lambda: Exponential(multiplier=0.99),
    "a multiplier over 1000": lambda: Exponential(multiplier=1_000.5),
    "an infinite multiplier": lambda: Exponential(multiplier=float("inf")),
    "a multiplier that is no number": lambda: Exponential(multiplier=float("nan")),
    "text for a multiplier": lambda: Exponential(multiplier="2"),
    "a bool for a multiplier": lambda: Exponential(multiplier=True),
    "negative jitter": lambda: Exponential(jitter=-0.1),
    "jitter over 1": lambda: Exponential(jitter=1.1),
    "jitter that is no number": lambda: Exponential(jitter=float("nan")),
    "a negative count": lambda: RetryPolicy(max_retries=-1),
    "a count over 10,000": lambda: RetryPolicy(max_retries=10_001),
    "a bool for a count": lambda: RetryPolicy(max_retries=True),
    "another backoff": lambda: RetryPolicy(backoff=1_000),
    "no backoff": lambda: RetryPolicy(backoff=None),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_out_of_bounds_is_refused(case) -> None:
    with pytest.raises(InvalidInputError) as raised:
        BAD[case]()
    assert raised.value.code == "invalid_input"


@pytest.mark.parametrize("count", [0, 10_000])
def test_the_bounds_themselves_are_allowed(count) -> None:
    assert RetryPolicy(max_retries=count).max_retries == count
    Fixed(0)
    Fixed(DELAY_MS_MAX)
    Exponential(0, 1, 0, 0)
    Exponential(DELAY_MS_MAX, 1_000, DELAY_MS_MAX, 1)


policies = st.builds(
    RetryPolicy,
    counts,
    st.builds(Fixed, delays)
    | st.builds(Exponential, delays, multipliers, delays, st.floats(0, 1)),
)


@given(policies)
def test_a_policy_comes_back_from_its_json(policy) -> None:
    adapter = TypeAdapter(RetryPolicy)
    assert adapter.validate_json(adapter.dump_json(policy)) == policy


@pytest.mark.parametrize(
    "text",
    [
        '{"max_retries":3,"backoff":{"delay_ms":1,"initial_ms":1}}',
        '{"max_retries":3,"backoff":{"pause_ms":1}}',
        '{"max_retries":3,"backoff":{"delay_ms":1},"attempts":1}',
    ],
)
def test_a_policy_with_other_fields_is_not_read(text) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(RetryPolicy).validate_json(text)


MESSAGES = {
    "a negative delay": "delay_ms must be",
    "a negative first delay": "initial_ms must be",
    "a cap over a year": "max_ms must be",
    "a shrinking multiplier": (
        "multiplier must be a number from 1 to 1000.0; got float 0.99"
    ),
    "text for a multiplier": "multiplier must be a number from 1 to 1000.0; got str",
    "negative jitter": "jitter must be a number from 0 to 1; got float -0.1",
    "a negative count": "max_retries must be",
    "another backoff": "backoff must be Exponential or Fixed; got int",
}


@pytest.mark.parametrize("case", MESSAGES)
def test_what_is_out_of_bounds_is_named_with_its_rule(case) -> None:
    with pytest.raises(InvalidInputError) as raised:
        BAD[case]()
    assert str(raised.value).startswith(MESSAGES[case])


def test_whole_numbers_become_floats() -> None:
    backoff = Exponential(multiplier=3, jitter=1)
    assert [type(it) for it in (backoff.multiplier, backoff.jitter)] == [float, float]
