"""The conformance kit: checks what a lease store must do, on any lease store.

    from leasehold.testing import conformance

    report = conformance.run(open_store)
    assert report.ok, report

`open_store` is a way to open your store (`OpenStore`), or `LedgerStore(url)` for a
ledger. In pytest each of `CHECKS` can be a test of its own; and there is a command:

    python -m leasehold.testing.conformance sqlite:///scratch.db

The page docs/conformance.md tells of the rules and of a store of your own.
"""

from leasehold.adapters.conformance import broken
from leasehold.adapters.conformance.clocks import SleepingClock
from leasehold.adapters.conformance.command import main
from leasehold.adapters.conformance.lease_store import (
    Busy,
    Clock,
    Grant,
    Lease,
    OpenStore,
    Record,
    Refused,
    Session,
    Unknown,
)
from leasehold.adapters.conformance.ledger_store import LedgerStore
from leasehold.adapters.conformance.reference import ReferenceStore
from leasehold.adapters.conformance.running import (
    CHECKS,
    FORCED,
    Report,
    Result,
    Verdict,
    results,
    run,
)
from leasehold.adapters.conformance.trials import Check, ConformanceError, Settings

__all__ = [
    "CHECKS",
    "FORCED",
    "Busy",
    "Check",
    "Clock",
    "ConformanceError",
    "Grant",
    "Lease",
    "LedgerStore",
    "OpenStore",
    "Record",
    "ReferenceStore",
    "Refused",
    "Report",
    "Result",
    "Session",
    "Settings",
    "SleepingClock",
    "Unknown",
    "Verdict",
    "broken",
    "results",
    "run",
]

if __name__ == "__main__":
    raise SystemExit(main())
