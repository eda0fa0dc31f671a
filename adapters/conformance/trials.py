"""Trials: a store, its clock and its sessions; a resource and its history."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from itertools import count
from typing import Protocol
from unittest import SkipTest

from leasehold.adapters.conformance import model
from leasehold.adapters.conformance.clocks import ProbedClock
from leasehold.adapters.conformance.histories import (
    Call,
    is_idle,
    told,
    unanswered,
    with_contention,
)
from leasehold.adapters.conformance.lease_store import Clock, OpenStore, Session
from leasehold.adapters.conformance.linearizability import find_order, shortened
from leasehold.adapters.conformance.players import AstrayError, Player, Surroundings
from leasehold.adapters.testing.manual_clock import ManualClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How thoroughly a store is checked.

    Attributes:
        clock: Makes the store's clock.
        ttl_ms: How long leases run.
        margin_ms: How close to the end of a lease a check may go, and still count on
            it: 1 where the clock stands still by itself.
        rounds: How many histories are made by chance, one after another and by
            several at once.
        calls: How many calls each player makes in such a history.
        threads: How many players call at once, 0 for none.
        processes: How many processes call at once, 0 for none. The way to open the
            store must go to a child by pickling then.
        seed: What chance begins with.
        patience_s: How long a call that may be blocked by another one is waited for.
    """

    clock: Callable[[], Clock] = ManualClock
    ttl_ms: int = 1_000
    margin_ms: int = 1
    rounds: int = 50
    calls: int = 10
    threads: int = 3
    processes: int = 0
    seed: int = 0
    patience_s: float = 0.1


DEFAULT = Settings()


class ConformanceError(AssertionError):
    """A store has answered as no lease store could have.

    The message shows the calls that cannot be explained.
    """


class Check(Protocol):
    """A check: a function of a way to open a store.

    It returns where the store keeps the rule, raises `ConformanceError` where it does
    not, and `unittest.SkipTest` where the store has nothing that the rule is about.
    """

    __name__: str
    __doc__: str | None

    def __call__(self, open_store: OpenStore, settings: Settings = DEFAULT) -> None:
        """Check the store."""
        ...


def check(rule: "Callable[[Trials], None]") -> Check:
    """Make a check of a function that tries something out."""

    @wraps(rule)
    def run(open_store: OpenStore, settings: Settings = DEFAULT) -> None:
        trials = Trials(open_store, settings)
        try:
            rule(trials)
        finally:
            trials.close()

    return run


class Trials:
    """A store with its clock and its sessions, for one check.

    Attributes:
        settings: How thoroughly to check.
        clock: The store's clock.
        open_store: The way to open the store.
    """

    def __init__(
        self, open_store: OpenStore, settings: Settings, clock: Clock | None = None
    ) -> None:
        """Begin with a new clock, if none is given."""
        self.settings = settings
        self.open_store = open_store
        self.clock = ProbedClock(settings.clock() if clock is None else clock)
        self._sessions: dict[tuple[str, int], Session] = {}

    @property
    def any_session(self) -> Session:
        """A session that no player has."""
        return self.session("", 0)

    def session(self, name: str, ahead_ms: int) -> Session:
        """Return the session of a player whose host's clock is so far ahead."""
        key = name, ahead_ms
        if key not in self._sessions:
            clock = self.clock
            self._sessions[key] = self.open_store(
                clock, lambda: clock.now_ms() + ahead_ms
            )
        return self._sessions[key]

    def need(self, *calls: str) -> None:
        """Skip the check where the store does not have some calls."""
        lacking = [call for call in calls if not self.has(call)]
        if lacking:
            message = f"the store has no {' and no '.join(lacking)}"
            raise SkipTest(message)

    def has(self, call: str) -> bool:
        """Say whether the store has a call."""
        return call not in self.any_session.lacks

    @contextmanager
    def begin(self, tick: Callable[[], int] | None = None) -> "Iterator[Trial]":
        """Make a resource to try something with; its history is judged at the end.

        Args:
            tick: The clock of the history; it counts if none is given.

        Raises:
            ConformanceError: The history cannot be explained.
        """
        trial = Trial(self, count().__next__ if tick is None else tick)
        astray = False
        try:
            yield trial
        except AstrayError:
            astray = True
        trial.judge()
        if astray:
            message = (
                "time went on too fast to tell anything; take leases that run longer"
            )
            raise SkipTest(message)

    def close(self) -> None:
        """Close all sessions."""
        while self._sessions:
            self._sessions.popitem()[1].close()


class Trial:
    """A resource and its history.

    Attributes:
        resource: Its name in the store.
        calls: The calls, by who made them.
    """

    def __init__(
        self,
        trials: Trials,
        tick: Callable[[], int],
        resource: str = "",
        note: Callable[[Call], None] | None = None,
    ) -> None:
        """Make a resource; or take part in the history of one, which is kept elsewhere.

        Args:
            trials: The store.
            tick: The clock of the history.
            resource: The resource, if it is there.
            note: Takes the calls, if they are kept elsewhere.
        """
        self._trials = trials
        self.resource = resource or trials.any_session.create()
        self.calls: dict[tuple[str, int], Call] = {}
        settings = trials.settings
        self.around = Surroundings(
            resource=self.resource,
            clock=trials.clock,
            tick=tick,
            note=note or self.note,
            ttl_ms=settings.ttl_ms,
            patience_s=settings.patience_s,
        )

    def note(self, call: Call) -> None:
        """Note a call, or how it went on."""
        self.calls[call.actor, call.number] = call

    def player(self, name: str, *, holder: str = "", ahead_ms: int = 0) -> Player:
        """Let somebody take part, in the name of a holder, from a host of its own."""
        session = self._trials.session(name, ahead_ms)
        return Player(name, session, self.around, holder)

    def players(self, *names: str) -> list[Player]:
        """Let several take part."""
        return [self.player(name) for name in names]

    def pass_ms(self, ms: int) -> None:
        """Let time pass on the store's clock."""
        self._trials.clock.advance(ms)

    def judge(self) -> None:
        """Hold the history against the model.

        Raises:
            ConformanceError: It cannot be explained.
        """
        calls = with_contention(self.calls.values())
        if not find_order(calls, model.State(), model.step).ok:
            raise ConformanceError(self._explain(calls))

    def _explain(self, calls: list[Call]) -> str:
        """Say what cannot be explained, in as few calls as can be."""
        fewer = shortened(
            calls, model.State(), model.step, unanswered=unanswered, is_idle=is_idle
        )
        began_ms = min(call.from_ms for call in fewer)
        found = find_order(fewer, model.State(), model.step)
        lines = told(fewer)
        placed = [lines[number].split()[0] for number in found.furthest]
        left = [
            line
            for number, (line, call) in enumerate(zip(lines, fewer, strict=True))
            if number not in found.furthest and call.answer is not None
        ]
        return "\n".join(
            [
                "no order of these calls explains what they answered:",
                *lines,
                f"The longest one that does: {', '.join(placed) or 'none'}",
                f"Then the resource is {model.told(found.state, began_ms)}",
                "and none of these may follow:",
                *left,
            ]
        )
