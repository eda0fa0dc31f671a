"""Carrying histories from one store to another: `export` and `import_bundle`."""

import heapq
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

from leasehold.adapters.bundles import (
    BundleHeader,
    BundleReader,
    BundleSummary,
    BundleWriter,
    Stored,
    redacted_events,
)
from leasehold.adapters.commands import Commands
from leasehold.adapters.store import Append, ReadSession, WriteSession
from leasehold.adapters.walking import PAGE, Progress
from leasehold.domain import limits
from leasehold.domain.errors import ConflictError, NotFoundError, StoreError
from leasehold.domain.executions import ExecutionCreated
from leasehold.domain.records import RecordedEvent
from leasehold.projections.changes import Place

_NO_LIMIT: Final = -1
_SPOOLED_BYTES_MAX: Final = 16 * 1024 * 1024
_COPIED_AT_ONCE: Final = 1024 * 1024


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
            progress: Told how many events are written, and of how many.

        Raises:
            InvalidInputError: An argument breaks its rule.
            NotFoundError: The store has not one of the executions.
            StoreError: The target cannot be written; `corrupt_event`: an event is
                damaged.
        """
        chosen = None if execution_ids is None else _chosen(execution_ids)
        with self._store.read(once=True) as session:
            settled: int = session.fetch_all("settled_position")[0][0]
        with self._store.read() as session, _opened(target) as file:
            header = BundleHeader()
            if redact:
                original = BundleWriter(None, header)
                for stored in _events(session, chosen, settled):
                    original.add(stored)
                header = BundleHeader(
                    redacted=True, original_sha256=original.finish().sha256
                )
            writer = BundleWriter(file, header)
            events: Iterable[Stored] = _events(session, chosen, settled)
            if redact:
                events = redacted_events(events)
            expected: int = session.fetch_all("last_position")[0][0]
            for number, stored in enumerate(events, start=1):
                writer.add(stored)
                if progress is not None:
                    progress(number, max(number, expected))
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
            StoreError: The source cannot be read, or the store could not do it.
        """
        with _spooled(source) as file:
            verified = BundleReader(file)
            names = []
            for recorded, _ in verified.events():
                if isinstance(recorded.event, ExecutionCreated):
                    names += _names(recorded.event)
            summary = verified.summary
            if summary is None:
                message = "the bundle was not read to its end"
                raise StoreError(message)
            file.seek(0)
            with self._store.write() as session:
                session.lock_names(names)
                is_empty = session.fetch_all("last_position")[0][0] == 0
                events = BundleReader(file).events()
                for number, (recorded, state) in enumerate(events, start=1):
                    _take_in(session, recorded, state, keep_position=is_empty)
                    if progress is not None:
                        progress(number, summary.events)
                if summary.header.original_sha256 is not None:
                    session.note_redacted(summary.header.original_sha256)
        return summary


def _chosen(execution_ids: Collection[UUID]) -> list[str]:
    if isinstance(execution_ids, str | bytes | UUID):
        raise limits.refuse("execution_ids", execution_ids, "a collection of UUIDs")
    return sorted(
        {str(limits.identifier("execution_ids", known)) for known in execution_ids}
    )


def _events(
    session: ReadSession, chosen: list[str] | None, settled: int
) -> Iterator[Stored]:
    events = _log(session) if chosen is None else _histories(session, chosen)
    for stored in events:
        if stored[0] > settled:
            return
        yield stored


def _log(session: ReadSession) -> Iterator[Stored]:
    after = 0
    while True:
        rows = session.fetch_all("log", after=after, most=PAGE)
        for position, stream_id, version, topic, state in rows:
            yield position, stream_id, version, topic, bytes(state)
        if len(rows) < PAGE:
            return
        after = rows[-1][0]


def _histories(session: ReadSession, chosen: list[str]) -> Iterator[Stored]:
    histories: list[list[tuple[Any, ...]]] = []
    for execution_id in chosen:
        rows = session.fetch_all(
            "history", execution_id=execution_id, after=0, most=_NO_LIMIT
        )
        if not rows:
            message = f"execution {execution_id} is not in this store"
            raise NotFoundError(message)
        histories.append([tuple(row) for row in rows])
    for position, stream_id, version, topic, state in heapq.merge(*histories):
        yield position, stream_id, version, topic, bytes(state)


@contextmanager
def _opened(target: str | os.PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
    """Open a target; a path gets its content whole, at the end, or not at all."""
    if not isinstance(target, str | os.PathLike):
        yield target
        return
    path = Path(target)
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            try:
                yield file  # type: ignore[misc]
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).chmod(0o644)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise StoreError(message) from error


@contextmanager
def _spooled(source: str | os.PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
    """Open a source so that it can be read twice."""
    if isinstance(source, str | os.PathLike):
        try:
            with Path(source).open("rb") as file:
                yield file
        except OSError as error:
            message = f"{source} cannot be read: {error.strerror}"
            raise StoreError(message) from error
        return
    with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES_MAX) as spool:
        while chunk := source.read(_COPIED_AT_ONCE):
            spool.write(chunk)
        spool.seek(0)
        yield spool  # type: ignore[misc]


def _names(created: ExecutionCreated) -> list[str]:
    names = [str(created.execution_id)]
    if created.idempotency_key is not None:
        names.append(f"{created.namespace}\0{created.idempotency_key}")
    return names


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
