"""The limits at the doors of the worker and operator calls."""

import json

import pytest

import leasehold

MIB = 1024 * 1024
TRANSIENT = leasehold.FailureClass.TRANSIENT

CLAIMS = {
    "worker_id": ["", "w" * 129, " w", "w ", "é", "a\x00", b"w", None],
    "worker_instance_id": ["", "w" * 129, " w", "é", b"w"],
    "lease_ttl_ms": [0, -1, 86_400_001, 1.5, "30"],
    "lane_id": ["", "l" * 65, " l", b"l"],
    "capabilities": ["gpu", [""], ["a,b"], ["a b"], [f"c{n}" for n in range(257)]],
}


@pytest.mark.parametrize(
    ("field", "value"), [(f, v) for f, values in CLAIMS.items() for v in values]
)
def test_a_claim_beyond_the_bound_is_refused_by_name(
    field, value, ledger, snapshot
) -> None:
    ledger.create_execution()
    before = snapshot()
    named = "capabilit" if field == "capabilities" else field
    with pytest.raises(leasehold.InvalidInputError, match=named):
        ledger.claim(**{"worker_id": "w", field: value})
    assert snapshot() == before


@pytest.mark.parametrize(
    "arguments",
    [
        {"worker_id": "w" * 128, "worker_instance_id": "i" * 128},
        {"lease_ttl_ms": 1},
        {"lease_ttl_ms": 86_400_000},
        {"capabilities": [f"c{n}" for n in range(256)]},
    ],
)
def test_a_claim_at_the_bound_is_accepted(arguments, ledger) -> None:
    ledger.create_execution()
    assert ledger.claim(**{"worker_id": "w", **arguments}) is not None


WORKER_CALLS = {
    "percent below": ("percent", lambda k, h: k.progress(h, -1)),
    "percent above": ("percent", lambda k, h: k.progress(h, 101)),
    "percent a little above": ("percent", lambda k, h: k.progress(h, 100.001)),
    "percent NaN": ("percent", lambda k, h: k.progress(h, float("nan"))),
    "percent infinite": ("percent", lambda k, h: k.progress(h, float("inf"))),
    "percent text": ("percent", lambda k, h: k.progress(h, "50")),
    "percent truth": ("percent", lambda k, h: k.progress(h, True)),
    "message 4097": ("message", lambda k, h: k.progress(h, None, "m" * 4_097)),
    "message letters": ("message", lambda k, h: k.progress(h, None, "é" * 2_049)),
    "message NUL": ("message", lambda k, h: k.progress(h, None, "a\x00")),
    "message surrogate": ("message", lambda k, h: k.progress(h, None, "\ud800")),
    "message bytes": ("message", lambda k, h: k.progress(h, None, b"m")),
    "result 16 MiB and 1": ("result", lambda k, h: k.complete(h, bytes(16 * MIB + 1))),
    "result text": ("result", lambda k, h: k.complete(h, "text")),
    "reason 4097": ("reason|message", lambda k, h: k.fail(h, "r" * 4_097, TRANSIENT)),
    "reason bytes": ("reason|message", lambda k, h: k.fail(h, b"r", TRANSIENT)),
    "reason NUL": ("reason|message", lambda k, h: k.fail(h, "a\x00", TRANSIENT)),
    "detail 64 KiB and 1": (
        "detail",
        lambda k, h: k.fail(
            h, leasehold.FailureReason("r", "d" * (64 * 1024 + 1)), TRANSIENT
        ),
    ),
    "failure_class nonsense": ("failure_class", lambda k, h: k.fail(h, "r", "NONE")),
    "frame 1 MiB and 1": (
        "payload",
        lambda k, h: k.append_frame(h, leasehold.Frame(bytes(MIB + 1))),
    ),
    "frame text": ("payload", lambda k, h: k.append_frame(h, leasehold.Frame("text"))),
    "frame_type 65": (
        "frame_type",
        lambda k, h: k.append_frame(h, leasehold.Frame(b"", frame_type="t" * 65)),
    ),
    "correlation_id empty": (
        "correlation_id",
        lambda k, h: k.append_frame(h, leasehold.Frame(b"", correlation_id="")),
    ),
    "correlation_id 257": (
        "correlation_id",
        lambda k, h: k.append_frame(h, leasehold.Frame(b"", correlation_id="c" * 257)),
    ),
    "frame no frame": ("frame", lambda k, h: k.append_frame(h, b"bytes")),
}


