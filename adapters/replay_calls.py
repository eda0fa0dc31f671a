"""Replaying histories: the state at any time, why it is so, and whether it is true."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Final
from uuid import UUID

from leasehold.adapters import repairing, signing, verifying, walking
from leasehold.adapters.checkpoints import (
    Checkpoint,
    Lines,
    digest_until,
    parse_all,
)
from leasehold.adapters.commands import Commands, Draws
from leasehold.adapters.differing import (
    COLUMNS,
    EXEC_CORE,
    RowDifference,
    differences_between,
    last_change_seen,
)
from leasehold.adapters.reader import Reader
from leasehold.adapters.replaying import (
    MakePrivate,
    Moment,
    ReplayedStore,
    history_until,
)
from leasehold.adapters.store import ReadSession, Store
from leasehold.adapters.verifying import VerifyReport
from leasehold.adapters.walking import Progress
from leasehold.domain import limits
from leasehold.domain.errors import InvalidInputError, NotFoundError, StoreError
from leasehold.domain.records import RecordedEvent
from leasehold.domain.streams import EXECUTION_ID_CHARACTERS
from leasehold.projections import attempt, summary
from leasehold.projections.tables import Key, Tables

_OF_EXECUTION: Final = (EXEC_CORE,)
_OF_ATTEMPT: Final = (attempt.TABLE, summary.TABLE)


class ReplayCommands(Commands):
    """What the events tell beyond the tables of now."""

    def __init__(
        self,
        store: Store,
        draws: Draws | None = None,
        make_private: MakePrivate | None = None,
    ) -> None:
        """Work on a store.

        Args:
            store: The store.
            draws: Where ids come from.
            make_private: Makes empty stores in memory for the states of earlier times.
        """
        super().__init__(store, draws)
        self._make_private = make_private

    @contextmanager
    def as_of(
        self,
        position: int | None = None,
        at_ms: int | None = None,
        *,
        progress: Progress | None = None,
    ) -> Iterator[Reader]:
        """Read the ledger as it was at a position of the log or at a time.

        Replays what is asked about into a private store: one execution for a question
        about one, else the whole log. Best-effort frames are no history and are not
        there.

        Args:
            position: Events beyond it have not happened yet. A position that is not
                settled yet stands for the last one that is.
            at_ms: Events recorded after this time have not happened yet, ms since the
                Unix epoch. With neither, the state now.
            progress: Told how many events of a whole replay are done, and of how many.

        Raises:
            InvalidInputError: Both are given, or one breaks its rule.
            StoreError: `corrupt_event`: an event cannot be read.
        """
        moment = self._moment(position, at_ms)
        if self._make_private is None:
            message = "this ledger was made without a way to make private stores"
            raise InvalidInputError(message)
        store = ReplayedStore(self._store, moment, self._make_private, progress)
        with closing(store):
            yield Reader(store)

    def _moment(self, position: int | None, at_ms: int | None) -> Moment:
        if position is not None and at_ms is not None:
            message = "give a position or a time (at_ms), not both"
            raise InvalidInputError(message)
        if position is not None:
            limits.integer("position", position, least=0, most=limits.POSITION_MAX)
        if at_ms is not None:
            limits.time_ms("at_ms", at_ms)
        settled = self._settled_position()
        return Moment(settled if position is None else min(position, settled), at_ms)

    def _settled_position(self) -> int:
        with self._store.read(once=True) as session:
            position: int = session.fetch_all("settled_position")[0][0]
            return position

    def diff(self, before: int, after: int) -> list[RowDifference]:
        """Return the rows that differ between two positions of the log.

        Only the executions with events in between are replayed.

        Args:
            before: A position; 0 is before all events.
            after: Another one, which may be the earlier.

        Returns:
            The rows of exec_core, attempt, summary, lease_event and stream_frame, by
            execution; each tells the columns that differ.

        Raises:
            InvalidInputError: A position is out of bounds.
            StoreError: `corrupt_event`: an event cannot be read.
        """
        for name, position in (("before", before), ("after", after)):
            limits.integer(name, position, least=0, most=limits.POSITION_MAX)
        settled = self._settled_position()
        before, after = min(before, settled), min(after, settled)
        found: list[RowDifference] = []
        with self._store.read() as session:
            for execution_id in _executions_between(session, *sorted((before, after))):
                one, other = (
                    _tables_at(session, execution_id, Moment(position))
                    for position in (before, after)
                )
                found += differences_between(one, other)
        return found

    def why(
        self, execution_id: UUID, column: str, attempt_index: int | None = None
    ) -> RecordedEvent | None:
        """Return the event that last gave a column another value.

        Args:
            execution_id: The execution.
            column: A column of exec_core; with an attempt, one of attempt or summary.
            attempt_index: The attempt.

        Returns:
            The event; the one that made the row, where the column kept its first
            value. None where the attempt has no row with that column.

        Raises:
            InvalidInputError: There is no such column; the message names those that
                there are.
            NotFoundError: The store has no such execution.
            StoreError: `corrupt_event`: an event cannot be read.
        """
        limits.identifier("execution_id", execution_id)
        tables = _OF_EXECUTION if attempt_index is None else _OF_ATTEMPT
        known = [*dict.fromkeys(it for table in tables for it in COLUMNS[table])]
        if column not in known:
            raise limits.refuse("column", column, f"one of {', '.join(known)}")
        table = next(name for name in tables if column in COLUMNS[name])
        key: Key = (str(execution_id),)
        if attempt_index is not None:
            limits.integer(
                "attempt_index", attempt_index, least=0, most=limits.POSITION_MAX
            )
            key = (*key, attempt_index)
        with self._store.read() as session:
            history = history_until(
                session, str(execution_id), Moment(limits.POSITION_MAX)
            )
            recorded = [event for event, _ in history]
        if not recorded:
            message = f"execution {execution_id} is not in this store"
            raise NotFoundError(message)
        return last_change_seen(recorded, table, key, column)

    def verify(
        self,
        checkpoint: Lines | None = None,
        *,
        public_key: signing.Key | None = None,
        progress: Progress | None = None,
    ) -> VerifyReport:
        """Hold the log against itself, and every projected row against its replay.

        Streams are contiguous, hashes chain, every event decodes. It reports what it
        meets and does not raise for it. Memory is bounded by the largest execution,
        and by a page of the log and of each table, some 8 MiB.
        Best-effort frames are no projection and are left out.

        Args:
            checkpoint: What `checkpoint()` gave at an earlier time, or several of
                these: only they show that the end of the log was cut, or all of it
                rewritten. The log is read once for all of them.
            public_key: The public half of the Ed25519 key that they were signed with,
                as PEM, or the path of its file. Each must be signed by it then.
            progress: Told how many events are done, and of how many.

        Raises:
            InvalidInputError: What is given is no checkpoint or no such key, or a
                checkpoint is not signed by the key.
            StoreError: The store could not be read, or the extra `sign` is missing.
        """
        checkpoints = () if checkpoint is None else parse_all(checkpoint)
        signed = sum(one.signature is not None for one in checkpoints)
        if public_key is not None:
            if not checkpoints:
                message = "public_key checks the signatures of checkpoints: give one"
                raise InvalidInputError(message)
            signing.check_signatures(checkpoints, public_key)
        try:
            report = self._verify(checkpoints, progress, any_text=False)
        except StoreError as error:
            if error.code != "corrupt_event":
                raise
            # Text that is not UTF-8: read it as what it is, which takes longer.
            report = self._verify(checkpoints, progress, any_text=True)
        return replace(
            report,
            checkpoints=len(checkpoints),
            signatures_checked=0 if public_key is None else signed,
            signatures_unchecked=signed if public_key is None else 0,
        )

    def _verify(
        self,
        checkpoints: Sequence[Checkpoint],
        progress: Progress | None,
        *,
        any_text: bool,
    ) -> VerifyReport:
        with self._store.read(any_text=any_text) as session:
            expected: int = session.fetch_all("last_position")[0][0]
            return verifying.verify(
                session,
                checkpoints=checkpoints,
                events_expected=expected,
                progress=progress,
            )

    def checkpoint(self, *, signing_key: signing.Key | None = None) -> str:
        """Return a line that tells what the log is now, to be kept elsewhere.

        It is a JSON object: `position`, the last settled one; `sha256`, over the
        hashes of all events up to it in log order; `at_ms`; where it is signed, the
        fingerprint of the key and the signature. See `verify`.

        Args:
            signing_key: An Ed25519 private key in PEM, not encrypted, or the path of
                its file.

        Raises:
            InvalidInputError: What is given is no such key.
            StoreError: The store could not be read, or the extra `sign` is missing.
        """
        # Before the log is read, which may take long.
        sign: Callable[[Checkpoint], object] = (
            str if signing_key is None else signing.signer(signing_key)
        )
        settled = self._settled_position()
        with self._store.read() as session:
            sha256, last = digest_until(session, settled)
            made = Checkpoint(last, sha256, session.now_ms())
        return str(sign(made))

    def rebuild(self, progress: Progress | None = None) -> list[RowDifference]:
        """Work the rows out anew beside the live ones, and put right what differs.

        Writers go on meanwhile. What differs is put right in one transaction at the
        end, so that readers never meet a missing, half or older row; killed before
        that, it has changed nothing. Several at once do no harm.

        Args:
            progress: Told how many events are done, and of how many.

        Returns:
            The rows that were not what the events add up to: as they were, and as
            they are now.

        Raises:
            StoreError: `corrupt_event`: an event cannot be read; the old rows stand.
        """
        return repairing.rebuild(self._store, progress)


def _executions_between(session: ReadSession, first: int, last: int) -> list[str]:
    """Return the executions that have events after one position, up to another."""
    found: dict[str, None] = {}
    for position, stream_id, *_ in walking.log(session, first):
        if position > last:
            break
        found[str(stream_id)[:EXECUTION_ID_CHARACTERS]] = None
    return sorted(found)


def _tables_at(session: ReadSession, execution_id: str, moment: Moment) -> Tables:
    tables = Tables()
    for recorded, _ in history_until(session, execution_id, moment):
        tables.project(recorded)
    return tables
