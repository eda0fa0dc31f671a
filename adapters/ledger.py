"""The ledger: all its operations together, over one store."""

from types import TracebackType
from typing import Self

from leasehold.adapters.auditing import AuditReport
from leasehold.adapters.bundle_calls import BundleCommands
from leasehold.adapters.claiming import ClaimCommands
from leasehold.adapters.commands import Draws
from leasehold.adapters.follow_calls import FollowCommands
from leasehold.adapters.holding.hold_calls import HoldCommands
from leasehold.adapters.holding.renewing import Keeper
from leasehold.adapters.metric_calls import MetricCommands
from leasehold.adapters.operator_calls import OperatorCommands
from leasehold.adapters.reader import Reader
from leasehold.adapters.replay_calls import ReplayCommands
from leasehold.adapters.replaying import MakePrivate
from leasehold.adapters.store import Store
from leasehold.adapters.submission import SubmissionCommands
from leasehold.adapters.walking import Progress


class Ledger(
    SubmissionCommands,
    ClaimCommands,
    HoldCommands,
    OperatorCommands,
    ReplayCommands,
    BundleCommands,
    FollowCommands,
    MetricCommands,
):
    """The ledger of durable executions; open one with `leasehold.open`.

    Each operation is one transaction that loads, decides, appends and projects. A
    ledger may be used from many threads, and any number of processes may open the
    same store. It is a context manager that closes itself.

    Attributes:
        read: What can be asked of the ledger.
    """

    def __init__(
        self,
        store: Store,
        draws: Draws | None = None,
        make_private: MakePrivate | None = None,
    ) -> None:
        """Work on a store that is open.

        Args:
            store: The store.
            draws: Where ids come from.
            make_private: Makes empty stores in memory, for `as_of`.
        """
        super().__init__(store, draws, make_private)
        self.read = Reader(store)
        self._keeper = Keeper()

    def audit(
        self,
        since_ms: int | None = None,
        rows: bool = True,  # noqa: FBT001, FBT002 - as the contract has it
        *,
        progress: Progress | None = None,
    ) -> AuditReport:
        """Audit all leases from the events; see `Reader.audit`."""
        return self.read.audit(since_ms, rows, progress=progress)

    def close(self) -> None:
        """Give the store's connections back; a second call does nothing.

        Leases that are held by a block are lost to it.
        """
        self._keeper.close()
        self._store.close()

    def __enter__(self) -> Self:
        """Return the ledger itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the ledger."""
        self.close()
