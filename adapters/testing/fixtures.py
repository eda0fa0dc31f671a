"""The fixtures of the pytest plugin."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pytest

from leasehold.adapters.testing.expecting import AssertTenures
from leasehold.adapters.testing.losing import Crash, Expire
from leasehold.adapters.testing.manual_clock import ManualClock

if TYPE_CHECKING:
    from leasehold.adapters.ledger import Ledger

URL_OPTION: Final = "leasehold_url"
_FOLDER: Final = "{tmp_path}"
_URL: Final = f"sqlite:///{_FOLDER}/leasehold.db"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the configuration file."""
    told = (
        "where the fixture `ledger` of leasehold keeps its store: sqlite:// for one "
        f"in memory; {_FOLDER} stands for the folder of the test"
    )
    parser.addini(URL_OPTION, told, default=_URL)


@pytest.fixture
def clock() -> ManualClock:
    """Give a clock that only the test moves."""
    return ManualClock()


@pytest.fixture
def ledger_url(request: pytest.FixtureRequest) -> str:
    """Name the store of `ledger`: a file in the folder of the test, if not configured.

    Override or parametrise it to test on another one.
    """
    url = str(request.config.getini(URL_OPTION))
    if _FOLDER in url:
        url = url.replace(_FOLDER, str(request.getfixturevalue("tmp_path")))
    return url


@pytest.fixture
def ledger(ledger_url: str, clock: ManualClock) -> "Iterator[Ledger]":
    """Open a ledger of the test's own, on the clock that the test moves.

    No test loses power, so the disk is not waited for.
    """
    from leasehold.adapters.opening import open_ledger  # noqa: PLC0415 - when wanted

    with open_ledger(ledger_url, clock=clock, durability="normal") as opened:
        yield opened


@pytest.fixture
def expire(ledger: "Ledger", clock: ManualClock) -> Expire:
    """Let the lease of a handle run out: `expire(handle)`."""
    return Expire(ledger, clock)


@pytest.fixture
def crash(ledger: "Ledger", expire: Expire) -> Crash:
    """Leave what a worker leaves that dies: `crash(handle)`."""
    return Crash(ledger, expire)


@pytest.fixture
def assert_tenures(ledger: "Ledger") -> AssertTenures:
    """Compare tenures with those expected: `assert_tenures(execution_id, […])`."""
    return AssertTenures(ledger)
