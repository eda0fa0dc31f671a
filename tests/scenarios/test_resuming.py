"""The scenarios that pin resume grants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable


def test_resume_grant_after_expiry(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    clock: Any,
    sql: Callable[..., Any],
    lease_story: Callable[..., list[tuple[str, str]]],
) -> None:
    handle = start(ttl=1_000)
    clock.advance(1_000)
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w2")

    resumed = ledger.claim_from_resume_grant(grant, worker_id="w2")

    assert resumed is not None
    assert resumed.kind is leasehold.HandleKind.RESUMED
    assert resumed.lease_epoch == 2
    assert resumed.attempt_index == 0
    assert sql("SELECT attempt_index, lease_epoch, worker_id FROM attempt") == [
        {"attempt_index": 0, "lease_epoch": 2, "worker_id": "w2"}
    ]
    assert lease_story(handle.execution_id) == [
        ("acquired", "claim"),
        ("reclaimed", "resume_grant"),
    ]


def test_resume_grant_under_a_live_lease(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    snapshot: Callable[[], Any],
) -> None:
    handle = start()
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w2")
    before = snapshot()

    assert ledger.claim_from_resume_grant(grant, worker_id="w2") is None

    assert snapshot() == before
    ledger.complete(handle)
