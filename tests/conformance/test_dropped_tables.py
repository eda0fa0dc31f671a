"""Projected tables that somebody dropped: they are there again after an opening."""

import pytest
from damaging import rows_of
from reading_all import bare_log, tables

import leasehold
from leasehold.projections.registry import KEYS

DROPPED = ["exec_core", *KEYS]


@pytest.fixture
def drop(shared_url, outsider):
    """Drop a table or a view, with all that was made of it."""
    suffix = " CASCADE" if shared_url.startswith("postgres") else ""

    def dropped(name):
        if name in KEYS and not suffix:
            # SQLite keeps a view of what is gone, and complains of it later.
            outsider.execute("DROP VIEW IF EXISTS exec_core")
        kind = "TABLE" if name in KEYS else "VIEW"
        outsider.execute(f"DROP {kind} {name}{suffix}")

    return dropped


@pytest.fixture
def before(shared):
    """Tell what there is, and close the ledger."""
    there = tables(shared), bare_log(shared)
    shared.close()
    return there


@pytest.mark.parametrize("name", DROPPED)
def test_what_was_dropped_is_made_again_from_the_events(
    name, before, drop, shared_url, clock
) -> None:
    drop(name)
    with leasehold.open(shared_url, clock=clock) as ledger:
        assert (tables(ledger), bare_log(ledger)) == before
        assert ledger.verify().faults == ()
        assert ledger.rebuild() == []
        one = ledger.create_execution(lane_id="goes on")
        ledger.complete(ledger.claim("goes on", worker_id="w"), b"done")
        assert ledger.read.execution(one).result == b"done"


def test_all_of_them_are_made_again(before, drop, shared_url, clock) -> None:
    for name in KEYS:
        drop(name)
    with leasehold.open(shared_url, clock=clock) as ledger:
        assert (tables(ledger), bare_log(ledger)) == before


def test_who_may_not_write_is_told_who_can(before, drop, shared_url, outsider) -> None:
    drop("summary")
    with pytest.raises(leasehold.StoreError, match="without read_only") as refused:
        leasehold.open(shared_url, read_only=True)
    assert refused.value.code == "schema_version"
    left = outsider.execute("SELECT count(*) AS n FROM stored_events")[0]["n"]
    assert left == len(before[1])
    assert rows_of(outsider, "attempt")


def test_an_index_that_is_gone_is_no_reason_to_rebuild(
    before, shared_url, outsider
) -> None:
    outsider.execute("DROP INDEX exec_state_listed")
    outsider.execute("UPDATE exec_state SET priority = 77")
    with leasehold.open(shared_url, read_only=True) as ledger:
        assert {it.priority for it in ledger.read.executions()} == {77}
    with leasehold.open(shared_url) as ledger:
        assert {it.priority for it in ledger.read.executions()} == {77}
