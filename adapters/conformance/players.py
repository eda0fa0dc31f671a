"""Players: sessions of a store whose calls are noted in a history."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from leasehold.adapters.conformance.clocks import ProbedClock
from leasehold.adapters.conformance.histories import (
    Acquired,
    Answer,
    Call,
    Issued,
    Operation,
    Plain,
    Renewed,
)
from leasehold.adapters.conformance.lease_store import (
    Busy,
    Grant,
    Lease,
    Refused,
    Session,
)

_BREATH_S: Final = 0.001


class AstrayError(Exception):
    """A check cannot go on, as the store did not give what it needs."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as a player got it.

    Attributes:
        label: What the history knows it by.
        lease: As the store gave it.
        ttl_ms: For how long it was asked.
    """

    label: str
    lease: Lease
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class HeldGrant:
    """A grant as a player got it; the same, and in whose name it was asked."""

    label: str
    grant: Grant
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the players of a history share.

    Attributes:
        resource: The resource that it is about.
        clock: The store's clock.
        tick: The clock of the history; two readings never go backwards.
        note: Takes each call, once when it is made and once when it is over.
        ttl_ms: How long leases run.
        patience_s: For how long a busy store is asked again.
    """

    resource: str
    clock: ProbedClock
    tick: Callable[[], int]
    note: Callable[[Call], None]
    ttl_ms: int
    patience_s: float


