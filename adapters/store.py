"""The port between the ledger and a store: what every database must offer.

A session is one transaction. Queries are named, not written here: each store keeps
its own `.sql` file under each name.

Who may write what is agreed by locks: whoever changes an execution holds it (`load`),
whoever creates one under a name holds the name (`lock_names`). A database with one
writer at a time has nothing to do for that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from threading import Event
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from leasehold.adapters.metering import Call
from leasehold.domain.events import DomainEvent
from leasehold.domain.handles import BackendTag
from leasehold.domain.records import RecordedEvent
from leasehold.projections.changes import Change, Place

Clock = Callable[[], int]
"""Return now in milliseconds since the Unix epoch."""

Row = Sequence[Any]

Answer = TypeVar("Answer")

PAGE_BYTES: Final = 8 * 1024 * 1024
"""About how much of the log, or of a table, is read at once: its bytes at most, and
those of one more row."""

_POLL_FIRST_S: Final = 0.002
_POLL_LAST_S: Final = 0.1


Asked = tuple[str, Mapping[str, object]]
"""A named query with its parameters."""


class Append(NamedTuple):
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
        """Return now by the ledger's clock, read after the last lock was taken."""
        ...

    def query_now_ms(self) -> int | None:
        """Return what a query is given as `now_ms`; None for the server's own clock."""
        ...

    def fetch_all(self, query: str, **parameters: object) -> list[Row]:
        """Run a named query and return its rows."""
        ...

    def fetch_one(self, query: str, **parameters: object) -> Row | None:
        """Run a named query and return its first row, None where there is none."""
        ...

    def fetch_each(self, *asked: Asked) -> list[list[Row]]:
        """Run several named queries in one round trip; return the rows of each."""
        ...

    def fetch_page(
        self, query: str, *, bytes_most: int, **parameters: object
    ) -> list[Row]:
        """Run a named query over the log and return its first rows.

        Their states, the last column, add up to `bytes_most` bytes at most without the
        last row; of rows that there are the first is always returned. So whoever wants
        all of them goes on until a page is empty.
        """
        ...

    def rows(
        self, table: str, *, by_execution: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Return the rows of a projected table in the order of its key.

        It holds some `PAGE_BYTES` of them in memory at a time.

        Args:
            table: One of `registry.KEYS`.
            by_execution: Whether the execution's id comes first in the order.
        """
        ...

    def redacted_from(self) -> tuple[str, ...]:
        """Return the digests of the originals of the redacted bundles taken in."""
        ...

    def rows_of(self, table: str, execution_id: str) -> list[dict[str, Any]]:
        """Return the rows of a projected table that are about an execution."""
        ...


class WriteSession(ReadSession, Protocol):
    """One transaction that writes; it commits when its block ends without an error."""

    @property
    def call(self) -> Call | None:
        """The call that it is made for, to note what was recorded in it."""
        ...

    def load(self, execution_id: str) -> Row | None:
        """Lock an execution, and return its row of the query `load_execution`.

        Other writers of it are held off until the transaction ends. Waits for the one
        that holds it now, and returns what that one left.
        """
        ...

    def load_each(self, execution_ids: Sequence[str]) -> list[Row | None]:
        """Do what `load` does for several executions, in their order, at once.

        To be called once in a transaction, in the order of ids: two that lock the same
        ones in another order wait for each other.
        """
        ...

    def load_free(self, execution_ids: Sequence[str]) -> list[Row]:
        """Load those of some executions that nobody else holds, in their order."""
        ...

    def lock_names(self, names: Sequence[str]) -> None:
        """Hold off whoever creates something under the same names, until the end.

        To be called once in a transaction, with all the names, before other locks.
        """
        ...

    def be_brief(self) -> None:
        """Do not let the caller wait for what is still to be written.

        It may be lost in place of that: when it meets a lock, or the connection breaks
        at the end. For what is noted on the side.
        """
        ...

    def append(self, appends: Sequence[Append]) -> None:
        """Append events and apply what they project.

        The tables show it at once to this session, the log at the latest when the
        transaction ends.

        Raises:
            StoreError: The store refused; the transaction is lost.
        """
        ...

    def projection_version(self) -> int:
        """Return which version of the projections made the rows; 0 without them."""
        ...

    def empty_projections(self) -> None:
        """Make the projected tables anew; best-effort frames are carried over."""
        ...

    def restore(self, recorded: RecordedEvent, state: bytes) -> None:
        """Append an event at its own position, as it was stored elsewhere."""
        ...

    def note_redacted(self, original_sha256: str) -> None:
        """Note that a redacted bundle was taken in, by the digest of its original."""
        ...

    def make_position_table(self) -> None:
        """Make the table of the positions of callers' projections, if it is missing."""
        ...

    def projection_position(self, name: str) -> int:
        """Return how far a caller's projection is, and hold off who else runs it."""
        ...

    def keep_projection_position(self, name: str, position: int) -> None:
        """Keep how far a caller's projection is."""
        ...

    def execute_plain(self, statement: str, *values: object) -> list[Row]:
        """Run a caller's SQL in this transaction; return its rows, if it has any."""
        ...

    def project(self, recorded: RecordedEvent) -> None:
        """Apply what a stored event projects."""
        ...

    def repair(self, changes: Iterable[Change]) -> None:
        """Change rows of projected tables that differ from their replay."""
        ...

    def execute(self, statement: str, **parameters: object) -> None:
        """Run a named statement that is no event (best-effort frames)."""
        ...


def state_bytes(row: Row) -> int:
    """Return how long the state of a row of the log is: the last column, if damaged."""
    state = row[-1]
    return len(state) if isinstance(state, bytes | str) else 0


def told_of_triggers(names: Sequence[str]) -> str:
    """Return the fact about the triggers on the log, by those that do not hold."""
    return f"off: {', '.join(names)}" if names else "on"


class Watch(Protocol):
    """Something by which to wait for commits."""

    def begin(self) -> None:
        """Be on watch from now on; nothing that is committed later goes unnoticed."""
        ...

    def wait(self, timeout_s: float, stopped: Event) -> None:
        """Wait until something may have been committed, at most so long.

        Args:
            timeout_s: In seconds.
            stopped: Ends the wait, soon.
        """
        ...

    def close(self) -> None:
        """Let go of what it waits by."""
        ...


class Polling:
    """Wait for commits by looking again and again, less and less often."""

    def __init__(self) -> None:
        """Begin with a short pause."""
        self._pause_s = _POLL_FIRST_S

    def begin(self) -> None:
        """Begin with a short pause again."""
        self._pause_s = _POLL_FIRST_S

    def wait(self, timeout_s: float, stopped: Event) -> None:
        """Pause, twice as long as the time before, at most a tenth of a second."""
        stopped.wait(min(self._pause_s, timeout_s))
        self._pause_s = min(2 * self._pause_s, _POLL_LAST_S)

    def close(self) -> None:
        """Do nothing."""


class Store(Protocol):
    """A database that a ledger lives in."""

    @property
    def backend(self) -> BackendTag:
        """The kind of database."""
        ...

    @property
    def shown(self) -> str:
        """The name of the database that people are shown, without secrets."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether it was opened never to be written to."""
        ...

    def prepare(self) -> bool:
        """Make the tables of a new store; refuse one of a later version.

        Returns:
            Whether the projections are of an earlier version, or gone, and must be
            rebuilt.
        """
        ...

    def read(
        self, *, once: bool = False, any_text: bool = False
    ) -> AbstractContextManager[ReadSession]:
        """Open a session that reads.

        Args:
            once: Whether a single query is all that it is for.
            any_text: Whether text that is not UTF-8 is read as well, its bytes as
                lone surrogates, in place of an error.
        """
        ...

    def write(
        self, *, any_version: bool = False
    ) -> AbstractContextManager[WriteSession]:
        """Open a session that writes, with the write lock (or row locks) to come.

        Args:
            any_version: Whether the tables may be of another version: to make them.
        """
        ...

    def transact(self, call: Call, act: Callable[[WriteSession], Answer]) -> Answer:
        """Do what a call does in a transaction; what it did holds when this returns.

        Args:
            call: Is told how long the commit took.
            act: What it does. Another thread may run it, between the calls of others,
                so it waits for nothing but the store.
        """
        ...

    def watch(self) -> Watch:
        """Return something by which to wait for commits, of any process."""
        ...

    def facts(self) -> Mapping[str, str | int]:
        """Return versions, durability and sizes, by name."""
        ...

    def close(self) -> None:
        """Give the connections back; a second call does nothing."""
        ...
