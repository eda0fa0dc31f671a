"""The ledger of durable executions.

    import leasehold

    with leasehold.open("sqlite:///work.db") as ledger:
        ledger.create_execution(payload=b"...")
        handle = ledger.claim(worker_id="worker-1")

All public names are here, loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leasehold.adapters.bundles import BundleHeader, BundleSummary
    from leasehold.adapters.checkpoints import Checkpoint
    from leasehold.adapters.claiming import SweepReport
    from leasehold.adapters.differing import RowDifference
    from leasehold.adapters.following import Projection, RunningProjection, Subscription
    from leasehold.adapters.frame_calls import AppendFrameOutcome
    from leasehold.adapters.ledger import Ledger
    from leasehold.adapters.opening import open_ledger as open  # noqa: A004
    from leasehold.adapters.reader import Reader
    from leasehold.adapters.rows import (
        AttemptRow,
        ExecutionRow,
        ExpiredLeaseRow,
        FrameRow,
        LeaseEventRow,
        SummaryRow,
    )
    from leasehold.adapters.verifying import FaultKind, VerifyFault, VerifyReport
    from leasehold.adapters.worker_calls import (
        FailureReason,
        LeaseRenewal,
        RetryScheduled,
        TerminalFailed,
    )
    from leasehold.domain.errors import (
        ConflictError,
        ContentionError,
        ExecutionNotActiveError,
        IllegalTransitionError,
        InvalidGrantError,
        InvalidInputError,
        LeaseConflictError,
        LeaseExpiredError,
        LeaseholdError,
        LeaseRevokedError,
        NotFoundError,
        StoreError,
    )
    from leasehold.domain.frames import (
        BestEffort,
        Durable,
        Frame,
        FrameKind,
        FrameMode,
        Summary,
    )
    from leasehold.domain.grants import ResumeGrant
    from leasehold.domain.handles import BackendTag, Handle, HandleKind
    from leasehold.domain.records import RecordedEvent
    from leasehold.domain.retries import Exponential, Fixed, RetryPolicy
    from leasehold.domain.states import (
        AttemptState,
        EligibilityState,
        FailureClass,
        LeaseCause,
        LeaseEventType,
        LifecyclePhase,
        Outcome,
        OwnershipState,
        PublicState,
        TerminalCause,
    )

__all__ = [
    "AppendFrameOutcome",
    "AttemptRow",
    "AttemptState",
    "BackendTag",
    "BestEffort",
    "BundleHeader",
    "BundleSummary",
    "Checkpoint",
    "ConflictError",
    "ContentionError",
    "Durable",
    "EligibilityState",
    "ExecutionNotActiveError",
    "ExecutionRow",
    "ExpiredLeaseRow",
    "Exponential",
    "FailureClass",
    "FailureReason",
    "FaultKind",
    "Fixed",
    "Frame",
    "FrameKind",
    "FrameMode",
    "FrameRow",
    "Handle",
    "HandleKind",
    "IllegalTransitionError",
    "InvalidGrantError",
    "InvalidInputError",
    "LeaseCause",
    "LeaseConflictError",
    "LeaseEventRow",
    "LeaseEventType",
    "LeaseExpiredError",
    "LeaseRenewal",
    "LeaseRevokedError",
    "LeaseholdError",
    "Ledger",
    "LifecyclePhase",
    "NotFoundError",
    "Outcome",
    "OwnershipState",
    "Projection",
    "PublicState",
    "Reader",
    "RecordedEvent",
    "ResumeGrant",
    "RetryPolicy",
    "RetryScheduled",
    "RowDifference",
    "RunningProjection",
    "StoreError",
    "Subscription",
    "Summary",
    "SummaryRow",
    "SweepReport",
    "TerminalCause",
    "TerminalFailed",
    "VerifyFault",
    "VerifyReport",
    "open",
]

_MODULES = {
    "adapters.following": (
        "Projection",
        "RunningProjection",
        "Subscription",
    ),
    "adapters.bundles": (
        "BundleHeader",
        "BundleSummary",
    ),
    "adapters.checkpoints": ("Checkpoint",),
    "adapters.differing": ("RowDifference",),
    "adapters.verifying": (
        "FaultKind",
        "VerifyFault",
        "VerifyReport",
    ),
    "adapters.claiming": ("SweepReport",),
    "adapters.frame_calls": ("AppendFrameOutcome",),
    "adapters.ledger": ("Ledger",),
    "adapters.opening": ("open",),
    "adapters.reader": ("Reader",),
    "adapters.rows": (
        "AttemptRow",
        "ExecutionRow",
        "ExpiredLeaseRow",
        "FrameRow",
        "LeaseEventRow",
        "SummaryRow",
    ),
    "adapters.worker_calls": (
        "FailureReason",
        "LeaseRenewal",
        "RetryScheduled",
        "TerminalFailed",
    ),
    "domain.errors": (
        "ConflictError",
        "ContentionError",
        "ExecutionNotActiveError",
        "IllegalTransitionError",
        "InvalidGrantError",
        "InvalidInputError",
        "LeaseConflictError",
        "LeaseExpiredError",
        "LeaseRevokedError",
        "LeaseholdError",
        "NotFoundError",
        "StoreError",
    ),
    "domain.frames": (
        "BestEffort",
        "Durable",
        "Frame",
        "FrameKind",
        "FrameMode",
        "Summary",
    ),
    "domain.grants": ("ResumeGrant",),
    "domain.handles": ("BackendTag", "Handle", "HandleKind"),
    "domain.records": ("RecordedEvent",),
    "domain.retries": ("Exponential", "Fixed", "RetryPolicy"),
    "domain.states": (
        "AttemptState",
        "EligibilityState",
        "FailureClass",
        "LeaseCause",
        "LeaseEventType",
        "LifecyclePhase",
        "Outcome",
        "OwnershipState",
        "PublicState",
        "TerminalCause",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
_NAMES_THERE = {"open": "open_ledger"}


def __getattr__(name: str) -> object:
    """Load a public name on its first use (PEP 562)."""
    module = _MODULE_OF.get(name)
    if module is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(
        import_module(f"{__name__}.{module}"), _NAMES_THERE.get(name, name)
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