class Player:
    """One who calls the store, for one resource.

    Each call can be made with `lost=True`: it is made, and its answer thrown away, as
    by a connection that broke. With `unsent=True` it is not made, as by one that broke
    before; who called cannot tell the two apart.
    """

    def __init__(
        self, name: str, session: Session, around: Surroundings, holder: str = ""
    ) -> None:
        """Call by a session.

        Args:
            name: What the history calls the player; unique within it.
            session: Of the player alone.
            around: What it shares with others.
            holder: In whose name it claims, its own if empty.
        """
        self.name = name
        self.holder = holder or name
        self.session = session
        self.is_patient = True
        self._around = around
        self._numbers = count()
        self._values = count(1)

    def claim(self, *, lost: bool = False, unsent: bool = False) -> Held | None:
        """Claim the lease; None where it was not given, or the answer lost."""
        around = self._around

        def make() -> Lease | None:
            return self.session.claim(around.resource, self.holder, around.ttl_ms)

        call = self._call(Operation.CLAIM, holder=self.holder, ttl_ms=around.ttl_ms)
        return self._acquire(call, make, lost=lost, unsent=unsent)

    def acquire(self) -> Held:
        """Claim the lease.

        Raises:
            AstrayError: It was not given.
        """
        held = self.claim()
        if held is None:
            message = f"{self.name} was given no lease"
            raise AstrayError(message)
        return held

    def redeem(
        self, held: HeldGrant, *, lost: bool = False, unsent: bool = False
    ) -> Held | None:
        """Redeem a grant; None where that gave no lease, or the answer was lost."""
        ttl_ms = self._around.ttl_ms

        def make() -> Lease | None:
            return self.session.redeem(held.grant, self.holder, ttl_ms)

        call = self._call(
            Operation.REDEEM, holder=self.holder, presented=held.label, ttl_ms=ttl_ms
        )
        return self._acquire(call, make, lost=lost, unsent=unsent)

    def _acquire(
        self, call: Call, make: Callable[[], Lease | None], *, lost: bool, unsent: bool
    ) -> Held | None:
        given: list[Lease] = []
        label = f"{self.name}#{call.number}"

        def answer() -> Answer:
            lease = make()
            if lease is None:
                return Plain.NOTHING
            given.append(lease)
            return Acquired(label, lease.epoch, lease.expires_at_ms)

        answered = self._make(call, answer, lost=lost, unsent=unsent)
        return Held(label, given[0], call.ttl_ms) if given and answered else None

    def renew(self, held: Held, *, lost: bool = False, unsent: bool = False) -> bool:
        """Renew a lease, and say whether that was accepted."""
        call = self._call(Operation.RENEW, presented=held.label, ttl_ms=held.ttl_ms)
        return self._is_accepted(
            call,
            lambda: Renewed(self.session.renew(held.lease)),
            lost=lost,
            unsent=unsent,
        )

    def write(
        self, held: Held, how: str = "", *, lost: bool = False, unsent: bool = False
    ) -> bool:
        """Write a value that nobody else writes, in the store's first way if not told.

        Returns:
            Whether that was accepted.
        """
        way = how or self.session.writes[0]
        value = self.new_value()
        call = self._call(Operation.WRITE, presented=held.label, how=way, value=value)
        return self._is_done(
            call,
            lambda: self.session.write(held.lease, way, value),
            lost=lost,
            unsent=unsent,
        )

    def end(
        self,
        held: Held,
        how: str = "",
        value: str = "",
        *,
        lost: bool = False,
        unsent: bool = False,
    ) -> bool:
        """End the resource, with a result and in the store's first way if not told.

        Returns:
            Whether that was accepted.
        """
        way = how or self.session.endings[0]
        result = value or self.new_value()
        call = self._call(Operation.END, presented=held.label, how=way, value=result)
        return self._is_done(
            call,
            lambda: self.session.end(held.lease, way, result),
            lost=lost,
            unsent=unsent,
        )

    def release(self, held: Held, *, lost: bool = False, unsent: bool = False) -> bool:
        """Give a lease back, and say whether that was accepted."""
        call = self._call(Operation.RELEASE, presented=held.label)
        return self._is_done(
            call, lambda: self.session.release(held.lease), lost=lost, unsent=unsent
        )

    def revoke(self) -> bool:
        """Take the lease from whoever has it, and say whether that was accepted."""
        call = self._call(Operation.REVOKE)
        return self._is_done(call, lambda: self.session.revoke(self._around.resource))

    def grant(self, holder: str, ttl_ms: int) -> HeldGrant | None:
        """Grant a holder to resume; None where that was refused."""
        call = self._call(Operation.GRANT, holder=holder, ttl_ms=ttl_ms)
        label = f"{self.name}#{call.number}"
        given: list[Grant] = []

        def answer() -> Answer:
            given.append(self.session.grant(self._around.resource, holder, ttl_ms))
            return Issued(label, given[0].expires_at_ms)

        self._make(call, answer)
        return HeldGrant(label, given[0], holder) if given else None

    def read(self) -> None:
        """Read what accepted calls have left."""
        call = self._call(Operation.READ)
        self._make(call, lambda: self.session.read(self._around.resource))

    def new_value(self) -> str:
        """Return a value that is in no other call of the history."""
        return f"{self.name}-{next(self._values)}"

    def _is_done(
        self,
        call: Call,
        make: Callable[[], None],
        *,
        lost: bool = False,
        unsent: bool = False,
    ) -> bool:
        def answer() -> Answer:
            make()
            return Plain.DONE

        return self._is_accepted(call, answer, lost=lost, unsent=unsent)

    def _is_accepted(
        self, call: Call, make: Callable[[], Answer], *, lost: bool, unsent: bool
    ) -> bool:
        answer = self._make(call, make, lost=lost, unsent=unsent)
        return answer is not None and answer is not Plain.REFUSED

    def _call(  # noqa: PLR0913 - what calls have
        self,
        operation: Operation,
        *,
        holder: str = "",
        presented: str = "",
        how: str = "",
        value: str = "",
        ttl_ms: int = 0,
    ) -> Call:
        from_ms = self._around.clock.now_ms()
        return Call(
            actor=self.name,
            number=next(self._numbers),
            operation=operation,
            holder=holder,
            presented=presented,
            how=how,
            value=value,
            ttl_ms=ttl_ms,
            from_ms=from_ms,
            invoked=self._around.tick(),
        )

    def _make(
        self,
        call: Call,
        make: Callable[[], Answer],
        *,
        lost: bool = False,
        unsent: bool = False,
    ) -> Answer | None:
        """Make a call and note it, with its answer or without.

        Raises:
            Unknown: The store does not know itself; the call is noted without answer.
        """
        note, tick, clock = self._around.note, self._around.tick, self._around.clock
        note(call)
        answer: Answer | None = None
        if not unsent:
            answer = self._answer(make)
        over = replace(call, over=tick(), to_ms=clock.now_ms())
        if lost or unsent:
            note(over)
            return None
        note(replace(over, returned=over.over, answer=answer))
        return answer

    def _answer(self, make: Callable[[], Answer]) -> Answer:
        give_up_s = time.monotonic() + self._around.patience_s
        while True:
            try:
                return make()
            except Refused:
                return Plain.REFUSED
            except Busy:
                if not self.is_patient or time.monotonic() > give_up_s:
                    raise
                time.sleep(_BREATH_S)
