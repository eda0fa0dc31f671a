"""Tenures held against the rows of `lease_event`, worked out here without any SQL."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import leasehold

ACQUIRED = ("acquired", "reclaimed")
PAGE = 100


def assert_tenures_are_right(read: leasehold.Reader, now_ms: int) -> int:
    """Check every tenure of a ledger whose clock stands at `now_ms`; count them."""
    rows: list[leasehold.TenureRow] = []
    while page := read.tenures(limit=PAGE, after=rows[-1].event_id if rows else None):
        rows += page
    events = read.lease_events(limit=1_000_000)
    told = defaultdict(list)
    for event in events:
        told[event.execution_id].append(event)
    expected = [
        tenure
        for of_one in told.values()
        for tenure in worked_out(of_one, now_ms=now_ms)
    ]
    expected.sort(key=lambda tenure: tenure["event_id"])
    assert [plain(row) for row in rows] == expected
    held = defaultdict(list)
    for row in rows:
        held[row.execution_id].append(row)
        attempt = read.attempt(row.execution_id, row.attempt_index)
        assert attempt is not None
        if attempt.lease_epoch == row.lease_epoch:
            assert attempt.lease_id == row.lease_id
    for execution_id, tenures in held.items():
        assert read.tenures(execution_id) == tenures
        assert_disjoint(tenures)
    return len(rows)


def assert_disjoint(tenures: list[leasehold.TenureRow]) -> None:
    """Check that epochs rise by one from 1 and that no tenure begins in another."""
    assert [row.lease_epoch for row in tenures] == [*range(1, len(tenures) + 1)]
    for row, after in pairwise(tenures):
        assert row.ended_at_ms is not None
        assert row.acquired_at_ms <= row.ended_at_ms <= after.acquired_at_ms
        assert row.event_id < after.event_id
        assert row.attempt_index <= after.attempt_index
        if str(after.acquired_by) == "claim":
            assert row.orphaned_ms is None
        else:
            assert str(row.ended_by) in ("expired", "operator")
            assert row.orphaned_ms == after.acquired_at_ms - row.ended_at_ms


def plain(row: leasehold.TenureRow) -> dict[str, Any]:
    """Return what the rows of `lease_event` tell of."""
    names = [name for name in type(row).__slots__ if name != "lane_id"]
    return {
        name: str(value) if isinstance(value, str) else value
        for name in names
        for value in [getattr(row, name)]
    }


def worked_out(
    events: list[leasehold.LeaseEventRow], *, now_ms: int
) -> list[dict[str, Any]]:
    """Work the tenures of one execution out, event by event."""
    tenures: list[dict[str, Any]] = []
    refusals: dict[Any, int] = defaultdict(int)
    for event in events:
        kind, at_ms = str(event.event_type), event.occurred_at_ms
        last = tenures[-1] if tenures else {}
        if kind in ACQUIRED:
            give_up(last, event)
            tenures.append(begun(event))
        elif kind == "renewed":
            renew(last, event)
        elif kind == "refused":
            refusals[event.lease_id] += 1
        elif last["ended_at_ms"] is None:
            if kind == "expired" or at_ms >= last["expires_at_ms"]:
                end(last, last["expires_at_ms"], "expired")
            else:
                end(last, at_ms, str(event.cause))
    for tenure in tenures:
        tenure["refusals"] = refusals[tenure["lease_id"]]
        if tenure["ended_at_ms"] is None and now_ms >= tenure["expires_at_ms"]:
            end(tenure, tenure["expires_at_ms"], "expired")
    return tenures


def begun(event: leasehold.LeaseEventRow) -> dict[str, Any]:
    """Return a tenure as it begins."""
    origin = "reclaim" if str(event.event_type) == "reclaimed" else "claim"
    if str(event.cause) == "resume_grant":
        origin = "resume_grant"
    return {
        "execution_id": event.execution_id,
        "attempt_index": event.attempt_index,
        "lease_epoch": event.lease_epoch,
        "lease_id": event.lease_id,
        "worker_id": event.worker_id,
        "worker_instance_id": event.worker_instance_id,
        "acquired_at_ms": event.occurred_at_ms,
        "acquired_by": origin,
        "renewals": 0,
        "last_renewed_at_ms": None,
        "max_renewal_gap_ms": None,
        "min_headroom_ms": None,
        "expires_at_ms": event.expires_at_ms,
        "ended_at_ms": None,
        "ended_by": None,
        "orphaned_ms": None,
        "refusals": 0,
        "event_id": event.event_id,
    }


def give_up(tenure: dict[str, Any], event: leasehold.LeaseEventRow) -> None:
    """Note that somebody else acquired the execution."""
    at_ms = event.occurred_at_ms
    if tenure and tenure["ended_at_ms"] is None:
        # Resumed, before anybody had recorded that it ran out.
        assert at_ms >= tenure["expires_at_ms"]
        end(tenure, tenure["expires_at_ms"], "expired")
    if str(event.event_type) == "reclaimed":
        tenure["orphaned_ms"] = at_ms - tenure["ended_at_ms"]


def renew(tenure: dict[str, Any], event: leasehold.LeaseEventRow) -> None:
    """Note a renewal."""
    assert event.lease_id == tenure["lease_id"]
    at_ms = event.occurred_at_ms
    since_ms = tenure["last_renewed_at_ms"] or tenure["acquired_at_ms"]
    gaps = tenure["max_renewal_gap_ms"], at_ms - since_ms
    left = tenure["min_headroom_ms"], tenure["expires_at_ms"] - at_ms
    tenure["max_renewal_gap_ms"] = max(it for it in gaps if it is not None)
    tenure["min_headroom_ms"] = min(it for it in left if it is not None)
    tenure["renewals"] += 1
    tenure["last_renewed_at_ms"] = at_ms
    tenure["expires_at_ms"] = event.expires_at_ms


def end(tenure: dict[str, Any], at_ms: int, how: str) -> None:
    """Note the end of a tenure."""
    tenure["ended_at_ms"], tenure["ended_by"] = at_ms, how
