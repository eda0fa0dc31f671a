"""The state at an earlier time: a private store, filled from the log as it is asked.

A question about one execution replays that execution alone, any other the whole log up
to the place in question; both once. Replaying is a fold over events: it asks no clock
and draws nothing.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Never, Self

from leasehold.adapters import codec, walking
from leasehold.adapters.metering import Call
from leasehold.adapters.store import (
    Asked,
    Clock,
    Polling,
    ReadSession,
    Row,
    Store,
    WriteSession,
)
from leasehold.adapters.walking import Progress
from leasehold.domain.errors import StoreError
from leasehold.domain.handles import BackendTag
from leasehold.domain.records import RecordedEvent

MakePrivate = Callable[[Clock], Store]
"""Make an empty store in memory, with a clock."""


class Moment:
    """A place in the log: what lies up to a position, and up to a time.

    Attributes:
        position: Events beyond it are left out.
        at_ms: Events recorded later are left out; None for no such bound. The times
            of an execution never step back, so that what is left is the beginning
            of its history.
    """

    __slots__ = ("at_ms", "position")

    def __init__(self, position: int, at_ms: int | None = None) -> None:
        """Stand at a position, or before it at a time."""
        self.position = position
        self.at_ms = at_ms

    def holds(self, recorded: RecordedEvent) -> bool:
        """Say whether an event had happened by then."""
        return recorded.position <= self.position and (
            self.at_ms is None or recorded.recorded_at_ms <= self.at_ms
        )


def log_until(
    session: ReadSession, moment: Moment
) -> Iterator[tuple[RecordedEvent, bytes]]:
    """Give the events of the log up to a moment, with their bytes."""
    yield from _until(walking.log(session), moment)


def history_until(
    session: ReadSession, execution_id: str, moment: Moment
) -> Iterator[tuple[RecordedEvent, bytes]]:
    """Give the events of an execution up to a moment, with their bytes."""
    yield from _until(walking.history(session, execution_id), moment)


def _until(
    rows: Iterator[Row], moment: Moment
) -> Iterator[tuple[RecordedEvent, bytes]]:
    for row in rows:
        if row[0] > moment.position:
            return
        recorded = codec.decode(*row)
        if moment.holds(recorded):
            yield recorded, row[4]


class ReplayedStore:
    """A store that can be read, as another one was at a moment."""

    def __init__(
        self,
        source: Store,
        moment: Moment,
        make_private: MakePrivate,
        progress: Progress | None = None,
    ) -> None:
        """Stand at a moment; nothing is replayed before it is needed.

        Args:
            source: Where the log is.
            moment: The place in it.
            make_private: Makes the store that the events are replayed into.
            progress: Told how far a replay of the whole log is.
        """
        self._source = source
        self._moment = moment
        self._make_private = make_private
        self._progress = progress
        self._now_ms = 0 if moment.at_ms is None else moment.at_ms
        self._replayed: set[str] = set()
        self._is_whole = False
        self._is_closed = False
        self._turn = threading.RLock()
        self._private = self._empty()

    @property
    def backend(self) -> BackendTag:
        """The kind of the store that was replayed."""
        return self._source.backend

    @property
    def shown(self) -> str:
        """The store that was replayed."""
        return self._source.shown

    @property
    def read_only(self) -> bool:
        """History cannot be written."""
        return True

    def read(
        self,
        *,
        once: bool = False,  # noqa: ARG002 - all alike
        any_text: bool = False,  # noqa: ARG002 - what is replayed is text
    ) -> "_Replaying":
        """Open a session that replays what it is asked about."""
        return _Replaying(self)

    @contextmanager
    def session_for(self, execution_id: object) -> Iterator[ReadSession]:
        """Open a session of the private store, with what a question needs replayed.

        Threads take turns: one may replay what another is to read.
        """
        with self._turn:
            self._need(None if execution_id is None else str(execution_id))
            with self._private.read(once=True) as session:
                yield session

    def now_ms(self) -> int:
        """Return the time of the moment: of its last event, where none was asked."""
        if self._moment.at_ms is None:
            with self._turn:
                self._need(None)
        return self._now_ms

    def redacted_from(self) -> tuple[str, ...]:
        """Return what the store that was replayed tells of redacted bundles."""
        with self._source.read() as source:
            return source.redacted_from()

    def prepare(self) -> bool:
        """Say that there is nothing to rebuild."""
        return False

    def write(
        self,
        *,
        any_version: bool = False,  # noqa: ARG002 - all alike
    ) -> Never:
        """Refuse: history is not written.

        Raises:
            StoreError: Always.
        """
        message = f"{self.shown} is read as it was; nothing can be written there"
        raise StoreError(message)

    def transact(self, call: Call, act: Callable[[WriteSession], object]) -> Never:  # noqa: ARG002 - nothing is done
        """Refuse, as `write` does.

        Raises:
            StoreError: Always.
        """
        self.write()

    def watch(self) -> Polling:
        """Return what waits for nothing: the past does not change."""
        return Polling()

    def facts(self) -> dict[str, str | int]:
        """Return where it stands."""
        return {"backend": self.backend.value, "last_position": self._moment.position}

    def close(self) -> None:
        """Let go of the private store; there is nothing to be read any more."""
        with self._turn:
            self._is_closed = True
            self._private.close()

    def _empty(self) -> Store:
        private = self._make_private(lambda: self._now_ms)
        private.prepare()
        return private

    def _need(self, execution_id: str | None) -> None:
        if self._is_closed:
            message = "the reader of an earlier time is closed: its block has ended"
            raise StoreError(message)
        if self._is_whole or execution_id in self._replayed:
            return
        with self._source.read() as source:
            if execution_id is not None:
                self._fill(history_until(source, execution_id, self._moment))
                self._replayed.add(execution_id)
                return
            # What was replayed by execution would stand twice in the whole log.
            self._private.close()
            self._private = self._empty()
            self._replayed.clear()
            expected = source.fetch_all("last_position")[0][0]
            self._fill(self._told(log_until(source, self._moment), expected))
            self._is_whole = True

    def _fill(self, events: Iterator[tuple[RecordedEvent, bytes]]) -> None:
        with self._private.write() as session:
            for recorded, state in events:
                _check_version(recorded)
                try:
                    session.restore(recorded, state)
                    session.project(recorded)
                except (ValueError, TypeError, KeyError, OverflowError) as error:
                    message = (
                        f"the event at position {recorded.position} cannot be "
                        f"projected: {error}"
                    )
                    raise StoreError(message, code="corrupt_event") from error
                if self._moment.at_ms is None:
                    self._now_ms = max(self._now_ms, recorded.recorded_at_ms)

    def _told(
        self, events: Iterator[tuple[RecordedEvent, bytes]], expected: int
    ) -> Iterator[tuple[RecordedEvent, bytes]]:
        for number, event in enumerate(events, start=1):
            if self._progress is not None:
                self._progress(number, max(number, expected))
            yield event


def _check_version(recorded: RecordedEvent) -> None:
    version: object = recorded.version
    if type(version) is not int or version < 1:
        message = (
            f"the event at position {recorded.position} (stream {recorded.stream_id}) "
            f"cannot be replayed: its version is {version!r:.80}, and versions are "
            "whole numbers from 1"
        )
        raise StoreError(message, code="corrupt_event")


class _Replaying:
    """A session that has replayed what each query is about."""

    def __init__(self, store: ReplayedStore) -> None:
        self._store = store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing: each query has a session of its own."""

    def now_ms(self) -> int:
        return self._store.now_ms()

    def query_now_ms(self) -> int:
        return self._store.now_ms()

    def fetch_all(self, query: str, **parameters: object) -> list[Row]:
        with self._store.session_for(parameters.get("execution_id")) as session:
            return session.fetch_all(query, **parameters)

    def fetch_one(self, query: str, **parameters: object) -> Row | None:
        rows = self.fetch_all(query, **parameters)
        return rows[0] if rows else None

    def fetch_each(self, *asked: Asked) -> list[list[Row]]:
        return [self.fetch_all(query, **parameters) for query, parameters in asked]

    def fetch_page(
        self, query: str, *, bytes_most: int, **parameters: object
    ) -> list[Row]:
        with self._store.session_for(parameters.get("execution_id")) as session:
            return session.fetch_page(query, bytes_most=bytes_most, **parameters)

    def rows(
        self, table: str, *, by_execution: bool = False
    ) -> Iterator[dict[str, Any]]:
        with self._store.session_for(None) as session:
            # At once: the private store has one connection, and others want it too.
            return iter([*session.rows(table, by_execution=by_execution)])

    def redacted_from(self) -> tuple[str, ...]:
        return self._store.redacted_from()

    def rows_of(self, table: str, execution_id: str) -> list[dict[str, Any]]:
        with self._store.session_for(execution_id) as session:
            return session.rows_of(table, execution_id)
