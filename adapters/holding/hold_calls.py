"""The operation by which the holder of a lease has it renewed."""

from collections.abc import Mapping

from leasehold.adapters.frame_calls import FrameCommands
from leasehold.adapters.holding.entering import Hold, HoldCalls, check_terms
from leasehold.adapters.holding.failing import check_failure_classes
from leasehold.adapters.holding.held import OnLost
from leasehold.adapters.holding.keeping import RenewOn
from leasehold.adapters.holding.renewing import Keeper
from leasehold.adapters.recording import loaded_of
from leasehold.adapters.worker_calls import WorkerCommands
from leasehold.domain.handles import Handle, check_handle
from leasehold.domain.states import FailureClass


class HoldCommands(WorkerCommands, FrameCommands):
    """Holding a lease for as long as a block runs."""

    _keeper: Keeper

    def hold(  # noqa: PLR0913 - all have defaults
        self,
        handle: Handle,
        *,
        renew_on: RenewOn | str = RenewOn.ALWAYS,
        margin_ms: int | None = None,
        on_lost: OnLost | None = None,
        failure_classes: Mapping[type[BaseException], FailureClass] | None = None,
        sent_at_s: float | None = None,
    ) -> Hold:
        """Hold a lease for a block: renew it in time, and notice when it is lost.

        `with ledger.hold(handle) as lease:` gives a `HeldLease`. The block ends the
        attempt by `lease.complete` or `lease.fail`; left by an exception, the attempt
        is failed for it, and the exception goes on. A lease that was lost is not
        written to, and its error is raised from the exception of the block.
        `async with` (extra `aio`) gives an `AsyncHeldLease` and cancels the body when
        the lease is lost.

        Args:
            handle: The lease.
            renew_on: `always` renews while the block goes on. `progress` renews only
                if the body has reported since the last renewal (`progress`,
                `append_frame` or `beat` of the lease): a body that hangs loses its
                lease, at the latest one and a third of the ttl after its last report.
            margin_ms: How much before the lease runs out it is no longer relied on, 1
                to the ttl − 1; for what clocks differ. None is 1 and a tenth of
                the ttl, at least 10.
            on_lost: Called with the lease when it is lost, once, by a thread of its
                own.
            failure_classes: What an exception fails the attempt with, by its class;
                the nearest class counts. Others: INFRA_CRASH for `MemoryError` and
                for what is no `Exception`, else TRANSIENT.
            sent_at_s: `time.monotonic()` of before the claim was sent. Without it, or
                if a third of the ttl has gone by, the lease is renewed on entering.

        Raises:
            InvalidInputError: An argument breaks its rule; a handle that does not
                decode or of another backend. On entering: the ttl is not longer than
                the margin.
        """
        check_handle(handle, self._store.backend)
        terms = check_terms(
            renew_on=renew_on,
            margin_ms=margin_ms,
            on_lost=on_lost,
            failure_classes=check_failure_classes(failure_classes),
            sent_at_s=sent_at_s,
        )
        calls = HoldCalls(
            lease_calls=self,
            renew_many=self.renew_many,
            lease_ttl_ms=self._lease_ttl_ms,
        )
        return Hold(self._keeper, calls, handle, terms)

    def _lease_ttl_ms(self, handle: Handle) -> int | None:
        lease = handle.lease
        execution_id = str(lease.execution_id)
        with self._store.read(once=True) as session:
            row = session.fetch_one("seen_execution", execution_id=execution_id)
        attempt = None if row is None else loaded_of(row).attempt
        if attempt is None or attempt.lease_id != lease.lease_id:
            return None
        return attempt.lease_ttl_ms
