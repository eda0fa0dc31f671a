"""Row changes as data: what a projection asks of a table, for any database.

Changes and places are made by the million and kept by nobody; they are not frozen, as
making a frozen one takes three times as long.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeVar

from leasehold.domain.events import DomainEvent
from leasehold.domain.merge_patch import JsonObject
from leasehold.domain.streams import EXECUTION_ID_CHARACTERS


class Placeholder(Enum):
    """Stand for a value that only the store knows."""

    POSITION = "position"


POSITION: Final = Placeholder.POSITION
"""The position in the log of the event that the change comes from.

It stands in columns of the key alone.
"""

Value = str | int | float | bytes | None | Placeholder
Values = Mapping[str, Value]


@dataclass(slots=True)
class Insert:
    """Add a row."""

    table: str
    values: Values


@dataclass(slots=True)
class Update:
    """Set columns of the row with this key; nothing where there is none."""

    table: str
    key: Values
    values: Values


@dataclass(slots=True)
class Upsert:
    """Set columns of the row with this key, adding it where there is none."""

    table: str
    key: Values
    values: Values


@dataclass(slots=True)
class Merge:
    """Merge a JSON Merge Patch into a JSON column of the row with this key.

    Attributes:
        null_sentinel: The text that stands for a null to be stored; None for none.
        values: Further columns to set.
        initial: What a new row has besides; empty where a row is always there.
    """

    table: str
    key: Values
    column: str
    patch: JsonObject
    null_sentinel: str | None = None
    values: Values = field(default_factory=dict)
    initial: Values = field(default_factory=dict)


@dataclass(slots=True)
class Delete:
    """Remove the row with this key. No event does: it is for repairs."""

    table: str
    key: Values


Change = Insert | Update | Upsert | Merge | Delete
Changes = tuple[Change, ...]


@dataclass(slots=True)
class Place:
    """Say where in its stream an event stands.

    Attributes:
        version: From 1.
        sha256: The event's own hash in hex, which the next one builds on.
    """

    stream_id: str
    version: int
    sha256: str

    @property
    def execution_id(self) -> str:
        """The id of the execution as text, which every stream id begins with."""
        return self.stream_id[:EXECUTION_ID_CHARACTERS]


E = TypeVar("E", bound=DomainEvent)
Rule = Callable[[E, Place], Changes]


class Rules:
    """Collect what one table makes of each event."""

    def __init__(self) -> None:
        """Begin without rules."""
        self._rules: dict[type[DomainEvent], Rule[DomainEvent]] = {}

    def on(self, event_type: type[E]) -> Callable[[Rule[E]], Rule[E]]:
        """Register the decorated function for an event."""

        def register(rule: Rule[E]) -> Rule[E]:
            if event_type in self._rules:
                message = f"{event_type.__name__} has a rule already"
                raise ValueError(message)
            self._rules[event_type] = rule  # type: ignore[assignment]
            return rule

        return register

    def event_types(self) -> Iterable[type[DomainEvent]]:
        """Return the events that have a rule."""
        return self._rules.keys()

    def rule_for(self, event_type: type[DomainEvent]) -> Rule[DomainEvent] | None:
        """Return the rule for an event, or None."""
        return self._rules.get(event_type)
