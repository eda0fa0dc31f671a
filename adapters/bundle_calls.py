"""Carrying histories from one store to another: `export` and `import_bundle`."""

import hashlib
import itertools
import os
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from typing import BinaryIO, Final
from uuid import UUID

from leasehold.adapters import walking
from leasehold.adapters.bundle_files import opened_to_read_twice, opened_to_write
from leasehold.adapters.bundles import (
    BundleHeader,
    BundleReader,
    BundleSummary,
    BundleWriter,
    Stored,
    redacted_events,
)
from leasehold.adapters.commands import Commands, names_of_creation
from leasehold.adapters.store import (
    PAGE_BYTES,
    Append,
    ReadSession,
    WriteSession,
)
from leasehold.adapters.walking import Progress
from leasehold.domain import limits
from leasehold.domain.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StoreError,
)
from leasehold.domain.executions import ExecutionCreated
from leasehold.domain.records import RecordedEvent
from leasehold.domain.streams import EXECUTION_ID_CHARACTERS
from leasehold.projections.changes import Place
from leasehold.projections.registry import PROJECTION_VERSION

_MERGED_MAX: Final = 100
"""How many histories are read side by side; for more the whole log is read."""


class BundleCommands(Commands):
    """The operations by which histories leave a store and come into one."""

    def export(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        execution_ids: Collection[UUID] | None = None,
        *,
        redact: bool = False,
        progress: Progress | None = None,
    ) -> BundleSummary:
        """Write a bundle: the events of all executions or of chosen ones.

        The same events give the same bytes, in whatever store they are.

        Args:
            target: A path, which holds the whole bundle or what it held before; or a
                binary file.
            execution_ids: Only these; None for all.
            redact: Whether payloads, results, frames, messages and reasons are left
                out. The header then says so, with the digest of the bundle that has
                them.
            progress: Told how many events are done, and of how many; with `redact`
                they are counted twice, as the log is read twice.

        Raises:
            InvalidInputError: An argument breaks its rule.
            NotFoundError: The store has not one of the executions.
            StoreError: The path cannot be written; `corrupt_event`: an event is
                damaged; `store_busy`: one of the executions is not settled yet.
            OSError: What a file of the caller's raises is raised as it is.
        """
        wanted = None if execution_ids is None else _chosen(execution_ids)
        with self._store.read(once=True) as session:
            settled: int = session.fetch_all("settled_position")[0][0]
        with self._store.read() as session, opened_to_write(target) as file:
            chosen = _known(session, wanted, settled)
            header = _header_of(session.redacted_from())
            expected = _last_position(session) * (2 if redact else 1)
            done = itertools.count(1)

            def taken() -> Iterator[Stored]:
                for stored in _events(session, chosen, settled):
                    yield stored
                    if progress is not None:
                        number = next(done)
                        progress(number, max(number, expected))

            if redact:
                original = BundleWriter(None, header)
                for stored in taken():
                    original.add(stored)
                header = BundleHeader(
                    redacted=True, original_sha256=original.finish().sha256
                )
            writer = BundleWriter(file, header)
            for stored in redacted_events(taken()) if redact else taken():
                writer.add(stored)
            return writer.finish()

    def import_bundle(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        progress: Progress | None = None,
    ) -> BundleSummary:
        """Verify a bundle, then append and project all its events, or none.

        In an empty store the positions are kept; in another one they are new, at the
        end, in the same order.

        Args:
            source: A path or a binary file.
            progress: Told how many events are appended, and of how many.

        Raises:
            InvalidInputError: The bundle was altered, cut or is none; the message
                names the line.
            ConflictError: The store has an execution of that id, or one created under
                the same idempotency key.
            StoreError: The path cannot be read, or the store could not do it.
            OSError: What a file of the caller's raises is raised as it is.
        """
        with opened_to_read_twice(source) as file:
            verified = BundleReader(file)
            names = []
            for recorded, _ in verified.events():
                if isinstance(recorded.event, ExecutionCreated):
                    created = recorded.event
                    names += names_of_creation(
                        created.execution_id, created.namespace, created.idempotency_key
                    )
            summary = verified.summary
            if summary is None:
                message = "the bundle was not read to its end"
                raise StoreError(message)
            file.seek(0)
            # Nobody else may write where positions are given and not drawn.
            may_be_empty = self._is_empty()
            with self._store.write(any_version=may_be_empty) as session:
                if may_be_empty:
                    _check_version(session, self._store.shown)
                session.lock_names(names)
                is_empty = may_be_empty and not _last_position(session)
                events = BundleReader(file).events()
                for number, (recorded, state) in enumerate(events, start=1):
                    try:
                        _take_in(session, recorded, state, keep_position=is_empty)
                    except OverflowError as error:
                        raise _too_large(number + 1) from error
                    if progress is not None:
                        progress(number, summary.events)
                if summary.header.original_sha256 is not None:
                    session.note_redacted(summary.header.original_sha256)
        return summary

    def _is_empty(self) -> bool:
        with self._store.read(once=True) as session:
            return not _last_position(session)


