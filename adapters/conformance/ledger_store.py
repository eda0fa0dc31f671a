"""A ledger as a lease store: a resource is an execution in a lane of its own."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import Final, Self
from uuid import UUID, uuid4

from leasehold.adapters.conformance.lease_store import (
    Grant,
    Lease,
    Record,
    Refused,
    Unknown,
)
from leasehold.adapters.ledger import Ledger
from leasehold.adapters.opening import open_ledger
from leasehold.domain.errors import (
    ContentionError,
    IllegalTransitionError,
    InvalidInputError,
    StoreError,
)
from leasehold.domain.frames import Frame, Summary
from leasehold.domain.handles import Handle
from leasehold.domain.limits import COUNT_MAX
from leasehold.domain.retries import Fixed, RetryPolicy
from leasehold.domain.states import FailureClass, PublicState

_LANE: Final = "conformance-"
_MEMORY: Final = "sqlite://"
_ACTOR: Final = "conformance kit"


class LedgerStore:
    """A ledger as a lease store: `with LedgerStore(url) as store: run(store)`.

    The ledger is to be one made for it: what is written stays. Each session opens the
    ledger for itself, as a process would; with `sqlite://` all share one, as threads
    do. It goes to another process by pickling, and opens the ledger there anew.
    """

    def __init__(self, url: str, *, shares: bool = False) -> None:
        """Prepare to open a ledger.

        Args:
            url: As for `leasehold.open`.
            shares: Whether all sessions share one ledger.
        """
        self._url = url
        self._shares = shares or url == _MEMORY
        self._clock: Callable[[], int] = int
        self._free: list[Ledger] = []
        self._opened: list[Ledger] = []
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        """Go to another process as what it was made of."""
        return type(self), (self._url,)

    def __call__(
        self, clock: Callable[[], int], host_clock: Callable[[], int]
    ) -> "LedgerSession":
        """Open a session.

        All sessions that are open have the clock of the last one. The host's clock is
        not asked: no call on a ledger takes a time from its caller.

        Raises:
            InvalidInputError: The ledger holds other work.
        """
        del host_clock
        self._clock = clock
        if self._shares and self._opened:
            return LedgerSession(self._opened[0], lambda _: None)
        with self._lock:
            ledger = self._free.pop() if self._free else self._open()
        give_back = (lambda _: None) if self._shares else self._free.append
        return LedgerSession(ledger, give_back)

    def _now_ms(self) -> int:
        return self._clock()

    def _open(self) -> Ledger:
        ledger = open_ledger(self._url, clock=self._now_ms, durability="normal")
        self._opened.append(ledger)
        if any(not lane_id.startswith(_LANE) for lane_id in ledger.read.lanes()):
            message = (
                "the ledger holds executions that the kit has not made; name one for "
                "the kit alone, a new one say: what it writes stays"
            )
            raise InvalidInputError(message)
        return ledger

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the ledgers that were opened in this process."""
        self._free.clear()
        while self._opened:
            self._opened.pop().close()


class LedgerSession:
    """A session of a ledger."""

    writes = ("progress", "frame", "summary")
    endings = ("complete", "fail")
    lacks = ()

    def __init__(self, ledger: Ledger, give_back: Callable[[Ledger], None]) -> None:
        """Call a ledger; give it back in the end."""
        self._ledger = ledger
        self._give_back = give_back

    def create(self) -> str:
        """Make an execution in a lane of its own."""
        name = str(uuid4())
        self._ledger.create_execution(
            execution_id=UUID(name),
            lane_id=_LANE + name,
            max_reclaim_count=COUNT_MAX,
            retry_policy=RetryPolicy(max_retries=COUNT_MAX, backoff=Fixed(0)),
        )
        return name

    def claim(self, resource: str, holder: str, ttl_ms: int) -> Lease | None:
        """Claim the execution."""
        with _answered():
            handle = self._ledger.claim(
                _LANE + resource, worker_id=holder, lease_ttl_ms=ttl_ms
            )
        return None if handle is None else _lease(handle)

    def renew(self, lease: Lease) -> int:
        """Renew the lease."""
        with _answered():
            return self._ledger.renew(lease.token).expires_at_ms

    def write(self, lease: Lease, how: str, value: str) -> None:
        """Report progress, append a frame, or change the summary."""
        with _answered():
            if how == "progress":
                self._ledger.progress(lease.token, message=value)
            elif how == "frame":
                self._ledger.append_frame(lease.token, Frame(value.encode()))
            else:
                document = json.dumps({"value": value}).encode()
                self._ledger.append_frame(lease.token, Frame(document, mode=Summary()))

    def end(self, lease: Lease, how: str, value: str) -> None:
        """Complete the execution, or let it fail for good."""
        with _answered():
            if how == "complete":
                self._ledger.complete(lease.token, value.encode())
            else:
                self._ledger.fail(lease.token, value, FailureClass.PERMANENT)

    def release(self, lease: Lease) -> None:
        """Fail the attempt, to be tried again at once."""
        with _answered():
            self._ledger.fail(lease.token, "released", FailureClass.TRANSIENT)

    def revoke(self, resource: str) -> None:
        """Revoke the lease."""
        with _answered():
            self._ledger.revoke_lease(UUID(resource), actor=_ACTOR, reason="checked")

    def grant(self, resource: str, holder: str, ttl_ms: int) -> Grant:
        """Issue a grant to resume."""
        with _answered():
            grant = self._ledger.issue_resume_grant(
                UUID(resource), worker_id=holder, ttl_ms=ttl_ms, actor=_ACTOR
            )
        return Grant(grant, grant.expires_at_ms)

    def redeem(self, grant: Grant, holder: str, ttl_ms: int) -> Lease | None:
        """Claim by the grant."""
        with _answered():
            handle = self._ledger.claim_from_resume_grant(
                grant.token, worker_id=holder, lease_ttl_ms=ttl_ms
            )
        return None if handle is None else _lease(handle)

    def read(self, resource: str) -> Record:
        """Read the rows of the execution, of its attempts and their frames."""
        read, execution_id = self._ledger.read, UUID(resource)
        row = read.execution(execution_id)
        if row is None:
            message = f"execution {resource} is gone"
            raise LookupError(message)
        values: dict[str, str] = {}
        if "progress_message" in row.raw_fields:
            values["progress"] = row.raw_fields["progress_message"]
        attempts = read.attempts(execution_id)
        for attempt in attempts:
            index = attempt.attempt_index
            for frame in read.frames(execution_id, index):
                if frame.mode == "durable":
                    values["frame"] = frame.payload.decode()
            summary = read.summary(execution_id, index)
            if summary is not None:
                values["summary"] = summary.document["value"]
        if row.public_state is PublicState.COMPLETED:
            return Record(values, "complete", (row.result or b"").decode())
        if row.public_state is PublicState.FAILED:
            return Record(values, "fail", attempts[-1].failure_message)
        return Record(values)

    def close(self) -> None:
        """Give the ledger back."""
        self._give_back(self._ledger)


@contextmanager
def _answered() -> Iterator[None]:
    """Tell what a ledger raises in the kit's words."""
    try:
        yield
    except (ContentionError, IllegalTransitionError) as error:
        raise Refused from error
    except StoreError as error:
        raise Unknown from error


def _lease(handle: Handle) -> Lease:
    return Lease(handle, handle.lease_epoch, handle.lease_expires_at_ms)
