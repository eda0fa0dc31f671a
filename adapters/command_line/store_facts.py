"""Say in words what a store tells of itself."""

from collections.abc import Iterator, Mapping
from typing import Final

import leasehold
from leasehold.adapters.command_line import output

Facts = Mapping[str, str | int]

_TOLD_OTHERWISE: Final = (
    "backend",
    "backend_version",
    "synchronous_commit",
    "fsync",
    "max_connections",
    "held_back_by",
    "held_back_by_application",
    "held_back_by_address",
    "held_back_by_state",
    "held_back_for_ms",
    "oldest_transaction_by",
    "oldest_transaction_by_application",
    "oldest_transaction_by_address",
    "oldest_transaction_by_state",
    "oldest_transaction_for_ms",
    "prepared_for_ms",
    "at_ms",
)
_TRANSACTIONS: Final = {
    "held_back": "held back by",
    "oldest_transaction": "oldest transaction",
}
"""What begins the names of the facts about a transaction, and what it is shown as."""


def in_words(facts: Facts) -> dict[str, object]:
    """Return the facts as people read them; what a store does not tell is left out."""
    told: dict[str, object] = {
        name: fact for name, fact in facts.items() if name != "at_ms"
    }
    if facts.get("backend") == leasehold.BackendTag.POSTGRES.value:
        told = _of_postgres(facts)
    return {
        name.removesuffix("_bytes"): output.size_text(value)
        if name.endswith("_bytes") and isinstance(value, int)
        else value
        for name, value in told.items()
    }


def warnings_about(facts: Facts) -> Iterator[str]:
    """Say what about a store can cost somebody their data."""
    if facts.get("fsync") == "off":
        yield (
            "fsync is off on the server: a crash of its machine can lose calls that "
            "have returned and damage the database, whatever durability is asked for"
        )
    full = facts.get("durability") == "full"
    if full and facts.get("synchronous_commit") == "off":
        yield (
            "synchronous_commit is off, although durability=full was asked for: a "
            "crash of the server can lose calls that have returned"
        )


def _of_postgres(facts: Facts) -> dict[str, object]:
    told: dict[str, object] = {"server": f"PostgreSQL {facts['backend_version']}"}
    told |= {name: fact for name, fact in facts.items() if name not in _TOLD_OTHERWISE}
    settings = [
        f"{name} {facts[name]}"
        for name in ("synchronous_commit", "fsync")
        if name in facts
    ]
    if settings:
        told["durability"] = f"{facts['durability']} ({', '.join(settings)})"
    if "connections" in facts and "max_connections" in facts:
        told["connections"] = (
            f"{facts['connections']} to this database; the server takes "
            f"{facts['max_connections']} in all"
        )
    for name, title in _TRANSACTIONS.items():
        if f"{name}_by" in facts:
            told[title] = _transaction(facts, name)
    return told


def _transaction(facts: Facts, name: str) -> str:
    """Name a transaction that something waits for.

    Its state and address are shown to its own user, and to one who may see those of
    all (`pg_read_all_stats`).
    """
    words = [f"process {facts[f'{name}_by']}"]
    if facts.get(f"{name}_by_application"):
        words.append(f"application {facts[f'{name}_by_application']}")
    if f"{name}_by_address" in facts:
        words.append(f"from {facts[f'{name}_by_address']}")
    elif f"{name}_by_state" in facts:
        words.append("from the server's own machine")
    if f"{name}_by_state" in facts:
        words.append(f"{facts[f'{name}_by_state']}")
    since_ms = facts.get(f"{name}_for_ms")
    if isinstance(since_ms, int):
        words.append(f"in a transaction that began {since_ms / 1000:.1f} s ago")
    return ", ".join(words)
