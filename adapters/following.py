"""Following the log: the events as they are committed, a page at a time or one."""

import json
import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from leasehold.adapters import codec
from leasehold.adapters.reader import Reader
from leasehold.adapters.store import PAGE_BYTES, Row, Store, Watch, state_bytes
from leasehold.domain import limits
from leasehold.domain.errors import StoreError
from leasehold.domain.records import RecordedEvent

PAGE: Final = 500
_LOOKED_AGAIN_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the log: all that was asked for up to `reached`."""

    events: Sequence[RecordedEvent]
    reached: int


class Feed:
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
        self._process = os.getpid()

    def page(self, after: int) -> Page:
        """Read what follows a position: at most 500 events, and some 8 MiB.

        The settled position is asked in a statement of its own and first. What is
        settled once stays so, and is all there for the second statement; which may
        find the settled position lower, as a writer can be slow to tell its floor.
        """
        settled = self._read.settled_position()
        if settled <= after:
            return Page((), after)
        if self._execution_id is not None:
            return self._page_of_one(self._execution_id, after, settled)
        with self._store.read(once=True) as session:
            rows = session.fetch_page(
                "events_settled",
                bytes_most=PAGE_BYTES,
                after=after,
                settled=settled,
                topics=self._topics_asked,
                most=PAGE,
            )
        found = _readable(rows)
        is_whole = len(found) == len(rows) and not _is_full(rows)
        return Page(found, settled if is_whole else found[-1].position)

    def _page_of_one(self, execution_id: UUID, after: int, settled: int) -> Page:
        while after < settled:
            with self._store.read(once=True) as session:
                rows = session.fetch_page(
                    "history_page",
                    bytes_most=PAGE_BYTES,
                    execution_id=str(execution_id),
                    after=after,
                    most=PAGE,
                )
            found = _readable(rows)
            is_whole = len(found) == len(rows) and not _is_full(rows)
            after = settled if is_whole else min(found[-1].position, settled)
            wanted = [
                recorded
                for recorded in found
                if recorded.position <= settled
                and (not self._topics or recorded.topic in self._topics)
            ]
            if wanted:
                return Page(wanted, after)
        return Page((), settled)

    def pages(self, after: int, timeout_s: float | None = None) -> Iterator[Page]:
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
        """Let go of what it waits by, when nobody waits.

        In a forked child that is the parent's, and so is the thread that waits.
        """
        if os.getpid() != self._process:
            return
        with self._in_use:
            watch, self._watch = self._watch, None
            if watch is not None:
                watch.close()


def _is_full(rows: Sequence[Row]) -> bool:
    """Say whether a page has as much as one may have, so that there may be more."""
    return len(rows) >= PAGE or sum(map(state_bytes, rows)) >= PAGE_BYTES


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


def check_seconds(field: str, seconds: float) -> float:
    """Check how long to wait; return what a lock takes. Less than 0 is not at all.

    Raises:
        InvalidInputError: It is no number.
    """
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or math.isnan(seconds):
        raise limits.refuse(field, seconds, "a number of seconds")
    return max(0.0, min(seconds, threading.TIMEOUT_MAX))


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
        self._feed = Feed(store, topics, execution_id)
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
        """Return the next events; wait for the first of them.

        At most 500, and fewer where they are large: some 8 MiB.

        Args:
            timeout_s: How long to wait; None for as long as it takes.

        Returns:
            None in time, or after it was stopped: an empty list.

        Raises:
            InvalidInputError: The time is no number.
            StoreError: The store could not be read; the position stands.
        """
        if timeout_s is not None:
            check_seconds("timeout_s", timeout_s)
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