@pytest.mark.parametrize("case", WORKER_CALLS)
def test_a_worker_call_beyond_the_bound_is_refused_by_name(
    case, ledger, start, snapshot
) -> None:
    named, make = WORKER_CALLS[case]
    handle = start()
    before = snapshot()
    with pytest.raises(leasehold.InvalidInputError, match=named) as refused:
        make(ledger, handle)
    assert refused.value.code == "invalid_input"
    assert snapshot() == before


def test_a_worker_call_at_the_bound_is_accepted(ledger, start, core) -> None:
    handle = start()
    ledger.progress(handle, 0, "é" * 2_048)
    ledger.progress(handle, 100)
    ledger.progress(handle, 12.5)
    assert json.loads(core(handle.execution_id)["raw_fields"])["progress_pct"] == 12.5
    ledger.append_frame(
        handle,
        leasehold.Frame(bytes(MIB), frame_type="t" * 64, correlation_id="c" * 256),
    )
    ledger.append_frame(handle, leasehold.Frame(b""))
    ledger.complete(handle, bytes(16 * MIB))
    assert len(core(handle.execution_id)["result"]) == 16 * MIB


def test_a_failure_at_the_bound_is_kept_whole(ledger, start, attempt_row) -> None:
    handle = start()
    reason = leasehold.FailureReason("é" * 2_048, "d" * 64 * 1024)
    ledger.fail(handle, reason, TRANSIENT)
    row = attempt_row(handle.execution_id)
    assert row["failure_message"] == "é" * 2_048
    assert row["failure_detail"] == "d" * 64 * 1024


OPERATOR_CALLS = {
    "grant worker_id": ("worker_id", "issue_resume_grant", {"worker_id": "w" * 129}),
    "grant ttl_ms 0": ("ttl_ms", "issue_resume_grant", {"worker_id": "w", "ttl_ms": 0}),
    "grant ttl_ms above": (
        "ttl_ms",
        "issue_resume_grant",
        {"worker_id": "w", "ttl_ms": 86_400_001},
    ),
    "grant actor": ("actor", "issue_resume_grant", {"worker_id": "w", "actor": ""}),
    "revoke actor": ("actor", "revoke_lease", {"actor": "", "reason": "r"}),
    "revoke reason": ("reason", "revoke_lease", {"actor": "a", "reason": "r" * 4_097}),
    "cancel actor": ("actor", "cancel_execution", {"actor": "a" * 257, "reason": "r"}),
    "cancel reason": ("reason", "cancel_execution", {"actor": "a", "reason": b"r"}),
    "replay actor": ("actor", "replay_execution", {"actor": None, "reason": "r"}),
    "replay reason": ("reason", "replay_execution", {"actor": "a", "reason": "\x00"}),
    "priority actor": ("actor", "change_priority", {"priority": 1, "actor": ""}),
    "priority": ("priority", "change_priority", {"priority": 9_001, "actor": "a"}),
}


@pytest.mark.parametrize("case", OPERATOR_CALLS)
def test_an_operator_call_beyond_the_bound_is_refused_by_name(
    case, ledger, start, snapshot
) -> None:
    named, operation, arguments = OPERATOR_CALLS[case]
    handle = start()
    before = snapshot()
    with pytest.raises(leasehold.InvalidInputError, match=named):
        getattr(ledger, operation)(handle.execution_id, **arguments)
    assert snapshot() == before


@pytest.mark.parametrize("limit", [0, -1, 1_000_001, 1.5, "10"])
def test_a_limit_beyond_the_bound_is_refused(limit, ledger, start) -> None:
    handle = start()
    reads = ledger.read
    for call in (
        lambda: ledger.sweep(limit),
        lambda: reads.executions(limit=limit),
        lambda: reads.lease_events(limit=limit),
        lambda: reads.frames(handle.execution_id, 0, limit=limit),
        lambda: reads.expired_leases(limit=limit),
        lambda: reads.events(limit=limit),
    ):
        with pytest.raises(leasehold.InvalidInputError, match="limit"):
            call()


def test_a_limit_at_the_bound_is_accepted(ledger) -> None:
    ledger.sweep(1)
    ledger.sweep(1_000_000)
    assert ledger.read.executions(limit=1_000_000) == []
    assert ledger.read.lease_events(limit=1) == []
