"""What workers told while they worked, held against itself and against the log.

It knows nothing of the ledger's own tables and times: workers tell what they were
answered, with the machine's monotonic clock, which all processes share.
"""

import threading
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from leasehold.adapters.benching.children import Told
from leasehold.adapters.ledger import Ledger
from leasehold.adapters.walking import Progress
from leasehold.domain.executions import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionExpired,
    ExecutionFailed,
)

NAMED_MAX: Final = 20
"""How many of each kind of fault are told of one by one; the others are counted."""

KINDS_OF_FAULTS: Final = ("duplicate", "overlap", "late", "lost", "open", "broken")
"""`Faults` has what they mean."""

_ENDS: Final = (
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionCancelled,
    ExecutionExpired,
)
_TOPICS: Final = (ExecutionCreated.TOPIC, *(event.TOPIC for event in _ENDS))
_PAGE: Final = 5_000


@dataclass(slots=True)
class ToldTenure:
    """A lease, as its holder told of it.

    Attributes:
        holder: Which process; None where it did not come to tell of its claim.
        claimed_ns: When the claim was answered.
        written_ns: When the last write that was accepted was sent.
        has_completed: Whether the end of the work was accepted.
    """

    holder: str | None = None
    claimed_ns: int | None = None
    written_ns: int | None = None
    has_completed: bool = False


@dataclass
class Faults:
    """What must not be.

    Attributes:
        counts: How often, by kind: `duplicate` (an execution that ended twice, or two
            creations under one key), `overlap` (two held a lease at once), `late` (a
            write was accepted after its lease had run out or been refused), `lost`
            (what was answered as done is not in the log), `open` (it did not end),
            `broken` (a process ended that should not have).
        texts: The first of each kind, in words.
    """

    counts: Counter[str] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)

    def add(self, kind: str, text: str) -> None:
        """Note one."""
        self.counts[kind] += 1
        if self.counts[kind] <= NAMED_MAX:
            self.texts.append(f"{kind}: {text}")


