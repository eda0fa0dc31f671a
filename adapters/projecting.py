"""Projections of a caller's own: kept up from the log, in the same database."""

import logging
import re
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from leasehold.adapters.following import Feed, Page, check_seconds
from leasehold.adapters.reader import check_topics
from leasehold.adapters.store import Row, Store, WriteSession
from leasehold.domain import limits
from leasehold.domain.errors import InvalidInputError, StoreError
from leasehold.domain.records import RecordedEvent

BATCH: Final = 100
"""How many events a projection takes in one transaction."""

SKIPPED_MAX: Final = 1_000
"""How far its stored position may be behind, where nothing is for it."""

_TRIED_AGAIN_S: Final = 0.5
_OF_TRANSACTIONS: Final = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
    r"(?:begin|commit|end|abort|(?:start|prepare)\s+transaction"
    r"|rollback(?!\s+(?:(?:work|transaction)\s+)?to\b))\b",
    re.IGNORECASE | re.DOTALL,
)
"""Statements by which a transaction begins or ends; not those of savepoints."""

_log: Final = logging.getLogger("leasehold")

Execute = Callable[..., Sequence[Row]]
"""Run plain SQL in the transaction: `execute(statement, *values)` gives rows.

Values stand as `?` in the statement on SQLite and as `%s` on PostgreSQL.
"""


class _Executing:
    """`execute` as one call of a projection gets it: in its transaction, and no other.

    What a projection wrote past it, or committed by itself, would take effect again.
    """

    def __init__(self, session: WriteSession) -> None:
        self._session: WriteSession | None = session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session = None

    def __call__(self, statement: str, *values: object) -> Sequence[Row]:
        if not isinstance(statement, str):
            raise limits.refuse("statement", statement, "SQL as text")
        if self._session is None:
            message = (
                "this `execute` belongs to a call that has ended: use the one that "
                "`create` or `apply` is given"
            )
            raise InvalidInputError(message)
        if _OF_TRANSACTIONS.match(statement):
            rule = (
                "no beginning or end of a transaction: the ledger commits the rows "
                "with the position, and undoes both (a part is undone by a SAVEPOINT)"
            )
            raise limits.refuse("statement", statement, rule)
        return self._session.execute_plain(statement, *values)


class Projection(Protocol):
    """What a caller makes of the events in tables of its own, in the same database.

    It may have `topics`, a collection of the topics that it wants; without, or where
    that is empty, it gets all events.
    """

    def create(self, execute: Execute) -> None:
        """Make its tables, where they are not there."""
        ...

    def apply(self, recorded: RecordedEvent, execute: Execute) -> None:
        """Take an event in; each takes effect once, in the order of the log."""
        ...


