"""Losing a lease in a test: letting it run out, and what a worker leaves that dies.

The ledger is imported for types only: pytest loads this wherever it is installed.
"""

from typing import TYPE_CHECKING
from uuid import UUID

from leasehold.adapters.testing.manual_clock import ManualClock
from leasehold.domain import limits
from leasehold.domain.states import TenureEnd

if TYPE_CHECKING:
    from leasehold.adapters.ledger import Ledger
    from leasehold.adapters.rows import TenureRow
    from leasehold.domain.handles import Handle


class Expire:
    """Lets a lease run out: `expire(handle)`, or `expire(execution_id)`."""

    def __init__(self, ledger: "Ledger", clock: ManualClock) -> None:
        """Work on a ledger that was opened with the clock."""
        self._ledger = ledger
        self._clock = clock

    def __call__(self, lease: "Handle | UUID") -> int:
        """Move the clock to the first moment at which the lease has run out.

        Also where it was renewed since the handle was issued, or is being renewed by
        another thread. Nobody has recorded the expiry then. A lease that has run out
        already is left as it is. Other leases may run out on the way.

        Args:
            lease: Its handle; or the execution, whose last lease it is.

        Returns:
            Now, in ms since the Unix epoch.

        Raises:
            AssertionError: The lease ended in another way, or the ledger knows none
                such, or does not run on the clock.
        """
        now_ms = self._clock.now_ms()
        while (tenure := self._tenure(lease)).ended_at_ms is None:
            if tenure.expires_at_ms <= now_ms:
                message = "the ledger was opened with another clock than this one"
                raise AssertionError(message)
            left_ms = tenure.expires_at_ms - self._clock.now_ms()
            now_ms = self._clock.advance(max(0, left_ms))
            self._wait_for_writers(tenure.execution_id)
        if tenure.ended_by is not TenureEnd.EXPIRED:
            message = (
                f"the lease of {tenure.worker_id} on execution {tenure.execution_id} "
                f"cannot run out: it ended before that, by {tenure.ended_by}"
            )
            raise AssertionError(message)
        return now_ms

    def _wait_for_writers(self, execution_id: UUID) -> None:
        """Wait for calls of other threads that read the clock before it was moved."""
        store = self._ledger._store  # noqa: SLF001 - writing nothing is no operation
        with store.write() as session:
            session.load(str(execution_id))

    def _tenure(self, lease: "Handle | UUID") -> "TenureRow":
        execution_id = lease if isinstance(lease, UUID) else lease.execution_id
        rows = self._ledger.read.tenures(execution_id, limit=limits.LIMIT_MAX)
        for row in reversed(rows):
            if isinstance(lease, UUID) or row.lease_id == lease.lease_id:
                return row
        message = (
            f"the ledger of this test knows no such lease on execution {execution_id}"
        )
        raise AssertionError(message)


class Crash:
    """Leaves what a dying worker leaves: `crash(handle)`, or `crash(execution_id)`."""

    def __init__(self, ledger: "Ledger", expire: Expire) -> None:
        """Work on a ledger."""
        self._ledger = ledger
        self._expire = expire

    def __call__(self, lease: "Handle | UUID") -> None:
        """Let the lease run out, and record that as somebody's sweep would.

        What the worker has written stays; from now on all that presents the handle
        is refused, and a claim takes the execution over. A sweep records also what
        else has come due until then.

        Args:
            lease: Its handle; or the execution, whose last lease it is.

        Raises:
            AssertionError: As for `Expire`.
        """
        self._expire(lease)
        self._ledger.sweep(limit=limits.LIMIT_MAX)
