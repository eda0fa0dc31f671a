"""Running the checks, and reporting what they found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from traceback import format_exception
from typing import Final
from unittest import SkipTest

from leasehold.adapters.conformance.chance import (
    concurrent_histories_are_linearizable,
    random_histories_fit_the_model,
)
from leasehold.adapters.conformance.lease_store import OpenStore
from leasehold.adapters.conformance.processes import (
    histories_of_processes_are_linearizable,
)
from leasehold.adapters.conformance.rules import RULES
from leasehold.adapters.conformance.schedules import no_call_slips_past_the_fence
from leasehold.adapters.conformance.trials import (
    DEFAULT,
    Check,
    ConformanceError,
    Settings,
)

FORCED: Final[tuple[Check, ...]] = (
    *RULES,
    no_call_slips_past_the_fence,
    random_histories_fit_the_model,
)
"""The checks that find the same each time."""

CHECKS: Final[tuple[Check, ...]] = (
    *FORCED,
    concurrent_histories_are_linearizable,
    histories_of_processes_are_linearizable,
)
"""All checks."""


class Verdict(StrEnum):
    """What a check came to."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """What one check came to.

    Attributes:
        check: Its name.
        verdict: The verdict.
        told: The calls that cannot be explained, the error that the store raised, or
            why it was skipped; empty where it passed.
    """

    check: str
    verdict: Verdict
    told: str = ""

    def __str__(self) -> str:
        """Show it in a line, and what it tells below."""
        line = f"{self.verdict:<7}  {self.check}"
        indented = [f"    {part}".rstrip() for part in self.told.splitlines()]
        return "\n".join([line, *indented])


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks came to."""

    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that failed."""
        return tuple(one.check for one in self.results if one.verdict is Verdict.FAILED)

    def __str__(self) -> str:
        """Show all results."""
        return "\n".join(map(str, self.results))


def run(
    open_store: OpenStore,
    *,
    settings: Settings = DEFAULT,
    checks: Sequence[Check] = CHECKS,
) -> Report:
    """Check a lease store.

    Args:
        open_store: The way to open it.
        settings: How thoroughly.
        checks: Which checks.
    """
    return Report(tuple(results(open_store, settings=settings, checks=checks)))


def results(
    open_store: OpenStore,
    *,
    settings: Settings = DEFAULT,
    checks: Sequence[Check] = CHECKS,
) -> Iterator[Result]:
    """Check a lease store, and tell of each check when it is done."""
    for check in checks:
        yield _result(check, open_store, settings)


def _result(check: Check, open_store: OpenStore, settings: Settings) -> Result:
    try:
        check(open_store, settings)
    except SkipTest as skipped:
        return Result(check.__name__, Verdict.SKIPPED, str(skipped))
    except ConformanceError as error:
        return Result(check.__name__, Verdict.FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - whatever the store raises is told
        return Result(check.__name__, Verdict.FAILED, "".join(format_exception(error)))
    return Result(check.__name__, Verdict.PASSED)
