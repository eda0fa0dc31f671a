"""Bundles that are taken in while somebody else is about to write."""

import io

import pytest
from bundle_lines import exported
from reading_all import bare_log

import leasehold
from leasehold.adapters.bundle_calls import BundleCommands


@pytest.fixture
def before_the_lock(monkeypatch):
    """Let something happen after a store was looked at and before it is locked."""

    def happen(call):
        look = BundleCommands._is_empty

        def looked_at(commands):
            found = look(commands)
            call()
            return found

        monkeypatch.setattr(BundleCommands, "_is_empty", looked_at)

    return happen


def test_in_a_store_that_was_empty_just_now_events_come_at_the_end(
    shared, another, another_url, before_the_lock
) -> None:
    bundle, first = exported(shared), []

    def write() -> None:
        with leasehold.open(another_url, durability="normal") as ledger:
            first.append(ledger.create_execution())

    before_the_lock(write)
    another.import_bundle(io.BytesIO(bundle))
    assert another.read.events()[0].event.execution_id == first[0]
    count = len(bare_log(shared))
    assert [row[0] for row in bare_log(another)] == [*range(1, count + 2)]
    assert another.verify().faults == ()


def test_what_was_created_just_now_is_a_conflict(
    shared, another, another_url, before_the_lock
) -> None:
    bundle = exported(shared)
    known = shared.read.executions()[0].execution_id

    def write() -> None:
        with leasehold.open(another_url, durability="normal") as ledger:
            ledger.create_execution(execution_id=known, lane_id="first")

    before_the_lock(write)
    with pytest.raises(leasehold.ConflictError, match=str(known)):
        another.import_bundle(io.BytesIO(bundle))
    assert len(another.read.events()) == 1
    assert another.verify().faults == ()
