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
)


def in_words(facts: Facts) -> dict[str, object]:
    """Return the facts as people read them; what a store does not tell is left out."""
    told: dict[str, object] = dict(facts)
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
    if "held_back_by" in facts:
        told["held back by"] = _holder(facts)
    return told


def _holder(facts: Facts) -> str:
    """Name the transaction that readers of the log wait for.

    Its state and address are shown to its own user, and to one who may see those of
    all (`pg_read_all_stats`).
    """
    words = [f"process {facts['held_back_by']}"]
    if facts.get("held_back_by_application"):
        words.append(f"application {facts['held_back_by_application']}")
    if "held_back_by_address" in facts:
        words.append(f"from {facts['held_back_by_address']}")
    elif "held_back_by_state" in facts:
        words.append("from the server's own machine")
    if "held_back_by_state" in facts:
        words.append(f"{facts['held_back_by_state']}")
    since_ms = facts.get("held_back_for_ms")
    if isinstance(since_ms, int):
        words.append(f"in a transaction that began {since_ms / 1000:.1f} s ago")
    return ", ".join(words)
