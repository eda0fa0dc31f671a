"""What the kit asks of a lease store: a session with a few calls.

The words are those of the field. A *resource* is what a lease is about: a file, a lock,
a piece of work. A *lease* is somebody's right to it until a time (Gray and Cheriton
1989). An *epoch* is the number that tells one lease from those before: the sequencer of
Chubby, the fencing token of Kleppmann. A *fenced* call presents a lease, and is refused
unless that lease counts at the moment of the call's effect.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Refused(Exception):  # noqa: N818 - an answer, and no error
    """The store refused the call and has done nothing."""


class Busy(Exception):  # noqa: N818 - an answer, and no error
    """The store has done nothing because another call is under way; ask again.

    For stores that do not wait for each other. A store that waits never raises it.
    """


class Unknown(Exception):  # noqa: N818 - an answer, and no error
    """The answer was lost: the store may have done it, may do it yet, or never will."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as the store gave it.

    Attributes:
        token: What the session needs to present it again.
        epoch: Its fencing number.
        expires_at_ms: When it runs out if it is not renewed, by the store's clock.
    """

    token: Any
    epoch: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to resume a resource once, as the store gave it.

    Attributes:
        token: What the session needs to redeem it.
        expires_at_ms: Until when it can be redeemed, by the store's clock.
    """

    token: Any
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Record:
    """What accepted calls have left of a resource.

    Attributes:
        values: The last value written, by the name of the write; a write that was never
            accepted is absent.
        ended_by: The name of the ending, None while it has not ended.
        result: The value given with the ending.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    ended_by: str | None = None
    result: str | None = None


class Clock(Protocol):
    """The store's clock in the hands of the kit."""

    def __call__(self) -> int:
        """Return now in ms."""
        ...

    def advance(self, ms: int) -> int:
        """Let at least so many ms pass, and return now."""
        ...


class Session(Protocol):
    """One client of a lease store: a process, a connection, an object.

    Several sessions reach the same store. A session is called by one thread at a time.
    What is a property here can be an attribute of the class.
    """

    @property
    def writes(self) -> Sequence[str]:
        """The names of all the ways to write under a lease; at least one."""
        ...

    @property
    def endings(self) -> Sequence[str]:
        """The names of all the ways to end a resource for good; at least one."""
        ...

    @property
    def lacks(self) -> Collection[str]:
        """Which of `release`, `revoke` and `grant` the store does not have.

        They are never called then; without `grant`, neither is `redeem`.
        """
        ...

    def create(self) -> str:
        """Make a resource that nobody has a lease of, and return its name."""
        ...

    def claim(self, resource: str, holder: str, ttl_ms: int) -> Lease | None:
        """Acquire the lease for so long; None where it cannot be had.

        It can be had when nobody holds it, it has run out or it was revoked, and the
        resource has not ended. A claim that meets another call on the same resource
        may return None all the same.
        """
        ...

    def renew(self, lease: Lease) -> int:
        """Let the lease run for its ttl from now; return when it runs out.

        Raises:
            Refused: It does not count.
        """
        ...

    def write(self, lease: Lease, how: str, value: str) -> None:
        """Write a value under the lease, in one of the ways of `writes`.

        Raises:
            Refused: It does not count.
        """
        ...

    def end(self, lease: Lease, how: str, value: str) -> None:
        """End the resource for good under the lease, in one of the ways of `endings`.

        The same call repeated under the same lease is answered like the first.

        Raises:
            Refused: It does not count.
        """
        ...

    def release(self, lease: Lease) -> None:
        """Give the lease back, so that the resource can be claimed at once.

        Raises:
            Refused: It does not count.
        """
        ...

    def revoke(self, resource: str) -> None:
        """Take the lease away from its holder, as an operator.

        Raises:
            Refused: No lease counts.
        """
        ...

    def grant(self, resource: str, holder: str, ttl_ms: int) -> Grant:
        """Give a holder the right to resume, once, what was claimed and is not over.

        Raises:
            Refused: It was never claimed, was released since, or has ended.
        """
        ...

    def redeem(self, grant: Grant, holder: str, ttl_ms: int) -> Lease | None:
        """Acquire the lease by a grant; None, and the grant stays, while one counts.

        Raises:
            Refused: The grant was used, has run out or is another holder's, or there
                is nothing to resume.
        """
        ...

    def read(self, resource: str) -> Record:
        """Say what accepted calls have left; called when no other call is under way."""
        ...

    def close(self) -> None:
        """Give back what the session holds."""
        ...


class OpenStore(Protocol):
    """A way to open the store: each call gives another session of the same one."""

    def __call__(
        self, clock: Callable[[], int], host_clock: Callable[[], int]
    ) -> Session:
        """Open a session.

        Args:
            clock: The store's clock, in ms: the same one for all sessions. A store
                whose clock cannot be given is checked with a `SleepingClock`.
            host_clock: What a clock on the host of this session shows, in ms. Hosts
                differ. A session that reads no clock of its own has no use for it.
        """
        ...
