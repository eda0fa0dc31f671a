"""Many processes create the same things at once: the earlier id, or ConflictError."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from creating_process import BATCH, CONFLICT, NAMES, Answer, an_id
from processes import run_together
from store_checks import assert_log_is_whole, assert_tables_equal_their_replay
from stores import outside

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = Path(__file__).with_name("creating_process.py")
PROCESSES = 6
TIMEOUT_S = 120
EQUAL = ("same_id", "same_key", "batch")
UNEQUAL = ("same_id_otherwise", "same_key_otherwise", "batch_otherwise")
CROSSED = ("own_id_under_one_key", "one_id_under_own_key")
EXECUTIONS = NAMES * (6 + 2 * BATCH)

Answers = dict[str, list[tuple[Answer, ...]]]


@pytest.fixture(scope="module", params=["file", "postgres"])
def url(request: pytest.FixtureRequest, lasting_store: Callable[[str], str]) -> str:
    url = lasting_store(request.param)
    leasehold.open(url).close()
    return url


@pytest.fixture(scope="module")
def answers(url: str) -> Answers:
    """Give, for each case, what all were answered, name by name."""
    arguments = [(url, number) for number in range(PROCESSES)]
    printed = run_together(PROGRAM, arguments, timeout_s=TIMEOUT_S)
    return {
        case: list(zip(*(one[case] for one in printed), strict=True))
        for case in printed[0]
    }


@pytest.mark.parametrize("case", EQUAL)
def test_creators_with_equal_arguments_are_all_given_the_earlier_id(
    answers: Answers, case: str
) -> None:
    for given in answers[case]:
        assert CONFLICT not in given
        assert given == given[:1] * PROCESSES


@pytest.mark.parametrize("case", UNEQUAL)
def test_of_creators_with_unequal_arguments_those_of_the_other_kind_are_refused(
    answers: Answers, case: str
) -> None:
    for given in answers[case]:
        refused = [number for number, it in enumerate(given) if it == CONFLICT]
        assert refused in ([*range(0, PROCESSES, 2)], [*range(1, PROCESSES, 2)])
        assert len({str(it) for it in given if it != CONFLICT}) == 1


@pytest.mark.parametrize("case", CROSSED)
def test_of_creators_who_share_an_id_or_a_key_only_one_creates(
    answers: Answers, case: str
) -> None:
    for given in answers[case]:
        assert len([it for it in given if it != CONFLICT]) == 1


def test_the_answered_id_is_the_one_that_was_given(answers: Answers) -> None:
    for case, given_name in ((1, "same_id"), (2, "same_id_otherwise")):
        for name, given in enumerate(answers[given_name]):
            assert {*given} - {CONFLICT} == {str(an_id(case, name))}


def test_as_many_are_created_as_have_names_and_nothing_is_half_done(
    answers: Answers, url: str
) -> None:
    with outside(url) as query, leasehold.open(url, read_only=True) as ledger:
        assert assert_log_is_whole(query) == EXECUTIONS
        assert ledger.read.counts()["pending"] == EXECUTIONS
        assert_tables_equal_their_replay(ledger)
