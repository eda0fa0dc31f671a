"""The scenarios that pin complete and fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable


def test_complete(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    core: Callable[..., Any],
    attempt_row: Callable[..., Any],
) -> None:
    handle = start()

    assert ledger.complete(handle, b"answer") is None

    row = core(handle.execution_id)
    assert row["lifecycle_phase"] == "terminal"
    assert row["ownership_state"] == "unowned"
    assert row["result"] == b"answer"
    attempt = attempt_row(handle.execution_id)
    assert attempt["outcome"] == "success"
    assert attempt["lease_expires_at_ms"] is None


def test_complete_fence_mismatch(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    mismatched: Callable[..., leasehold.Handle],
    core: Callable[..., Any],
) -> None:
    handle = start()

    with pytest.raises(leasehold.LeaseConflictError):
        ledger.complete(mismatched(handle), b"stolen")
    assert core(handle.execution_id)["lifecycle_phase"] == "active"

    ledger.complete(handle, b"mine")
    row = core(handle.execution_id)
    assert row["lifecycle_phase"] == "terminal"
    assert row["result"] == b"mine"


def test_complete_with_a_handle_tagged_valkey(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    core: Callable[..., Any],
) -> None:
    handle = start()

    with pytest.raises(leasehold.InvalidInputError, match=r"(?i)valkey") as refused:
        ledger.complete(handle.replace(backend=leasehold.BackendTag.VALKEY))

    assert refused.value.code == "handle_from_other_backend"
    assert core(handle.execution_id)["lifecycle_phase"] == "active"


def test_fail_transient(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    core: Callable[..., Any],
    attempt_row: Callable[..., Any],
) -> None:
    handle = start()

    outcome = ledger.fail(handle, "flaky", leasehold.FailureClass.TRANSIENT)

    assert isinstance(outcome, leasehold.RetryScheduled)
    row = core(handle.execution_id)
    assert row["lifecycle_phase"] == "runnable"
    assert row["attempt_index"] == 1
    assert attempt_row(handle.execution_id, 0)["outcome"] == "retry"


def test_fail_permanent(
    ledger: leasehold.Ledger,
    start: Callable[..., leasehold.Handle],
    core: Callable[..., Any],
    attempt_row: Callable[..., Any],
) -> None:
    handle = start()

    outcome = ledger.fail(handle, "broken", leasehold.FailureClass.PERMANENT)

    assert isinstance(outcome, leasehold.TerminalFailed)
    assert core(handle.execution_id)["lifecycle_phase"] == "terminal"
    assert attempt_row(handle.execution_id, 0)["outcome"] == "failed"