def _last_position(session: ReadSession) -> int:
    return int(session.fetch_all("last_position")[0][0])


def _check_version(session: WriteSession, shown: str) -> None:
    if session.projection_version() != PROJECTION_VERSION:
        message = (
            f"another version of leasehold has changed the tables of {shown} "
            "meanwhile; open the ledger again with that version"
        )
        raise StoreError(message, code="schema_version")


def _header_of(redacted_from: tuple[str, ...]) -> BundleHeader:
    """Return the header for a store that may have taken redacted bundles in.

    What was taken out of one stays out: the header still says so, with the digest of
    its original, or one over the digests of several.
    """
    if not redacted_from:
        return BundleHeader()
    original, *others = redacted_from
    if others:
        original = hashlib.sha256(",".join(redacted_from).encode()).hexdigest()
    return BundleHeader(redacted=True, original_sha256=original)


def _chosen(execution_ids: Collection[UUID]) -> list[str]:
    if isinstance(execution_ids, str | bytes) or not isinstance(
        execution_ids, Iterable
    ):
        raise limits.refuse("execution_ids", execution_ids, "a collection of UUIDs")
    return sorted(
        {str(limits.identifier("execution_ids", known)) for known in execution_ids}
    )


def _known(
    session: ReadSession, chosen: list[str] | None, settled: int
) -> dict[str, int] | None:
    """Return the chosen executions with the positions that they begin at."""
    if chosen is None:
        return None
    return {it: _beginning_of(session, it, settled) for it in chosen}


def _beginning_of(session: ReadSession, execution_id: str, settled: int) -> int:
    begin = session.fetch_one("history", execution_id=execution_id, after=0, most=1)
    if begin is None:
        message = f"execution {execution_id} is not in this store"
        raise NotFoundError(message)
    if begin[0] > settled:
        message = (
            f"execution {execution_id} is not settled yet: others still write what "
            "stands before it in the log; try again"
        )
        raise StoreError(message, code="store_busy", retryable=True)
    return int(begin[0])


def _events(
    session: ReadSession, chosen: dict[str, int] | None, settled: int
) -> Iterator[Stored]:
    if chosen is not None and len(chosen) <= _MERGED_MAX:
        # Of each that is open there is a page in memory: together about one.
        bytes_most = PAGE_BYTES // max(1, len(chosen))
        rows = walking.merged(
            (first, partial(walking.history, session, it, bytes_most=bytes_most))
            for it, first in chosen.items()
        )
    else:
        rows = walking.log(session)
        if chosen is not None:
            rows = (row for row in rows if row[1][:EXECUTION_ID_CHARACTERS] in chosen)
    for position, stream_id, version, topic, state in rows:
        if position > settled:
            return
        yield position, stream_id, version, topic, state


def _too_large(line_number: int) -> InvalidInputError:
    message = (
        f"line {line_number} of the bundle: a number in it is too large for the store; "
        "nothing was imported"
    )
    return InvalidInputError(message)


def _take_in(
    session: WriteSession, recorded: RecordedEvent, state: bytes, *, keep_position: bool
) -> None:
    if isinstance(recorded.event, ExecutionCreated):
        _refuse_known(session, recorded.event)
    if keep_position:
        session.restore(recorded, state)
        session.project(recorded)
        return
    place = Place(recorded.stream_id, recorded.version, recorded.sha256)
    session.append([Append(recorded.event, place, state)])


def _refuse_known(session: WriteSession, created: ExecutionCreated) -> None:
    known = session.fetch_one("created_by_id", execution_id=str(created.execution_id))
    if known is not None:
        message = f"execution {created.execution_id} is in this store already"
        raise ConflictError(message)
    if created.idempotency_key is None:
        return
    known = session.fetch_one(
        "created_by_key",
        namespace=created.namespace,
        idempotency_key=created.idempotency_key,
    )
    if known is not None:
        message = (
            f"idempotency key {created.idempotency_key!r} of namespace "
            f"{created.namespace!r} is known as execution {known[0]}, and the bundle "
            f"has it for {created.execution_id}"
        )
        raise ConflictError(message)
