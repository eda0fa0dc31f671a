"""What must hold in every store at every time, read as an outsider reads it."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import twins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import leasehold

    Query = Callable[[str], Iterable[Any]]

ZEROS = bytes(32)
FIRST_OF_STATE = len(b'{"sha256":"') + 64 + len(b'",')


def assert_log_is_whole(query: Query) -> int:
    """Check every stream's versions and hash chain; return the number of events."""
    heads: dict[str, tuple[int, bytes]] = defaultdict(lambda: (0, ZEROS))
    count = last_position = 0
    rows = query(
        "SELECT notification_id, originator_id, originator_version, topic, state"
        " FROM stored_events ORDER BY notification_id"
    )
    for position, stream_id, version, topic, stored in rows:
        state = bytes(stored)
        last_version, last_hash = heads[stream_id]
        assert position > last_position
        assert version == last_version + 1, f"{stream_id} jumps to {version}"
        content = b"{" + state[FIRST_OF_STATE:]
        head = f"{stream_id}\0{version}\0{topic}\0".encode()
        digest = hashlib.sha256(last_hash + head + content).digest()
        assert json.loads(state)["sha256"] == digest.hex(), f"{stream_id}@{version}"
        heads[stream_id] = (version, digest)
        last_position, count = position, count + 1
    return count


def assert_epochs_rise_by_one(query: Query) -> None:
    """Check that every acquisition of an execution has the next epoch, from 1."""
    epochs: dict[str, int] = defaultdict(int)
    rows = query(
        "SELECT execution_id, lease_epoch FROM lease_event"
        " WHERE event_type IN ('acquired', 'reclaimed') ORDER BY event_id"
    )
    for execution_id, epoch in rows:
        assert epoch == epochs[execution_id] + 1, f"{execution_id}: epoch {epoch}"
        epochs[execution_id] = epoch


def assert_one_live_lease_each(query: Query) -> None:
    """Check that no execution has two attempts with a lease that runs."""
    twice = query(
        "SELECT execution_id, count(*) FROM attempt"
        " WHERE lease_expires_at_ms IS NOT NULL GROUP BY execution_id"
        " HAVING count(*) > 1"
    )
    assert list(twice) == []


def assert_tables_equal_their_replay(ledger: leasehold.Ledger) -> None:
    """Check that the log gives the rows there are, whoever replays it."""
    store: Any = ledger._store
    with twins.replayed(store) as twin:
        assert twins.differences(store, twin) == []
    with ledger.as_of() as then:
        assert twins.differences(store, then._store) == []
    assert ledger.verify().faults == ()


def assert_tenures_do_not_overlap(query: Query) -> None:
    """Check from `lease_event` alone that an execution was never held twice.

    A tenure runs from its acquisition to the earlier of its recorded end and its
    expiry; the next acquisition must not come before that.
    """
    held_until: dict[str, int] = {}
    rows = query(
        "SELECT execution_id, event_type, expires_at_ms, occurred_at_ms"
        " FROM lease_event WHERE event_type != 'refused' ORDER BY event_id"
    )
    for execution_id, event_type, expires_at_ms, occurred_at_ms in rows:
        until_ms = held_until.get(execution_id, 0)
        if event_type in ("acquired", "reclaimed"):
            assert occurred_at_ms >= until_ms, f"{execution_id} was held twice"
            held_until[execution_id] = expires_at_ms
        elif event_type == "renewed":
            assert occurred_at_ms < until_ms < expires_at_ms, f"{execution_id} renewed"
            held_until[execution_id] = expires_at_ms
        else:
            held_until[execution_id] = min(until_ms, occurred_at_ms)
