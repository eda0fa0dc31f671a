"""Histories made by chance: one call after another, and several at once."""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Barrier, Thread
from typing import Final
from unittest import SkipTest

from leasehold.adapters.conformance.lease_store import Unknown
from leasehold.adapters.conformance.players import Held, HeldGrant, Player
from leasehold.adapters.conformance.trials import Settings, Trial, Trials, check

NAMES: Final = (("a", "a"), ("a'", "a"), ("b", "b"))
"""Players and in whose names they call: two processes of one name, and another one."""

_LOST: Final = 0.08
_STALE: Final = 0.25
_GRANT_TTLS: Final = 4


class Caller:
    """One who makes calls by chance, and remembers what it was given."""

    def __init__(
        self,
        player: Player,
        settings: Settings,
        pass_ms: Callable[[int], object],
        grants: list[HeldGrant],
        seed: str,
    ) -> None:
        """Call as a player; grants may be shared with others."""
        self._player = player
        self._ttl_ms = settings.ttl_ms
        self._pass_ms = pass_ms
        self._grants = grants
        # Chance is to be the same each time, and keeps no secret.
        self._chance = random.Random(seed)  # noqa: S311
        self._leases: list[Held] = []
        lacks = player.session.lacks
        moves: list[tuple[Callable[[], None], int]] = [
            (self._claim, 5),
            (self._renew, 3),
            (self._write, 5),
            (self._pass_time, 3),
            (self._end, 1),
            *([] if "release" in lacks else [(self._release, 2)]),
            *([] if "revoke" in lacks else [(self._revoke, 1)]),
            *([] if "grant" in lacks else [(self._grant, 2), (self._redeem, 3)]),
        ]
        self._moves = [move for move, _ in moves]
        self._weights = [weight for _, weight in moves]

    def call(self) -> None:
        """Make a call, or let time pass."""
        (move,) = self._chance.choices(self._moves, self._weights)
        move()

    def call_often(self, count: int) -> None:
        """Make so many calls, and bear that the store may not know of some."""
        for _ in range(count):
            with suppress(Unknown):
                self.call()

    def _loses(self) -> bool:
        return self._chance.random() < _LOST

    def _lease(self) -> Held | None:
        """Return a lease, most often the last one."""
        if not self._leases:
            return None
        is_stale = self._chance.random() < _STALE
        return self._chance.choice(self._leases) if is_stale else self._leases[-1]

    def _keep(self, held: Held | None) -> None:
        if held is not None:
            self._leases.append(held)

    def _claim(self) -> None:
        self._keep(self._player.claim(lost=self._loses()))

    def _renew(self) -> None:
        if (held := self._lease()) is not None:
            self._player.renew(held, lost=self._loses())

    def _write(self) -> None:
        if (held := self._lease()) is not None:
            how = self._chance.choice(self._player.session.writes)
            self._player.write(held, how, lost=self._loses())

    def _end(self) -> None:
        if (held := self._lease()) is not None:
            how = self._chance.choice(self._player.session.endings)
            value = self._player.new_value()
            lost = self._loses()
            self._player.end(held, how, value, lost=lost)
            if lost:
                self._player.end(held, how, value)

    def _release(self) -> None:
        if (held := self._lease()) is not None:
            self._player.release(held, lost=self._loses())

    def _revoke(self) -> None:
        self._player.revoke()

    def _grant(self) -> None:
        holder = self._chance.choice(NAMES)[1]
        ttl_ms = self._ttl_ms * self._chance.randint(1, _GRANT_TTLS)
        grant = self._player.grant(holder, ttl_ms)
        if grant is not None:
            self._grants.append(grant)

    def _redeem(self) -> None:
        if self._grants:
            grant = self._chance.choice(self._grants)
            self._keep(self._player.redeem(grant, lost=self._loses()))

    def _pass_time(self) -> None:
        self._pass_ms(self._ttl_ms // self._chance.randint(1, 3))


def seed_of(settings: Settings, number: int, name: str) -> str:
    """Say what the chance of a player in a history begins with."""
    return f"{settings.seed}/{number}/{name}"


def callers(
    trial: Trial, settings: Settings, number: int, names: Sequence[tuple[str, str]]
) -> list[Caller]:
    """Let players make calls by chance in a history; they share their grants."""
    grants: list[HeldGrant] = []
    return [
        Caller(
            trial.player(name, holder=holder),
            settings,
            trial.pass_ms,
            grants,
            seed_of(settings, number, name),
        )
        for name, holder in names
    ]


@check
def random_histories_fit_the_model(trials: Trials) -> None:
    """Calls by chance, one after another, are answered as by a lease store.

    With leases that were lost, answers that were lost, and grants, in orders that
    nobody thought of. A seed makes the same calls again.
    """
    settings = trials.settings
    for number in range(settings.rounds):
        chance = random.Random(seed_of(settings, number, ""))  # noqa: S311
        with trials.begin() as trial:
            taking_part = callers(trial, settings, number, NAMES)
            for _ in range(settings.calls * len(taking_part)):
                chance.choice(taking_part).call()
            trial.player("reader").read()


@check
def concurrent_histories_are_linearizable(trials: Trials) -> None:
    """Calls of several threads at once are answered as if they came one after another.

    Each seems to happen at one moment between its call and its answer. (Herlihy and
    Wing 1990.) What is under way at the same time is left to chance: a store that is
    wrong may pass, one that is right never fails.
    """
    settings = trials.settings
    if settings.threads == 0:
        message = "no threads were asked for"
        raise SkipTest(message)
    names = several_names(settings.threads)
    trials.clock.gives_way = True
    for number in range(settings.rounds):
        with trials.begin(time.monotonic_ns) as trial:
            _call_at_once(callers(trial, settings, number, names), settings.calls)
            trial.player("reader").read()


def several_names(number: int) -> list[tuple[str, str]]:
    """Return so many players and in whose names they call: two in each one's."""
    holders = [chr(ord("a") + player // 2) for player in range(number)]
    return [(f"{holder}{player}", holder) for player, holder in enumerate(holders)]


def _call_at_once(taking_part: Sequence[Caller], calls: int) -> None:
    barrier = Barrier(len(taking_part))
    errors: list[BaseException] = []

    def run(caller: Caller) -> None:
        try:
            barrier.wait()
            caller.call_often(calls)
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            errors.append(error)

    threads = [Thread(target=run, args=(one,), daemon=True) for one in taking_part]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