class RunningProjection:
    """A projection of a caller's own, with its position stored beside its rows.

    Events and position are written in one transaction, so that each event takes
    effect once, whenever the process ends and however many run the projection.
    As a context manager it is kept up to date by a thread.

    Attributes:
        name: What its position is stored under.
        position: Up to where the log was taken in.
    """

    def __init__(self, store: Store, projection: Projection, name: str) -> None:
        """Make the tables and catch up; see `Ledger.run_projection`."""
        self.name = name
        self._store = store
        self._projection = projection
        self._feed = Feed(store, _topics_of(projection))
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()
        self._advanced = threading.Condition()
        self._error: BaseException | None = None
        self._failed_at: RecordedEvent | None = None
        with store.write() as session:
            session.make_position_table()
            # This holds others off who would make the same tables now.
            self.position: int = session.projection_position(name)
            with _Executing(session) as execute:
                projection.create(execute)
        self._kept = self.position
        self.catch_up()

    def catch_up(self) -> int:
        """Take in all that is settled now; return how many events that were.

        Raises:
            StoreError: The store could not do it.
            Exception: What `apply` raised. Nothing of its transaction is kept; the
                next call begins with the same events.
        """
        count = 0
        while True:
            page = self._feed.page(self.position)
            count += self._take_in(page)
            if not page.events:
                return count

    def wait_until(self, position: int, timeout_s: float) -> bool:
        """Wait until the log is taken in up to a position; say whether it was in time.

        Raises:
            InvalidInputError: The position or the time breaks its rule.
            StoreError: The projection failed; the cause is its error.
        """
        limits.integer("position", position, least=0, most=limits.POSITION_MAX)
        timeout_s = check_seconds("timeout_s", timeout_s)
        with self._advanced:
            self._advanced.wait_for(
                lambda: self.position >= position or self._error is not None, timeout_s
            )
        if self.position < position:
            self._raise()
        return self.position >= position

    def __enter__(self) -> Self:
        """Keep up in a thread from now on."""
        self._error = None
        self._feed.stopped.clear()
        self._thread = threading.Thread(
            target=self._keep_up, name=f"leasehold projection {self.name}", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the thread, and tell if it failed.

        Raises:
            StoreError: It did; the cause is its error.
        """
        self._feed.stopped.set()
        if self._thread is not None:
            self._thread.join()
        self._feed.close()
        if exc_value is None:
            self._raise()

    def _keep_up(self) -> None:
        try:
            while not self._feed.stopped.is_set():
                self._keep_up_while_it_goes_well()
        except BaseException as error:  # noqa: BLE001 - raised by wait_until and exit
            with self._advanced:
                self._error = error
                self._advanced.notify_all()

    def _keep_up_while_it_goes_well(self) -> None:
        """Take page after page in, until it is stopped or the store has a bad time."""
        try:
            for page in self._feed.pages(self.position):
                self._take_in(page)
                if self.position > page.reached:
                    return  # Another process is ahead: go on from there.
        except StoreError as error:
            if not error.retryable:
                raise
            _log.warning("projection %r is tried again: %s", self.name, error)
            self._feed.stopped.wait(_TRIED_AGAIN_S)

    def _raise(self) -> None:
        error, failed_at = self._error, self._failed_at
        if error is None:
            return
        where = f"after position {self.position}"
        if failed_at is not None:
            where = f"at position {failed_at.position} ({failed_at.topic})"
        message = (
            f"projection {self.name!r} failed {where}, and is up to date until "
            f"{self.position}: {type(error).__name__}: {error}"
        )
        raise StoreError(message) from error

    def _take_in(self, page: Page) -> int:
        """Apply a page, a batch in each transaction; return how many events."""
        if page.reached <= self.position:
            return 0
        with self._turn:
            count = 0
            for start in range(0, len(page.events), BATCH):
                batch = page.events[start : start + BATCH]
                is_last = start + BATCH >= len(page.events)
                count += self._write(batch, page.reached if is_last else 0)
            if not page.events and page.reached - self._kept >= SKIPPED_MAX:
                self._write((), page.reached)
            self._advance(page.reached)
        return count

    def _write(self, batch: Sequence[RecordedEvent], reached: int) -> int:
        """Apply some events and keep the position, in one transaction."""
        count = 0
        self._failed_at = None
        with self._store.write() as session:
            # Another process may have taken some of them in: its position tells.
            position: int = session.projection_position(self.name)
            for recorded in batch:
                if recorded.position > position:
                    self._apply(recorded, session)
                    position = recorded.position
                    count += 1
            position = max(position, reached)
            session.keep_projection_position(self.name, position)
        self._kept = position
        self._advance(position)
        return count

    def _apply(self, recorded: RecordedEvent, session: WriteSession) -> None:
        try:
            with _Executing(session) as execute:
                self._projection.apply(recorded, execute)
        except BaseException as error:
            self._failed_at = recorded
            error.add_note(
                f"projection {self.name!r}, position {recorded.position} "
                f"({recorded.topic})"
            )
            raise

    def _advance(self, position: int) -> None:
        with self._advanced:
            self.position = max(self.position, position)
            self._advanced.notify_all()


def check_projection(projection: Projection, name: str) -> None:
    """Check what a caller wants to run.

    Raises:
        InvalidInputError: It is no projection, or the name breaks its rule.
    """
    limits.name("name", name)
    for method in ("create", "apply"):
        if isinstance(projection, type) or not callable(
            getattr(projection, method, None)
        ):
            what = getattr(projection, "__name__", type(projection).__name__)
            message = (
                "a projection is an object with create(execute) and apply(recorded, "
                f"execute), and topics where it does not want all; {what} is none"
            )
            raise InvalidInputError(message)
    _topics_of(projection)


def _topics_of(projection: Projection) -> Sequence[str]:
    return check_topics(getattr(projection, "topics", ()))
