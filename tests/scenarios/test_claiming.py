"""The scenarios that pin the claim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable

    Rows = list[dict[str, Any]]


def test_claim_happy_path(
    ledger: leasehold.Ledger,
    backend: leasehold.BackendTag,
    core: Callable[..., Any],
    sql: Callable[..., Rows],
) -> None:
    execution_id = ledger.create_execution(payload=b"work")

    handle = ledger.claim(worker_id="w1")

    assert handle is not None
    assert handle.backend is backend
    assert handle.kind is leasehold.HandleKind.FRESH
    assert handle.execution_id == execution_id
    row = core(execution_id)
    assert row["lifecycle_phase"] == "active"
    assert row["public_state"] == "running"
    assert sql("SELECT attempt_index, outcome, worker_id FROM attempt") == [
        {"attempt_index": 0, "outcome": None, "worker_id": "w1"}
    ]


def test_claim_nothing_eligible(
    ledger: leasehold.Ledger, event_count: Callable[[], int]
) -> None:
    assert ledger.claim(worker_id="w1") is None
    assert event_count() == 0


def test_claim_capability_missing(
    ledger: leasehold.Ledger, core: Callable[..., Any], sql: Callable[..., Rows]
) -> None:
    execution_id = ledger.create_execution(capabilities=("gpu",))

    assert ledger.claim(capabilities=("cpu",), worker_id="w1") is None

    assert core(execution_id)["lifecycle_phase"] == "runnable"
    assert sql("SELECT * FROM attempt") == []


def test_claim_walks_past_a_higher_priority_execution_that_it_cannot_serve(
    ledger: leasehold.Ledger, core: Callable[..., Any]
) -> None:
    above = ledger.create_execution(capabilities=("gpu",), priority=100)
    below = ledger.create_execution(capabilities=("cpu",), priority=1)

    handle = ledger.claim(capabilities=("cpu",), worker_id="w1")

    assert handle is not None
    assert handle.execution_id == below
    assert core(below)["lifecycle_phase"] == "active"
    assert core(above)["lifecycle_phase"] == "runnable"


def test_claim_walks_past_forty_executions_that_it_cannot_serve(
    ledger: leasehold.Ledger, sql: Callable[..., Rows]
) -> None:
    for number in range(40):
        ledger.create_execution(capabilities=(f"tool-{number}",), priority=10)
    servable = ledger.create_execution(capabilities=("cpu",))

    handle = ledger.claim(capabilities=("cpu",), worker_id="w1")

    assert handle is not None
    assert handle.execution_id == servable
    assert sql(
        "SELECT lifecycle_phase, count(*) AS n FROM exec_core"
        " GROUP BY lifecycle_phase ORDER BY lifecycle_phase"
    ) == [
        {"lifecycle_phase": "active", "n": 1},
        {"lifecycle_phase": "runnable", "n": 40},
    ]


def test_claim_then_complete(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    lease_story: Callable[..., list[tuple[str, str]]],
) -> None:
    handle = start()
    ledger.complete(handle)
    assert lease_story(handle.execution_id) == [
        ("acquired", "claim"),
        ("revoked", "completed"),
    ]
