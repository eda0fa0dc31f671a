"""A correct lease store, as small as it can be: in memory, one transaction at a time.

It is there to show what the kit asks for, and to be broken (`broken.py`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Lock
from typing import ClassVar

from leasehold.adapters.conformance.lease_store import (
    Busy,
    Grant,
    Lease,
    Record,
    Refused,
)


@dataclass(frozen=True, slots=True)
class Token:
    """What a lease is presented by."""

    resource: str
    epoch: int
    holder: str
    ttl_ms: int


@dataclass(slots=True)
class Row:
    """A resource as it is stored.

    Attributes:
        epoch: Of the last lease.
        holder: Who has the lease, or had it until it ran out; None after its end.
        expires_at_ms: When it runs out.
        is_begun: Whether there is something to resume.
        values: The last value of each write.
        end: The ending, the result, and the epoch of the lease that it came under.
        grants: Who a grant is for and until when; those that were not used.
    """

    epoch: int = 0
    holder: str | None = None
    expires_at_ms: int = 0
    is_begun: bool = False
    values: dict[str, str] = field(default_factory=dict)
    end: tuple[str, str, int] | None = None
    grants: dict[int, tuple[str, int]] = field(default_factory=dict)


class ReferenceSession:
    """A session of a store that keeps the rules."""

    writes = ("write", "append")
    endings = ("complete", "fail")
    lacks = ()

    def __init__(
        self,
        store: "ReferenceStore",
        clock: Callable[[], int],
        host_clock: Callable[[], int],
    ) -> None:
        """Work on a store, by its clock."""
        self.store = store
        self.clock = clock
        self.host_clock = host_clock

    def now_ms(self) -> int:
        """Return now by the clock that counts."""
        return self.clock()

    def create(self) -> str:
        """Make a resource."""
        name = str(next(self.store.numbers))
        self.store.rows[name] = Row()
        return name

    def has_run_out(self, row: Row, now_ms: int) -> bool:
        """Say whether the lease of a row is at its end."""
        return now_ms >= row.expires_at_ms

    def is_free(self, row: Row, holder: str, now_ms: int) -> bool:
        """Say whether somebody can have the lease of a row."""
        del holder
        return row.holder is None or self.has_run_out(row, now_ms)

    def claim(self, resource: str, holder: str, ttl_ms: int) -> Lease | None:
        """Acquire the lease; None where it cannot be had."""
        with self.store.transaction(resource) as row:
            now_ms = self.now_ms()
            if row.end is not None or not self.is_free(row, holder, now_ms):
                return None
            return self.acquire(resource, row, holder, now_ms, ttl_ms)

    def acquire(
        self, resource: str, row: Row, holder: str, now_ms: int, ttl_ms: int
    ) -> Lease:
        """Give the lease of a row out, under the next epoch."""
        row.epoch += 1
        row.holder, row.expires_at_ms = holder, now_ms + ttl_ms
        row.is_begun = True
        token = Token(resource, row.epoch, holder, ttl_ms)
        return Lease(token, row.epoch, row.expires_at_ms)

    def check_fence(self, row: Row, token: Token, now_ms: int) -> None:
        """Refuse a lease that does not count.

        Raises:
            Refused: It is not the last one, was given back or taken, or has run out.
        """
        if (
            row.holder is None
            or row.epoch != token.epoch
            or self.has_run_out(row, now_ms)
        ):
            raise Refused

    @contextmanager
    def fenced(self, token: Token) -> Iterator[tuple[Row, int]]:
        """Give the row of a lease that counts, and the time."""
        with self.store.transaction(token.resource) as row:
            now_ms = self.now_ms()
            self.check_fence(row, token, now_ms)
            yield row, now_ms

    def renew(self, lease: Lease) -> int:
        """Let the lease run for its ttl from now."""
        token: Token = lease.token
        with self.fenced(token) as (row, now_ms):
            row.expires_at_ms = now_ms + token.ttl_ms
            return row.expires_at_ms

    def write(self, lease: Lease, how: str, value: str) -> None:
        """Write a value."""
        with self.fenced(lease.token) as (row, _):
            row.values[how] = value

    def release(self, lease: Lease) -> None:
        """Give the lease back."""
        with self.fenced(lease.token) as (row, _):
            row.holder, row.is_begun = None, False

    def end(self, lease: Lease, how: str, value: str) -> None:
        """End the resource; the same call again is answered like the first."""
        token: Token = lease.token
        with self.store.transaction(token.resource) as row:
            if not self.is_repeated(row, token, how, value):
                self.check_fence(row, token, self.now_ms())
                row.end = how, value, token.epoch
                row.holder, row.is_begun = None, False

    def is_repeated(self, row: Row, token: Token, how: str, value: str) -> bool:
        """Say whether this very call has ended the resource."""
        return row.end == (how, value, token.epoch)

    def revoke(self, resource: str) -> None:
        """Take the lease away."""
        with self.store.transaction(resource) as row:
            if row.holder is None or self.has_run_out(row, self.now_ms()):
                raise Refused
            row.holder = None

    def grant(self, resource: str, holder: str, ttl_ms: int) -> Grant:
        """Grant a holder to resume."""
        with self.store.transaction(resource) as row:
            if not row.is_begun:
                raise Refused
            number, expires_at_ms = next(self.store.numbers), self.now_ms() + ttl_ms
            row.grants[number] = holder, expires_at_ms
            return Grant((resource, number), expires_at_ms)

    def redeem(self, grant: Grant, holder: str, ttl_ms: int) -> Lease | None:
        """Acquire the lease by a grant."""
        resource, number = grant.token
        with self.store.transaction(resource) as row:
            now_ms = self.now_ms()
            self.check_grant(row, number, holder, now_ms)
            if row.holder is not None and not self.has_run_out(row, now_ms):
                return None
            self.use_up(row, number)
            return self.acquire(resource, row, holder, now_ms, ttl_ms)

    def check_grant(self, row: Row, number: int, holder: str, now_ms: int) -> None:
        """Refuse a grant that does not serve."""
        granted_to, expires_at_ms = row.grants.get(number, ("", 0))
        if granted_to != holder or now_ms >= expires_at_ms or not row.is_begun:
            raise Refused

    def use_up(self, row: Row, number: int) -> None:
        """Note that a grant was used."""
        del row.grants[number]

    def read(self, resource: str) -> Record:
        """Say what accepted calls have left."""
        row = self.store.rows[resource]
        ended_by, result, _ = row.end or (None, None, 0)
        return Record(dict(row.values), ended_by, result)

    def close(self) -> None:
        """Do nothing: the store stays."""


class ReferenceStore:
    """A lease store that keeps the rules: `run(ReferenceStore())`."""

    _session_type: ClassVar[type[ReferenceSession]] = ReferenceSession

    def __init__(self) -> None:
        """Begin empty."""
        self.rows: dict[str, Row] = {}
        self.numbers = count(1)
        self._lock = Lock()

    def __call__(
        self, clock: Callable[[], int], host_clock: Callable[[], int]
    ) -> ReferenceSession:
        """Open a session."""
        return self._session_type(self, clock, host_clock)

    @contextmanager
    def transaction(self, resource: str) -> Iterator[Row]:
        """Give the row to one session at a time.

        Raises:
            Busy: Another one has it.
        """
        if not self._lock.acquire(blocking=False):
            raise Busy
        try:
            yield self.rows[resource]
        finally:
            self._lock.release()
