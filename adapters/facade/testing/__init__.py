"""Testing what is built on the ledger, without sleeping: a plugin of pytest.

It is loaded by every pytest that runs where the library is installed, and does nothing
until a test asks for one of its fixtures: `ledger`, `ledger_url`, `clock`, `expire`,
`crash`, `assert_tenures`. The page docs/testing.md shows them at work.

`leasehold.testing.conformance` checks lease stores, and needs no pytest: so the names
here are loaded when they are first used, as pytest does with all of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_CLASSES = {
    "AssertTenures": "expecting",
    "Crash": "losing",
    "Expected": "expecting",
    "Expire": "losing",
    "ManualClock": "manual_clock",
}


def __getattr__(name: str) -> object:
    """Load a public name on its first use (PEP 562)."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    module = f"leasehold.adapters.testing.{_CLASSES.get(name, 'fixtures')}"
    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
