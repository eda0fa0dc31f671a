"""Testing what is built on the ledger, without sleeping: a plugin of pytest.

It is loaded by every pytest that runs where the library is installed, and does nothing
until a test asks for one of its fixtures: `ledger`, `ledger_url`, `clock`, `expire`,
`crash`, `assert_tenures`. The page docs/testing.md shows them at work.
"""

from leasehold.adapters.testing.expecting import AssertTenures, Expected
from leasehold.adapters.testing.fixtures import (
    assert_tenures,
    clock,
    crash,
    expire,
    ledger,
    ledger_url,
    pytest_addoption,
)
from leasehold.adapters.testing.losing import Crash, Expire
from leasehold.adapters.testing.manual_clock import ManualClock

__all__ = [
    "AssertTenures",
    "Crash",
    "Expected",
    "Expire",
    "ManualClock",
    "assert_tenures",
    "clock",
    "crash",
    "expire",
    "ledger",
    "ledger_url",
    "pytest_addoption",
]
