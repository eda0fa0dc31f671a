"""The port between the ledger and a store: what every database must offer.

A session is one transaction. Queries are named, not written here: each store keeps
its own `.sql` file under each name.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from leasehold.domain.events import DomainEvent
from leasehold.domain.handles import BackendTag
from leasehold.domain.records import RecordedEvent
from leasehold.projections.changes import Place

Clock = Callable[[], int]
"""Return now in milliseconds since the Unix epoch."""

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Append:
    """An event on its way to a stream.

    Attributes:
        event: For the projections.
        place: The stream, the version there and the hash.
        state: The event as stored.
    """

    event: DomainEvent
    place: Place
    state: bytes


class ReadSession(Protocol):
    """One consistent view of the store."""

    def now_ms(self) -> int:
        """Return now by the ledger's clock, read with the session's locks held."""
        ...

    def fetch_all(self, query: str, **parameters: object) -> list[Row]:
        """Run a named query and return its rows."""
        ...

    def fetch_one(self, query: str, **parameters: object) -> Row | None:
        """Run a named query and return its first row, None where there is none."""
        ...

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Return the rows of a projected table in the order of its key."""
        ...


class WriteSession(ReadSession, Protocol):
    """One transaction that writes; it commits when its block ends without an error."""

    def append(self, appends: Sequence[Append]) -> None:
        """Append events and apply what they project.

        Raises:
            StoreError: The store refused; the transaction is lost.
        """
        ...

    def projection_version(self) -> int:
        """Return which version of the projections made the rows."""
        ...

    def empty_projections(self) -> None:
        """Make the projected tables anew; best-effort frames are carried over."""
        ...

    def restore(self, recorded: RecordedEvent, state: bytes) -> None:
        """Append an event at its own position, as it was stored elsewhere."""
        ...

    def project(self, recorded: RecordedEvent) -> None:
        """Apply what a stored event projects."""
        ...

    def execute(self, statement: str, **parameters: object) -> int:
        """Run a named statement that is no event (best-effort frames); count rows."""
        ...


class Store(Protocol):
    """A database that a ledger lives in."""

    @property
    def backend(self) -> BackendTag:
        """The kind of database."""
        ...

    def read(self) -> AbstractContextManager[ReadSession]:
        """Open a session that reads."""
        ...

    def write(
        self, *, any_version: bool = False
    ) -> AbstractContextManager[WriteSession]:
        """Open a session that writes, with the write lock (or row locks) to come.

        Args:
            any_version: Whether the tables may be of another version: to make them.
        """
        ...

    def facts(self) -> Mapping[str, str | int]:
        """Return versions, durability and sizes, by name."""
        ...

    def close(self) -> None:
        """Give the connections back; a second call does nothing."""
        ...
