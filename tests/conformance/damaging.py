"""What somebody with plain SQL can do to the rows of a ledger, table by table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leasehold.adapters.differing import SHOWN_AS
from leasehold.projections.registry import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outsiders import Outsider

OTHERS = {
    "lifecycle_phase": ("active", "terminal"),
    "ownership_state": ("leased", "unowned"),
    "eligibility_state": ("eligible_now", "not_applicable"),
    "public_state": ("pending", "running"),
    "attempt_state": ("initial", "running_attempt"),
    "terminal_cause": ("not_retryable", "retries_exhausted"),
    "outcome": ("failed", "cancelled"),
    "failure_class": ("timeout", "permanent"),
    "lease_state": ("expired", "revoked"),
    "event_type": ("renewed", "expired"),
    "cause": ("sweep", "claim"),
    "mode": ("durable", "summary"),
}
UNCHANGEABLE = ("patch_kind",)  # A CHECK knows one value.
BYTES = ("payload", "result")
TEXT = (
    "namespace",
    "lane_id",
    "tags",
    "raw_fields",
    "capabilities",
    "idempotency_key",
    "worker_id",
    "worker_instance_id",
    "actor",
    "operation",
    "lease_id",
    "frame_type",
    "correlation_id",
    "failure_message",
    "failure_detail",
    "document_json",
    "retry_policy",
)


def shown(table: str) -> str:
    """Return by what name people know a table."""
    return SHOWN_AS.get(table, table)


def rows_of(outsider: Outsider, table: str) -> list[dict[str, Any]]:
    """Read a table, in the order of its key, without what is no projection."""
    rows = outsider.execute(f"SELECT * FROM {table} ORDER BY {', '.join(KEYS[table])}")
    return [row for row in rows if row.get("mode") != "best_effort"]


def different(column: str, value: Any) -> Any:
    """Return another value that the column takes."""
    if column in OTHERS:
        first, second = OTHERS[column]
        return second if value == first else first
    if column in BYTES:
        return b"\x00other"
    if column in TEXT or column.endswith("sha256"):
        return "{}" if value != "{}" else '{"a":1}'
    if column == "priority":
        return 5 if value != 5 else 6
    if column == "is_claimable":
        return 1 - value
    return 7 if value is None else value + 1


def condition(table: str, row: dict[str, Any]) -> tuple[str, list[Any]]:
    """Return what picks a row, and its values."""
    return " AND ".join(f"{column} = ?" for column in KEYS[table]), [
        row[column] for column in KEYS[table]
    ]


def change(
    outsider: Outsider, table: str, row: dict[str, Any], column: str, value: Any
) -> None:
    """Give a column of a row another value."""
    where, key = condition(table, row)
    outsider.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", value, *key)


def remove(outsider: Outsider, table: str, row: dict[str, Any]) -> None:
    """Take a row away."""
    where, key = condition(table, row)
    outsider.execute(f"DELETE FROM {table} WHERE {where}", *key)


def add(outsider: Outsider, table: str, row: dict[str, Any]) -> None:
    """Add a row."""
    marks = ", ".join("?" * len(row))
    columns = ", ".join(row)
    outsider.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", *row.values())


def added_rows(outsider: Outsider, table: str) -> Iterator[dict[str, Any]]:
    """Make rows that no event makes: of a known execution where the key lets it."""
    row = rows_of(outsider, table)[-1]
    row = {**row, **({"idempotency_key": None} if "idempotency_key" in row else {})}
    unknown = {**row, "execution_id": "00000000-0000-7000-8000-00000000abcd"}
    if table == "lease_event":
        yield {**unknown, "event_id": 1_000_000}
        yield {**row, "event_id": 1_000_001}
    elif table == "resume_grant":
        yield {**unknown, "grant_id": "g-1"}
        yield {**row, "grant_id": "g-2"}
    else:
        yield unknown
        if "attempt_index" in row and "attempts_started" not in row:
            yield {**row, "attempt_index": 900}
