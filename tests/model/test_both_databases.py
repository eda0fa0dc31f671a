"""The same history in both databases: the same answers, rows and bytes.

Positions are left aside: they may have gaps, and the events of what came due in the
same millisecond may be stored in either order.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from histories import History, seeded_draws
from stores import NewStore, in_a_schema, in_memory
from tenure_checks import assert_tenures_are_right

import leasehold
from leasehold.adapters.guarding import REFUSAL_COUNTS
from leasehold.domain.catalogue import BY_TOPIC
from leasehold.projections.registry import KEYS

if TYPE_CHECKING:
    from ledger_schemas import LedgerSchemas

SEEDS = int(os.environ.get("LEASEHOLD_MODEL_HISTORIES", "10"))
STEPS = 300
EXEC_CORE = "SELECT * FROM exec_core ORDER BY execution_id"
LOG = (
    "SELECT originator_id, originator_version, topic, state, notification_id"
    " FROM stored_events ORDER BY originator_id, originator_version"
)


def made(new_store: NewStore, seed: int) -> dict[str, list[Any]]:
    """Make a history in a store; return all that is to be seen of it."""
    REFUSAL_COUNTS.forget()  # It is kept for the process, and the leases are the same.
    history = History(seed)
    with new_store(history.clock) as store:
        behind: Any = store.ledger._store
        history.make(leasehold.Ledger(behind, seeded_draws(seed)), STEPS)
        log = list(store.query(LOG))
        with behind.read() as session:
            tables = {name: list(session.rows(name)) for name in KEYS}
        core = list(store.query(EXEC_CORE))
        assert assert_tenures_are_right(store.ledger.read, history.now_ms) > 0
        tenures = [asdict(row) for row in store.ledger.read.tenures()]
    places = {row[-1]: row[:2] for row in log}
    for row in tables["lease_event"]:
        row["event_id"] = places[row["event_id"]]
    tables["lease_event"].sort(key=lambda row: row["event_id"])
    for tenure in tenures:
        tenure["event_id"] = places[tenure["event_id"]]
    tables["tenure"] = sorted(tenures, key=lambda row: row["event_id"])
    log = [row[:-1] for row in log]
    return {"answers": history.answers, "log": log, "exec_core": core, **tables}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_history_is_the_same_in_both_databases(
    seed: int, postgres: LedgerSchemas
) -> None:
    in_sqlite = made(in_memory, seed)
    in_postgres = made(lambda clock: in_a_schema(postgres, clock), seed)
    assert in_sqlite.keys() > {"attempt", "summary", "lease_event", "stream_frame"}
    for name, expected in in_sqlite.items():
        assert in_postgres[name] == expected, name


def test_the_histories_have_events_of_every_kind() -> None:
    logs = [made(in_memory, seed)["log"] for seed in range(SEEDS)]
    assert {topic for log in logs for _, _, topic, _ in log} == {*BY_TOPIC}
    assert sum(map(len, logs)) > SEEDS * STEPS / 2
