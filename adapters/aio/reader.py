"""The query side, awaited."""

from uuid import UUID

import anyio

from leasehold.adapters.aio.awaiting import awaited
from leasehold.adapters.reader import BLOCK_MS_MAX, Reader
from leasehold.adapters.rows import FrameRow
from leasehold.adapters.threads import Threads
from leasehold.domain import limits

_POLL_FIRST_S = 0.002
_POLL_LAST_S = 0.1


class AsyncReader:
    """What can be asked of a ledger, awaited; see `Reader`."""

    def __init__(self, reader: Reader, threads: Threads) -> None:
        """Read by a reader, on threads."""
        self._wrapped = reader
        self._threads = threads

    execution = awaited(Reader.execution)
    executions = awaited(Reader.executions)
    attempts = awaited(Reader.attempts)
    attempt = awaited(Reader.attempt)
    lease_events = awaited(Reader.lease_events)
    tenures = awaited(Reader.tenures)
    summary = awaited(Reader.summary)
    frames = awaited(Reader.frames)
    expired_leases = awaited(Reader.expired_leases)
    waiting = awaited(Reader.waiting)
    oldest_orphan = awaited(Reader.oldest_orphan)
    lanes = awaited(Reader.lanes)
    counts = awaited(Reader.counts)
    history = awaited(Reader.history)
    events = awaited(Reader.events)
    audit = awaited(Reader.audit)
    settled_position = awaited(Reader.settled_position)
    store_facts = awaited(Reader.store_facts)

    async def tail_frames(
        self, execution_id: UUID, index: int, after: str | None, block_ms: int
    ) -> list[FrameRow]:
        """Return the frames after a place, waiting for the first where there is none.

        It waits in the loop: no thread is held, and a cancellation takes effect.

        Args:
            execution_id: The execution.
            index: The attempt; it need not have started.
            after: The `stream_id` of the last frame seen; None from the beginning.
            block_ms: 0 … 86,400,000; how long to wait, by the clock of the loop.

        Returns:
            At most 1000 frames; none where none came in time.
        """
        limits.integer("block_ms", block_ms, least=0, most=BLOCK_MS_MAX)
        give_up_at = anyio.current_time() + block_ms / 1000
        pause_s = _POLL_FIRST_S
        while True:
            found = await self.frames(execution_id, index, after=after)
            left_s = give_up_at - anyio.current_time()
            if found or left_s <= 0:
                return found
            await anyio.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, _POLL_LAST_S)
