"""All projections together: from an event to the changes of every table."""

from collections.abc import Mapping
from typing import Final

from leasehold.domain.catalogue import EVENT_TYPES
from leasehold.domain.events import DomainEvent
from leasehold.projections import (
    attempt,
    exec_core,
    lease_event,
    resume_grant,
    stream_frame,
    summary,
)
from leasehold.projections.changes import Changes, Place, Rule

PROJECTION_VERSION: Final = 1
"""Rises with any change to what the projections make of the same events."""

RULES: Final = {
    "exec_core": exec_core.rules,
    "attempt": attempt.rules,
    "summary": summary.rules,
    "lease_event": lease_event.rules,
    "stream_frame": stream_frame.rules,
    "resume_grant": resume_grant.rules,
}

KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    exec_core.STATE: ("execution_id",),
    exec_core.BLOB: ("execution_id",),
    attempt.TABLE: ("execution_id", "attempt_index"),
    summary.TABLE: ("execution_id", "attempt_index"),
    lease_event.TABLE: ("event_id",),
    stream_frame.TABLE: ("execution_id", "attempt_index", "ts_ms", "seq"),
    resume_grant.TABLE: ("grant_id",),
}
"""The tables that are projected, with their primary keys."""


def order_of(table: str, *, by_execution: bool = False) -> tuple[str, ...]:
    """Return the columns that a table's rows are ordered by: its key.

    Args:
        table: One of `KEYS`.
        by_execution: Whether the execution's id comes first.
    """
    key = KEYS[table]
    if not by_execution:
        return key
    return ("execution_id", *(column for column in key if column != "execution_id"))


_BY_EVENT: Final[Mapping[type[DomainEvent], tuple[Rule[DomainEvent], ...]]] = {
    event_type: tuple(
        rule
        for rules in RULES.values()
        if (rule := rules.rule_for(event_type)) is not None
    )
    for event_type in EVENT_TYPES
}


def project(event: DomainEvent, place: Place) -> Changes:
    """Return what an event changes, over all tables."""
    rules = _BY_EVENT[type(event)]
    if len(rules) == 1:
        return rules[0](event, place)
    return tuple([change for rule in rules for change in rule(event, place)])
