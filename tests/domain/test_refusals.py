"""Refused writes: which are recorded, and under which cause."""

import pytest

from leasehold.domain.errors import (
    ExecutionNotActiveError,
    InvalidGrantError,
    LeaseConflictError,
    LeaseExpiredError,
    LeaseRevokedError,
)
from leasehold.domain.refusals import RECORDED_ERRORS, cause_of, is_recorded

NOT_ACTIVE = ExecutionNotActiveError(
    "over", lifecycle_phase="terminal", public_state="completed"
)
CAUSES = {
    "lease_conflict": LeaseConflictError("other"),
    "lease_expired": LeaseExpiredError("late"),
    "lease_revoked": LeaseRevokedError("taken"),
    "execution_not_active": NOT_ACTIVE,
}


def test_every_second_power_of_refusals_is_recorded() -> None:
    recorded = [count for count in range(1, 1_100) if is_recorded(count)]
    assert recorded == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]


@pytest.mark.parametrize("cause", CAUSES)
def test_a_refusal_is_recorded_under_the_code_of_its_error(cause) -> None:
    assert cause_of(CAUSES[cause]) == cause
    assert isinstance(CAUSES[cause], RECORDED_ERRORS)


def test_four_errors_are_recorded_and_a_bad_grant_is_not() -> None:
    assert {error.code for error in RECORDED_ERRORS} == set(CAUSES)
    assert not isinstance(InvalidGrantError("used"), RECORDED_ERRORS)
