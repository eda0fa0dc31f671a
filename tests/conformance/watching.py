"""A worker that takes what is there, and a ledger that is watched by audits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from planting import Holder

if TYPE_CHECKING:
    from collections.abc import Callable

    import leasehold

LANE = "audited"
TTL_MS = 1_000


def take(
    ledger: leasehold.Ledger,
    worker: str = "first",
    *,
    instance: str | None = None,
    new: bool = True,
    **options: Any,
) -> Holder:
    """Let a worker create an execution and claim it, or claim one that is free."""
    if new:
        ledger.create_execution(lane_id=LANE, **options)
    handle = ledger.claim(
        LANE, worker_id=worker, worker_instance_id=instance, lease_ttl_ms=TTL_MS
    )
    assert handle is not None
    return Holder(handle, worker, instance)


def taken_over(ledger: leasehold.Ledger, clock: Callable[..., int]) -> Holder:
    """Let a second worker take over, rightly."""
    clock.advance(TTL_MS)
    second = take(ledger, "second", new=False)
    assert second.handle.lease_epoch == 2
    return second


def shown_time(at_ms: int) -> str:
    """Return a time as a finding shows it."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{at_ms % 1000:03d}Z"


class Watched:
    """A ledger, and what an audit finds in it that it did not find before."""

    def __init__(self, ledger: leasehold.Ledger) -> None:
        self.ledger = ledger
        report = ledger.audit()
        self._known = {
            (it.check, it.execution_id, it.position) for it in report.findings
        }

    def found(self, **options: Any) -> list[leasehold.AuditFinding]:
        """Return what is new."""
        report = self.ledger.audit(**options)
        return [
            it
            for it in report.findings
            if (it.check, it.execution_id, it.position) not in self._known
        ]

    def found_at(self, **options: Any) -> list[tuple[Any, int | None]]:
        """Return the check and the position of what is new."""
        return [(it.check, it.position) for it in self.found(**options)]
