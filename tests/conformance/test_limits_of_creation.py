"""The limits at the door of create_execution: each bound, and one beyond it."""

import uuid

import pytest

import leasehold

MIB = 1024 * 1024

ACCEPTED = {
    "lane_id of 1 byte": {"lane_id": "l"},
    "lane_id of 64 bytes": {"lane_id": "l" * 64},
    "lane_id with inner space and signs": {"lane_id": "a b~!\"'%/"},
    "namespace of 64 bytes": {"namespace": "n" * 64},
    "64 tags": {"tags": {f"key-{n}": "v" for n in range(64)}},
    "tag key of 64 bytes": {"tags": {"k" * 64: "v"}},
    "tag value of 256 bytes": {"tags": {"k": "é" * 128}},
    "idempotency_key of 1 byte": {"idempotency_key": "k"},
    "idempotency_key of 256 bytes": {"idempotency_key": "é" * 128},
    "actor of 256 bytes": {"actor": "a" * 256},
    "priority highest": {"priority": 9_000},
    "priority lowest": {"priority": -9_000},
    "max_reclaim_count none": {"max_reclaim_count": 0},
    "max_reclaim_count most": {"max_reclaim_count": 10_000},
    "256 capabilities": {"capabilities": [f"c{n}" for n in range(256)]},
    "capabilities of 4096 bytes joined": {"capabilities": ["a" * 2_047, "b" * 2_048]},
    "capability of any letters": {"capabilities": ["gpu:A100/é-☃"]},
    "payload of 16 MiB": {"payload": bytes(16 * MIB)},
    "no retries": {"retry_policy": leasehold.RetryPolicy(max_retries=0)},
    "most retries": {"retry_policy": leasehold.RetryPolicy(max_retries=10_000)},
}

