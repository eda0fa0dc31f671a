"""What `doctor` finds wrong: each with a sentence, and what to do next."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import leasehold
from leasehold.adapters.command_line import output
from leasehold.adapters.command_line.store_facts import Facts
from leasehold.adapters.command_line.wording import lasting

ORPHAN_MS: Final = 60_000
"""How long a lease may be run out before somebody should have taken it over."""

WAITING_MS: Final = 600_000
"""How long the next one in a lane may wait before somebody should have claimed it."""

HELD_BACK_MS: Final = 60_000
"""How long a transaction may hold the readers of the log back."""

TRANSACTION_MS: Final = 3_600_000
"""How long a transaction may be open, whatever it does."""

WAL_BYTES: Final = 256 * 1024 * 1024
"""How long SQLite's write-ahead log may be; it is cut back at a fourth of that."""

_NAMED_MAX: Final = 5
_SECOND_MS: Final = 1_000
_MINUTE_MS: Final = 60 * _SECOND_MS
_HOUR_MS: Final = 60 * _MINUTE_MS


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        check: What was looked at.
        text: What is wrong.
        next: What to do, or the command to run, to find out more.
    """

    check: str
    text: str
    next: str


def of_store(facts: Facts) -> Iterator[Finding]:
    """Find what is wrong with the database."""
    triggers = str(facts.get("triggers", "on"))
    if triggers != "on":
        names = triggers.removeprefix("off: ")
        yield Finding(
            "triggers",
            "the log can be changed: of the triggers that refuse it, these are "
            f"missing, disabled or not as they were made: {names}",
            "leasehold verify --checkpoint FILE, and make them again "
            "(docs/tamper-evidence.md)",
        )
    cache = facts.get("sequence_cache", 1)
    if cache != 1:
        yield Finding(
            "sequence_cache",
            f"the sequence of positions has CACHE {cache}: connections draw positions "
            "ahead, so that readers of the log can pass events over",
            "ALTER SEQUENCE stored_events_notification_id_seq CACHE 1",
        )
    if _number(facts, "wal_bytes") > WAL_BYTES:
        size = output.size_text(_number(facts, "wal_bytes"))
        yield Finding(
            "wal",
            f"the write-ahead log has {size}: somebody keeps reading in one "
            "transaction, and SQLite cannot take it into the file meanwhile",
            "end the reader that has had the file open for long",
        )
    yield from _of_transactions(facts)


def _of_transactions(facts: Facts) -> Iterator[Finding]:
    held_ms = _number(facts, "held_back_for_ms")
    if held_ms > HELD_BACK_MS:
        pid = facts.get("held_back_by")
        yield Finding(
            "readers_held_back",
            f"process {pid} has held the readers of the log back for "
            f"{age_text(held_ms)}: {facts.get('lag')} positions are not settled",
            f"SELECT pg_terminate_backend({pid}), if nobody waits for it",
        )
    open_ms = _number(facts, "oldest_transaction_for_ms")
    if open_ms > TRANSACTION_MS:
        pid = facts.get("oldest_transaction_by")
        yield Finding(
            "old_transaction",
            f"process {pid} has had a transaction open for {age_text(open_ms)}: rows "
            "that are no longer needed pile up in all tables until it ends",
            f"SELECT pg_terminate_backend({pid}), if nobody waits for it",
        )
    prepared_ms = _number(facts, "prepared_for_ms")
    if prepared_ms > TRANSACTION_MS:
        yield Finding(
            "prepared_transaction",
            f"a transaction was prepared {age_text(prepared_ms)} ago and is neither "
            "committed nor undone: what it locks stays locked",
            "SELECT gid FROM pg_prepared_xacts, then ROLLBACK PREPARED",
        )


def of_orphans(
    orphans: Sequence[leasehold.ExpiredLeaseRow], at_ms: int
) -> Iterator[Finding]:
    """Find leases that ran out, and that nobody has taken over for a minute.

    Args:
        orphans: Longest first.
        at_ms: Now, by the clock of the store.
    """
    old = [one for one in orphans if at_ms - one.lease_expires_at_ms > ORPHAN_MS]
    for orphan in old[:_NAMED_MAX]:
        yield Finding(
            "orphan",
            f"execution {orphan.execution_id} in lane {orphan.lane_id} is stuck: the "
            f"lease of {worker_of(orphan)} ran out "
            f"{age_text(at_ms - orphan.lease_expires_at_ms)} ago, and nobody has taken "
            "it over",
            f"leasehold history {orphan.execution_id}",
        )
    more = len(old) - _NAMED_MAX
    if more > 0:
        yield Finding("orphan", f"{more} more are stuck like these", "leasehold audit")


def of_waiting(
    waiting: Sequence[leasehold.WaitingRow],
    orphans: Sequence[leasehold.ExpiredLeaseRow],
    at_ms: int,
) -> Iterator[Finding]:
    """Find what is next to be claimed, and that nobody has claimed for ten minutes.

    Args:
        waiting: The next of each lane and capability set, longest first.
        orphans: What is told already.
        at_ms: Now, by the clock of the store.
    """
    told = {orphan.execution_id for orphan in orphans}
    old = [
        row
        for row in waiting
        if at_ms - row.since_ms > WAITING_MS and row.execution_id not in told
    ]
    for row in old[:_NAMED_MAX]:
        able = f" that offers {', '.join(row.capabilities)}" if row.capabilities else ""
        yield Finding(
            "waiting",
            f"execution {row.execution_id} is next in lane {row.lane_id}, and no worker"
            f"{able} has claimed it for {age_text(at_ms - row.since_ms)}",
            f"leasehold tenures --lane {row.lane_id}",
        )
    more = len(old) - _NAMED_MAX
    if more > 0:
        yield Finding(
            "waiting",
            f"{more} more wait like these, in other lanes or for other capabilities",
            "leasehold list --state pending",
        )


def worker_of(orphan: leasehold.ExpiredLeaseRow) -> str:
    """Name the worker that had a lease, and which one of that name."""
    instance = orphan.worker_instance_id
    return orphan.worker_id + (f" ({instance})" if instance else "")


def age_text(duration_ms: int) -> str:
    """Write how long ago something was: in seconds, after an hour in minutes."""
    unit_ms = _SECOND_MS if duration_ms < _HOUR_MS else _MINUTE_MS
    return lasting(max(0, duration_ms) // unit_ms * unit_ms)


def _number(facts: Facts, name: str) -> int:
    found = facts.get(name)
    return found if isinstance(found, int) else 0
