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
    from leasehold.adapters.auditing import AuditReport
    from leasehold.adapters.bundles import BundleHeader, BundleSummary
    from leasehold.adapters.checkpoints import Checkpoint
    from leasehold.adapters.claiming import SweepReport
    from leasehold.adapters.differing import RowDifference
    from leasehold.adapters.following import Subscription
    from leasehold.adapters.frame_calls import AppendFrameOutcome
    from leasehold.adapters.holding.awaiting import AsyncHeldLease
    from leasehold.adapters.holding.held import HeldLease
    from leasehold.adapters.holding.keeping import RenewOn
    from leasehold.adapters.ledger import Ledger
    from leasehold.adapters.metering import Metrics, Timing
    from leasehold.adapters.opening import open_ledger as open  # noqa: A004
    from leasehold.adapters.projecting import Projection, RunningProjection
    from leasehold.adapters.reader import Reader
    from leasehold.adapters.rows import (
        AttemptRow,
        ExecutionRow,
        ExpiredLeaseRow,
        FrameRow,
        LeaseEventRow,
        OrphanRow,
        SummaryRow,
        TenureRow,
        WaitingRow,
    )
    from leasehold.adapters.verifying import FaultKind, VerifyFault, VerifyReport
    from leasehold.adapters.worker.contexts import (
        AsyncWorkContext,
        LastFailure,
        WorkContext,
    )
    from leasehold.adapters.worker.terms import RunIn
    from leasehold.adapters.worker.worker import Worker
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
    from leasehold.domain.figures import (
        AuditFigures,
        LaneFigures,
        Spread,
        WorkerFigures,
    )
    from leasehold.domain.findings import AuditCheck, AuditFinding, Severity
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
        TenureEnd,
        TenureOrigin,
        TerminalCause,
    )

__all__ = [
    "AppendFrameOutcome",
    "AsyncHeldLease",
    "AsyncWorkContext",
    "AttemptRow",
    "AttemptState",
    "AuditCheck",
    "AuditFigures",
    "AuditFinding",
    "AuditReport",
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
    "HeldLease",
    "IllegalTransitionError",
    "InvalidGrantError",
    "InvalidInputError",
    "LaneFigures",
    "LastFailure",
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
    "Metrics",
    "NotFoundError",
    "OrphanRow",
    "Outcome",
    "OwnershipState",
    "Projection",
    "PublicState",
    "Reader",
    "RecordedEvent",
    "RenewOn",
    "ResumeGrant",
    "RetryPolicy",
    "RetryScheduled",
    "RowDifference",
    "RunIn",
    "RunningProjection",
    "Severity",
    "Spread",
    "StoreError",
    "Subscription",
    "Summary",
    "SummaryRow",
    "SweepReport",
    "TenureEnd",
    "TenureOrigin",
    "TenureRow",
    "TerminalCause",
    "TerminalFailed",
    "Timing",
    "VerifyFault",
    "VerifyReport",
    "WaitingRow",
    "WorkContext",
    "Worker",
    "WorkerFigures",
    "open",
]

_MODULES = {
    "adapters.auditing": ("AuditReport",),
    "adapters.following": ("Subscription",),
    "adapters.projecting": (
        "Projection",
        "RunningProjection",
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
    "adapters.holding.awaiting": ("AsyncHeldLease",),
    "adapters.holding.held": ("HeldLease",),
    "adapters.holding.keeping": ("RenewOn",),
    "adapters.ledger": ("Ledger",),
    "adapters.metering": ("Metrics", "Timing"),
    "adapters.opening": ("open",),
    "adapters.reader": ("Reader",),
    "adapters.rows": (
        "AttemptRow",
        "ExecutionRow",
        "ExpiredLeaseRow",
        "FrameRow",
        "LeaseEventRow",
        "OrphanRow",
        "SummaryRow",
        "TenureRow",
        "WaitingRow",
    ),
    "adapters.worker.contexts": ("AsyncWorkContext", "LastFailure", "WorkContext"),
    "adapters.worker.terms": ("RunIn",),
    "adapters.worker.worker": ("Worker",),
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
    "domain.figures": (
        "AuditFigures",
        "LaneFigures",
        "Spread",
        "WorkerFigures",
    ),
    "domain.findings": ("AuditCheck", "AuditFinding", "Severity"),
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
        "TenureEnd",
        "TenureOrigin",
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