class Witness:
    """Hears what processes tell, from any thread.

    Attributes:
        faults: What was found so far.
        created: How many creations were answered, repeated ones left out.
        repeated: How many creations were made again under the same key.
        accepted: Writes by operation.
        refused: Refused writes by code.
        late: Writes that were sent after the lease had run out by its holder's clock.
        troubles: Calls that the store could not do, by code; they were made again.
        claims_ms: How long claims took that got something, in the order of answers.
        claims_ns: When they were answered.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.faults = Faults()
        self.created = 0
        self.repeated = 0
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.late = 0
        self.troubles: Counter[str] = Counter()
        self.claims_ms = array("d")
        self.claims_ns = array("q")
        self._ids: dict[int, str] = {}
        self._tenures: dict[str, dict[int, ToldTenure]] = {}
        self._lock = threading.Lock()

    def hear(self, holder: str, told: Told) -> None:
        """Note what a process told."""
        with self._lock:
            match told:
                case ["created", int(first), list(ids)]:
                    self._hear_created(first, ids)
                case ["claimed", str(execution_id), int(epoch), begin_ns, int(at_ns)]:
                    self._hear_claim(holder, execution_id, epoch, at_ns)
                    if begin_ns is not None:
                        self.claims_ms.append((at_ns - begin_ns) / 1e6)
                        self.claims_ns.append(at_ns)
                case ["wrote", str(execution_id), int(epoch), *write]:
                    self._hear_write(holder, self._of(execution_id, epoch), *write)
                case ["trouble", str(code)]:
                    self.troubles[code] += 1
                case _:
                    self.faults.add("broken", f"{holder} told {told!r}")

    def _of(self, execution_id: str, epoch: int) -> ToldTenure:
        tenures = self._tenures.setdefault(execution_id, {})
        return tenures.setdefault(epoch, ToldTenure())

    def _hear_created(self, first: int, ids: list[str]) -> None:
        for number, execution_id in enumerate(ids, start=first):
            known = self._ids.setdefault(number, execution_id)
            self.repeated += number < self.created
            self.created = max(self.created, number + 1)
            if known != execution_id:
                text = f"key {number} is of {known} and of {execution_id}"
                self.faults.add("duplicate", text)

    def _hear_claim(
        self, holder: str, execution_id: str, epoch: int, at_ns: int
    ) -> None:
        tenure = self._of(execution_id, epoch)
        if tenure.claimed_ns is not None:
            text = f"{holder} and {tenure.holder} claimed {execution_id}, epoch {epoch}"
            self.faults.add("overlap", text)
        tenure.holder, tenure.claimed_ns = holder, at_ns

    def _hear_write(  # noqa: PLR0913, PLR0917 - as it is told
        self,
        holder: str,
        tenure: ToldTenure,
        operation: str,
        sent_ns: int,
        code: str | None,
        why_late: str | None = None,
    ) -> None:
        self.late += why_late is not None
        if code is not None:
            self.refused[code] += 1
            return
        self.accepted[operation] += 1
        tenure.written_ns = max(tenure.written_ns or 0, sent_ns)
        tenure.has_completed |= operation == "complete"
        if why_late is not None:
            self.faults.add("late", f"{operation} of {holder} was accepted {why_late}")

    def held_by(self, holder: str) -> list[tuple[str, int]]:
        """Return which leases, by execution and epoch, a process told of last."""
        with self._lock:
            return [
                (execution_id, epoch)
                for execution_id, tenures in self._tenures.items()
                for epoch in [max(tenures)]
                if tenures[epoch].holder == holder
            ]

    def claimed_ns(self, execution_id: str, epoch: int) -> int | None:
        """Return when a lease was claimed, None where nobody told."""
        with self._lock:
            tenure = self._tenures.get(execution_id, {}).get(epoch)
            return None if tenure is None else tenure.claimed_ns

    def check_overlaps(self) -> None:
        """Find writes that were accepted although the next lease had been given out."""
        for execution_id, tenures in self._tenures.items():
            ordered = [tenures[epoch] for epoch in sorted(tenures)]
            for tenure, after in pairwise(ordered):
                wrote_ns, next_ns = tenure.written_ns, after.claimed_ns
                if wrote_ns and next_ns and wrote_ns > next_ns:
                    text = (
                        f"{execution_id}: a write of {tenure.holder} was accepted "
                        f"{(wrote_ns - next_ns) / 1e6:.1f} ms after {after.holder} had "
                        "claimed it"
                    )
                    self.faults.add("overlap", text)
            if sum(tenure.has_completed for tenure in ordered) > 1:
                self.faults.add("duplicate", f"{execution_id}: completed twice")

    def check_log(self, ledger: Ledger, progress: Progress | None = None) -> int:
        """Hold the log against what was told; return how many executions it has.

        What was answered is there, under the id and the epoch that were answered;
        every execution was created under a key of its own and ended once.
        """
        keys: set[str | None] = set()
        ended: dict[str, int | None] = {}
        open_ids: set[str] = set()
        for event in _events(ledger, progress):
            execution_id = str(event.execution_id)
            if isinstance(event, ExecutionCreated):
                if event.idempotency_key in keys:
                    text = f"two creations under the key {event.idempotency_key}"
                    self.faults.add("duplicate", text)
                keys.add(event.idempotency_key)
                open_ids.add(execution_id)
            elif execution_id in ended:
                self.faults.add("duplicate", f"{execution_id}: ended twice in the log")
            else:
                ended[execution_id] = getattr(event, "lease_epoch", None)
        for execution_id in open_ids - ended.keys():
            self.faults.add("open", f"{execution_id} did not end")
        self._check_answers(open_ids, ended)
        return len(open_ids)

    def _check_answers(self, stored: set[str], ended: dict[str, int | None]) -> None:
        for execution_id in set(self._ids.values()) - stored:
            text = f"{execution_id}: its creation was answered, and it is not there"
            self.faults.add("lost", text)
        for execution_id, tenures in self._tenures.items():
            for epoch, tenure in tenures.items():
                if tenure.has_completed and ended.get(execution_id) != epoch:
                    text = (
                        f"{execution_id}: {tenure.holder} completed it under epoch "
                        f"{epoch}, the log has {ended.get(execution_id)}"
                    )
                    self.faults.add("lost", text)


def _events(
    ledger: Ledger, progress: Progress | None
) -> Iterator[
    ExecutionCreated
    | ExecutionCompleted
    | ExecutionFailed
    | ExecutionCancelled
    | ExecutionExpired
]:
    """Give the creations and ends of a log."""
    after, last = 0, ledger.read.settled_position()
    while page := ledger.read.events(after, _PAGE, _TOPICS):
        for record in page:
            if isinstance(record.event, (ExecutionCreated, *_ENDS)):
                yield record.event
        after = page[-1].position
        if progress is not None:
            progress(after, max(last, after))
