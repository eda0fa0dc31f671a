"""Giving back a lease whose handle reached nobody."""

from collections.abc import Iterable
from typing import Final

from leasehold.adapters.commands import load_existing
from leasehold.adapters.ledger import Ledger
from leasehold.adapters.metering import Call
from leasehold.adapters.recording import record
from leasehold.adapters.store import WriteSession
from leasehold.domain import transitions
from leasehold.domain.errors import ContentionError
from leasehold.domain.guard import check_guard
from leasehold.domain.handles import Handle, check_handle

REASON: Final = "the claim was cancelled, and its handle reached nobody"


def give_back(ledger: Ledger, claimed: Handle | None) -> None:
    """Revoke the lease that a claim came to, so that the next claim can take over.

    Behind the guard: a lease that is lost already stays as it is, and so does the one
    of somebody else. It costs the execution no retry.

    Raises:
        LeaseholdError: The store could not do it; the lease will run out.
    """
    if claimed is not None:
        give_all_back(ledger, [claimed])


def give_all_back(ledger: Ledger, claimed: Iterable[Handle]) -> None:
    """Revoke the leases that a claim of several came to, each by itself.

    Raises:
        LeaseholdError: The store could not do it; those that are left will run out.
    """
    for handle in claimed:
        _revoke(ledger, handle)


def _revoke(ledger: Ledger, handle: Handle) -> None:
    store, meter = ledger._store, ledger._meter  # noqa: SLF001 - no operation of its own
    lease = check_handle(handle, store.backend)

    def revoke(session: WriteSession) -> None:
        loaded = load_existing(session, lease.execution_id)
        attempt = loaded.current_attempt()
        clock_at_ms = session.now_ms()
        now_ms = loaded.now_ms(clock_at_ms)
        try:
            check_guard(loaded.execution, attempt, lease, now_ms=now_ms)
        except ContentionError:
            return
        revoked = transitions.revoke(
            loaded.execution,
            attempt,
            actor=attempt.worker_id,
            reason=REASON,
            now_ms=now_ms,
        )
        record(session, loaded, (revoked,), clock_at_ms=clock_at_ms)

    with Call(meter, "revoke_lease", lease.execution_id) as call:
        store.transact(call, revoke)
