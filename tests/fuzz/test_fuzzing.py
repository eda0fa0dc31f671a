"""Whatever comes from outside is taken and serves, or is refused as the contract says.

`LEASEHOLD_FUZZ_EXAMPLES` sets how many inputs each target gets. The same targets are
fuzzed by coverage with `python tests/fuzz/fuzzing.py`.
"""

import io
import os
from dataclasses import replace

import forging
import material
import pytest
from forging import VALUES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import TARGETS, serves

import leasehold

EXAMPLES = int(os.environ.get("LEASEHOLD_FUZZ_EXAMPLES", "0"))
# Without the variable: targets that open a store get fewer.
EXAMPLES_OF_BYTES, EXAMPLES_OF_STORES = 60, 6
WITH_STORES = {"bundle", "forged_bundle", "damaged"}
PIECE_BYTES_MAX = 1_000
PIECES = [value.encode() for value in VALUES if len(value) < PIECE_BYTES_MAX]


@st.composite
def altered(draw, seeds):
    """Give what was good, with some pieces put in the place of others."""
    whole = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, len(whole)))
        end = begin + draw(st.integers(0, 8))
        piece = draw(st.binary(max_size=8) | st.sampled_from(PIECES))
        whole = whole[:begin] + piece + whole[end:]
    return whole


@pytest.mark.parametrize("name", TARGETS)
def test_only_errors_of_the_contract_come_out(name) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    examples = EXAMPLES or (
        EXAMPLES_OF_STORES if name in WITH_STORES else EXAMPLES_OF_BYTES
    )

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(max_size=60) | altered(seeds))
    def holds(data):
        target.run(data)

    holds()


@pytest.mark.parametrize("name", TARGETS)
def test_what_a_target_begins_with_is_good(name) -> None:
    for seed in TARGETS[name].seeds()[:3]:
        TARGETS[name].run(seed)


@pytest.mark.parametrize("percent", ["NaN", "1e999", "-Infinity"])
def test_a_number_that_is_none_is_refused_by_its_line(percent) -> None:
    made = forged("percent", percent)
    with (
        leasehold.open("sqlite://") as ledger,
        pytest.raises(leasehold.InvalidInputError, match=r"line \d+ .*percent"),
    ):
        ledger.import_bundle(io.BytesIO(made))


def test_a_duration_beyond_what_a_float_holds_is_told() -> None:
    made = forged("clock_at_ms", "1" + "0" * 400)
    with leasehold.open("sqlite://") as ledger:
        ledger.import_bundle(io.BytesIO(made))
        serves(ledger)


def forged(name, value):
    """Return the story with another value in each report of progress."""
    header, *lines, _ = material.bundle().splitlines(keepends=True)
    events = [
        replace(event, fields={**event.fields, name: value})
        if event.topic == "attempt.progressed"
        else event
        for event in forging.loosened(lines)
    ]
    return forging.bundle_of(header, events)
