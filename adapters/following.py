"""Following the log: `subscribe`, and projections of a caller's own."""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self
from uuid import UUID

from leasehold.adapters import codec
from leasehold.adapters.reader import Reader, check_topics
from leasehold.adapters.store import Row, Store, Watch, WriteSession
from leasehold.domain import limits
from leasehold.domain.errors import InvalidInputError, StoreError
from leasehold.domain.records import RecordedEvent

PAGE: Final = 500
BATCH: Final = 100
"""How many events a projection of a caller's own takes in one transaction."""

SKIPPED_MAX: Final = 1_000
"""How far a projection's stored position may be behind, where nothing is for it."""

_LOOKED_AGAIN_S: Final = 0.25
_TRIED_AGAIN_S: Final = 0.5

_log: Final = logging.getLogger("leasehold")

Execute = Callable[..., Sequence[Row]]
"""Run plain SQL in the transaction: `execute(statement, *values)` gives rows.

Values stand as `?` in the statement on SQLite and as `%s` on PostgreSQL.
"""


@dataclass(frozen=True, slots=True)
class _Page:
    """Some of the log: all that was asked for up to `reached`."""

    events: Sequence[RecordedEvent]
    reached: int


class _Feed:
    """What is asked of a log, a page at a time, and the wait for more of it."""

    def __init__(
        self, store: Store, topics: Sequence[str], execution_id: UUID | None = None
    ) -> None:
        self.stopped = threading.Event()
        self._store = store
        self._read = Reader(store)
        self._topics = frozenset(topics)
        self._topics_asked = json.dumps(sorted(topics)) if topics else None
        self._execution_id = execution_id
        self._watch: Watch | None = None
        self._in_use = threading.RLock()

    def page(self, after: int) -> _Page:
        """Read what follows a position, at most 500 events.

        The settled position is asked in a statement of its own and first. What is
        settled once stays so, and is all there for the second statement; which may
        find the settled position lower, as a writer can be slow to tell its floor.
        """
        settled = self._read.settled_position()
        if settled <= after:
            return _Page((), after)
        if self._execution_id is not None:
            return self._page_of_one(self._execution_id, after, settled)
        with self._store.read(once=True) as session:
            rows = session.fetch_all(
                "events_settled",
                after=after,
                settled=settled,
                topics=self._topics_asked,
                most=PAGE,
            )
        found = _readable(rows)
        is_whole = len(found) == len(rows) < PAGE
        return _Page(found, settled if is_whole else found[-1].position)

    def _page_of_one(self, execution_id: UUID, after: int, settled: int) -> _Page:
        while after < settled:
            with self._store.read(once=True) as session:
                rows = session.fetch_all(
                    "history", execution_id=str(execution_id), after=after, most=PAGE
                )
            found = _readable(rows)
            is_whole = len(found) == len(rows) < PAGE
            after = settled if is_whole else min(found[-1].position, settled)
            wanted = [
                recorded
                for recorded in found
                if recorded.position <= settled
                and (not self._topics or recorded.topic in self._topics)
            ]
            if wanted:
                return _Page(wanted, after)
        return _Page((), settled)

    def pages(self, after: int, timeout_s: float | None = None) -> Iterator[_Page]:
        """Read page after page, also empty ones, and wait where there is no more.

        Ends when it is stopped, or when nothing was found for so long.
        """
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        is_watched = False
        try:
            while not self.stopped.is_set():
                page = self.page(after)
                yield page
                after = page.reached
                left_s = _LOOKED_AGAIN_S
                if give_up_at is not None:
                    left_s = min(left_s, give_up_at - time.monotonic())
                if left_s <= 0:
                    return
                if page.events:
                    is_watched = False
                elif is_watched:
                    self._wait(left_s)
                else:
                    # What was committed before is found by looking once more.
                    self._begin()
                    is_watched = True
        except (Exception, KeyboardInterrupt):
            self.close()
            raise

    def _begin(self) -> None:
        with self._in_use:
            if self._watch is None:
                self._watch = self._store.watch()
            self._watch.begin()

    def _wait(self, timeout_s: float) -> None:
        with self._in_use:
            if self._watch is not None:
                self._watch.wait(timeout_s, self.stopped)

    def close(self) -> None:
        """Let go of what it waits by, when nobody waits."""
        with self._in_use:
            watch, self._watch = self._watch, None
            if watch is not None:
                watch.close()


def _readable(rows: Sequence[Row]) -> list[RecordedEvent]:
    """Return the events before the first that cannot be read.

    Raises:
        StoreError: `corrupt_event`: that is the first one.
    """
    found: list[RecordedEvent] = []
    for row in rows:
        try:
            found.append(codec.decode(*row))
        except StoreError:
            if not found:
                raise
            break
    return found


class Subscription:
    """The events of a log as they are committed, in order, from a position.

    An iterator that waits for the next event, in whatever process it is written, and
    ends when it is stopped. Each event is given at least once: whoever goes on from a
    position that was kept gets the events after it. A context manager that stops
    itself. To be iterated by one thread at a time; any may stop it.

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
        self._feed = _Feed(store, topics, execution_id)
        self._page: deque[RecordedEvent] = deque()
        self._reached = after

    def stop(self) -> None:
        """End the iteration, also while it waits in another thread: within 0.3 s."""
        self._feed.stopped.set()

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
        if not self._page:
            self._turn_page(None)
        if self._feed.stopped.is_set():
            self._feed.close()
            raise StopIteration
        event = self._page.popleft()
        self.position = event.position
        return event

    def next_events(self, timeout_s: float | None = None) -> list[RecordedEvent]:
        """Return the next events, at most 500; wait for the first of them.

        Args:
            timeout_s: How long to wait; None for as long as it takes.

        Returns:
            None in time, or after it was stopped: an empty list.

        Raises:
            StoreError: The store could not be read; the position stands.
        """
        if not self._page:
            self._turn_page(timeout_s)
        if self._feed.stopped.is_set():
            self._feed.close()
            return []
        events = list(self._page)
        self._page.clear()
        self.position = self._reached
        return events

    def close(self) -> None:
        """Stop, and let go of what it waits by; waits for a thread that waits."""
        self.stop()
        self._feed.close()

    def _turn_page(self, timeout_s: float | None) -> None:
        """Wait for a page that is not empty."""
        self.position = self._reached
        for page in self._feed.pages(self._reached, timeout_s):
            self._reached = page.reached
            if page.events:
                self._page.extend(page.events)
                return
            self.position = page.reached


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
        self._feed = _Feed(store, _topics_of(projection))
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()
        self._advanced = threading.Condition()
        self._error: BaseException | None = None
        self._failed_at: RecordedEvent | None = None
        with store.write() as session:
            session.make_position_table()
            # This holds others off who would make the same tables now.
            self.position: int = session.projection_position(name)
            projection.create(session.execute_plain)
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
            StoreError: The projection failed; the cause is its error.
        """
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

    def _take_in(self, page: _Page) -> int:
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
            self._projection.apply(recorded, session.execute_plain)
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
