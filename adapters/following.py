"""Following the log: `subscribe`, and projections of a caller's own."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Final, Protocol, Self
from uuid import UUID

from leasehold.adapters.reader import Reader
from leasehold.adapters.store import Row, Store, Watch, WriteSession
from leasehold.domain import limits
from leasehold.domain.errors import InvalidInputError, StoreError
from leasehold.domain.records import RecordedEvent

PAGE: Final = 500
BATCH: Final = 100
"""How many events a projection of a caller's own takes in one transaction."""

_STOP_CHECKED_S: Final = 0.25

Execute = Callable[..., Sequence[Row]]
"""Run plain SQL in the transaction: `execute(statement, *values)` gives rows."""


class Subscription:
    """The events of a log as they are committed, in order, from a position.

    An iterator that waits for the next event, in whatever process it is written, and
    ends when it is stopped. Each event is given at least once: whoever goes on from a
    position that was kept gets the events after it. A context manager that stops
    itself.

    Attributes:
        position: Up to where everything that was asked for has been given.
    """

    def __init__(
        self,
        store: Store,
        after: int,
        topics: Sequence[str] = (),
        execution_id: UUID | None = None,
    ) -> None:
        """Begin after a position; see `Ledger.subscribe`."""
        self.position = after
        self._store = store
        self._read = Reader(store)
        self._topics = tuple(topics)
        self._execution_id = execution_id
        self._waiting: Iterator[RecordedEvent] = iter(())
        self._reached = after
        self._stopped = threading.Event()
        self._watch: Watch | None = None

    def stop(self) -> None:
        """End the iteration, also while it waits in another thread."""
        self._stopped.set()

    def __enter__(self) -> Self:
        """Return the subscription itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop, and let go of what it waits by."""
        self.close()

    def __iter__(self) -> Self:
        """Return the subscription itself."""
        return self

    def __next__(self) -> RecordedEvent:
        """Return the next event; wait for it.

        Raises:
            StopIteration: It was stopped.
            StoreError: The store could not be read; the position stands, so that the
                iteration can go on.
        """
        while not self._stopped.is_set():
            event = next(self._waiting, None)
            if event is not None:
                self.position = event.position
                return event
            self._waiting = iter(self.next_events())
        raise StopIteration

    def next_events(self, timeout_s: float | None = None) -> list[RecordedEvent]:
        """Return the next events, at most 500; wait for the first of them.

        Args:
            timeout_s: How long to wait; None for as long as it takes.

        Returns:
            None in time, or after it was stopped: an empty list.
        """
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        found = self._look()
        if found or timeout_s == 0:
            return found
        if self._watch is None:
            self._watch = self._store.watch()
        self._watch.begin()
        while not self._stopped.is_set():
            found = self._look()
            left_s = _STOP_CHECKED_S
            if give_up_at is not None:
                left_s = min(left_s, give_up_at - time.monotonic())
            if found or left_s <= 0:
                return found
            self._watch.wait(left_s, self._stopped)
        self.close()
        return []

    def close(self) -> None:
        """Stop, and let go of what it waits by; not while another thread waits."""
        self._stopped.set()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def _look(self) -> list[RecordedEvent]:
        """Read a page; what is not there up to the settled position is not asked again.

        The settled position is read first: all up to it is there for the page.
        """
        if self._execution_id is not None:
            return self._look_at_one(self._execution_id)
        settled = self._read.settled_position()
        if settled <= self._reached:
            return []
        found = self._read.events(self._reached, PAGE, self._topics)
        if len(found) == PAGE:
            self._reached = found[-1].position
        else:
            last = found[-1].position if found else self._reached
            self._reached = max(settled, last)
            if not found:
                self.position = self._reached
        return found

    def _look_at_one(self, execution_id: UUID) -> list[RecordedEvent]:
        found = self._read.history(execution_id, after=self._reached, limit=PAGE)
        if found:
            self._reached = found[-1].position
        wanted = self._topics
        return [event for event in found if not wanted or event.topic in wanted]


class Projection(Protocol):
    """What a caller makes of the events in tables of its own, in the same database."""

    @property
    def topics(self) -> Sequence[str]:
        """The topics that it wants; empty for all."""
        ...

    def create(self, execute: Execute) -> None:
        """Make its tables, where they are not there."""
        ...

    def apply(self, recorded: RecordedEvent, execute: Execute) -> None:
        """Take an event in; called once for each, in the order of the log."""
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
        self._error: BaseException | None = None
        self._advanced = threading.Condition()
        with store.write() as session:
            session.make_position_table()
            projection.create(session.execute_plain)
            self.position: int = session.projection_position(name)
        self._subscription = Subscription(store, self.position, projection.topics)
        self._thread = threading.Thread(
            target=self._keep_up, name=f"leasehold projection {name}", daemon=True
        )
        self.catch_up()

    def catch_up(self) -> int:
        """Take in all that is settled now; return how many events that were."""
        count = 0
        while found := self._subscription.next_events(0):
            count += len(found)
            self._take_in(found)
        self._advance(self._subscription.position)
        return count

    def wait_until(self, position: int, timeout_s: float) -> bool:
        """Wait until the log is taken in up to a position; say whether it was in time.

        Raises:
            StoreError: The projection failed; the cause is its error.
        """
        with self._advanced:
            self._advanced.wait_for(
                lambda: self.position >= position or self._error is not None, timeout_s
            )
        self._raise()
        return self.position >= position

    def __enter__(self) -> Self:
        """Keep up in a thread from now on."""
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the thread, and tell if it failed."""
        self._subscription.stop()
        self._thread.join()
        self._subscription.close()
        if exc_value is None:
            self._raise()

    def _keep_up(self) -> None:
        try:
            while True:
                found = self._subscription.next_events()
                if not found:
                    return
                self._take_in(found)
        except BaseException as error:  # noqa: BLE001 - raised by wait_until and exit
            with self._advanced:
                self._error = error
                self._advanced.notify_all()

    def _raise(self) -> None:
        if self._error is not None:
            message = (
                f"projection {self.name!r} failed after position {self.position}: "
                f"{self._error}"
            )
            raise StoreError(message) from self._error

    def _take_in(self, events: Sequence[RecordedEvent]) -> None:
        for start in range(0, len(events), BATCH):
            with self._store.write() as session:
                position = self._apply(session, events[start : start + BATCH])
            self._advance(position)

    def _apply(self, session: WriteSession, events: Sequence[RecordedEvent]) -> int:
        # Another process may have taken some of them in: its position tells.
        position: int = session.projection_position(self.name)
        for recorded in events:
            if recorded.position > position:
                self._projection.apply(recorded, session.execute_plain)
                position = recorded.position
        session.keep_projection_position(self.name, position)
        return position

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
        if not callable(getattr(projection, method, None)):
            message = (
                "a projection has topics, create(execute) and apply(recorded, "
                f"execute); {type(projection).__name__} has no {method}"
            )
            raise InvalidInputError(message)