REFUSED = {
    "lane_id empty": ("lane_id", ""),
    "lane_id of 65 bytes": ("lane_id", "l" * 65),
    "lane_id leading space": ("lane_id", " l"),
    "lane_id trailing space": ("lane_id", "l "),
    "lane_id not ASCII": ("lane_id", "é"),
    "lane_id control": ("lane_id", "a\tb"),
    "lane_id DEL": ("lane_id", "a\x7f"),
    "lane_id bytes": ("lane_id", b"lane"),
    "lane_id None": ("lane_id", None),
    "namespace empty": ("namespace", ""),
    "namespace of 65 bytes": ("namespace", "n" * 65),
    "namespace newline": ("namespace", "n\n"),
    "tags 65": ("tags", {f"key-{n}": "v" for n in range(65)}),
    "tags key of 65 bytes": ("tags", {"k" * 65: "v"}),
    "tags key empty": ("tags", {"": "v"}),
    "tags key with a space before": ("tags", {" k": "v"}),
    "tags value of 257 bytes": ("tags", {"k": "v" * 257}),
    "tags value of 258 bytes in 129 letters": ("tags", {"k": "é" * 129}),
    "tags value with NUL": ("tags", {"k": "a\x00b"}),
    "tags value lone surrogate": ("tags", {"k": "\ud800"}),
    "tags value no text": ("tags", {"k": 1}),
    "tags no mapping": ("tags", ["k"]),
    "idempotency_key empty": ("idempotency_key", ""),
    "idempotency_key of 257 bytes": ("idempotency_key", "k" * 257),
    "idempotency_key NUL": ("idempotency_key", "k\x00"),
    "idempotency_key lone surrogate": ("idempotency_key", "\udfff"),
    "idempotency_key bytes": ("idempotency_key", b"k"),
    "actor empty": ("actor", ""),
    "actor of 257 bytes": ("actor", "a" * 257),
    "priority too high": ("priority", 9_001),
    "priority too low": ("priority", -9_001),
    "priority text": ("priority", "1"),
    "priority fraction": ("priority", 1.5),
    "max_reclaim_count below": ("max_reclaim_count", -1),
    "max_reclaim_count above": ("max_reclaim_count", 10_001),
    "capabilities 257": ("capabilit", [f"c{n}" for n in range(257)]),
    "capabilities of 4097 bytes joined": ("capabilit", ["a" * 2_048, "b" * 2_048]),
    "capabilities one text": ("capabilit", "gpu"),
    "capability empty": ("capabilit", [""]),
    "capability comma": ("capabilit", ["a,b"]),
    "capability space": ("capabilit", ["a b"]),
    "capability no-break space": ("capabilit", ["a\u00a0b"]),
    "capability newline": ("capabilit", ["a\n"]),
    "capability control": ("capabilit", ["a\x01"]),
    "capability C1 control": ("capabilit", ["a\x85"]),
    "capability NUL": ("capabilit", ["a\x00"]),
    "capability lone surrogate": ("capabilit", ["\ud800"]),
    "capability bytes": ("capabilit", [b"gpu"]),
    "payload of 16 MiB and 1": ("payload", bytes(16 * MIB + 1)),
    "payload text": ("payload", "text"),
    "payload None": ("payload", None),
    "execution_id no UUID": ("execution_id", 17),
    "execution_id nonsense": ("execution_id", "nonsense"),
    "delay_until_ms text": ("delay_until_ms", "soon"),
    "delay_until_ms fraction": ("delay_until_ms", 1.5),
    "deadline_at_ms text": ("deadline_at_ms", "soon"),
    "retry_policy number": ("retry_policy", 3),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_at_the_bound_is_accepted(case, ledger, sql) -> None:
    execution_id = ledger.create_execution(**ACCEPTED[case])
    rows = sql("SELECT execution_id FROM exec_core")
    assert rows == [{"execution_id": str(execution_id)}]


@pytest.mark.parametrize("case", REFUSED)
def test_beyond_the_bound_is_refused_by_name_with_nothing_written(
    case, ledger, event_count, sql
) -> None:
    named, value = REFUSED[case]
    argument = "capabilities" if named == "capabilit" else named

    with pytest.raises(leasehold.InvalidInputError, match=named) as refused:
        ledger.create_execution(**{argument: value})

    assert refused.value.code == "invalid_input"
    assert event_count() == 0
    assert sql("SELECT * FROM exec_core") == []


@pytest.mark.parametrize("max_retries", [-1, 10_001, 1.5, "3"])
def test_a_retry_policy_beyond_the_bound_is_refused(
    max_retries, ledger, event_count
) -> None:
    with pytest.raises(leasehold.InvalidInputError, match="max_retries"):
        ledger.create_execution(
            retry_policy=leasehold.RetryPolicy(max_retries=max_retries)
        )
    assert event_count() == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"initial_ms": -1},
        {"multiplier": float("nan")},
        {"multiplier": float("inf")},
        {"multiplier": -2.0},
        {"max_ms": -1},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"jitter": float("nan")},
    ],
)
def test_a_backoff_without_sense_is_refused(arguments, ledger, event_count) -> None:
    (field,) = arguments
    with pytest.raises(leasehold.InvalidInputError, match=field):
        ledger.create_execution(
            retry_policy=leasehold.RetryPolicy(
                backoff=leasehold.Exponential(**arguments)
            )
        )
    assert event_count() == 0


def test_a_fixed_backoff_below_zero_is_refused(ledger, event_count) -> None:
    with pytest.raises(leasehold.InvalidInputError, match="delay_ms"):
        ledger.create_execution(
            retry_policy=leasehold.RetryPolicy(backoff=leasehold.Fixed(-1))
        )
    assert event_count() == 0


def test_the_same_bounds_hold_in_a_batch(ledger, event_count) -> None:
    with pytest.raises(leasehold.InvalidInputError, match="lane_id"):
        ledger.create_executions([{"execution_id": uuid.uuid4()}, {"lane_id": ""}])
    assert event_count() == 0
