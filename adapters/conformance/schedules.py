"""Forced schedules: a call is held up at the clock, and others come between.

A store that looks at a lease before it locks what it is about to change does so at some
moment; whoever gets a word in right after that finds it out at the first try. Calls of
a store that holds its lock by then are blocked, or told that it is busy, and come
afterwards.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Thread
from typing import Final

from leasehold.adapters.conformance.lease_store import Busy
from leasehold.adapters.conformance.players import AstrayError, Held
from leasehold.adapters.conformance.rules import Presentation, presentations
from leasehold.adapters.conformance.trials import Trial, Trials, check

_READINGS_MAX: Final = 8
"""At how many readings of the clock, within one call, it is held up in turn."""

Move = Callable[[], object]


@dataclass(frozen=True, slots=True)
class _Scene:
    """A call to be held up, and what others do meanwhile, one after another."""

    act: Move
    rivals_do: Sequence[Move]
    after: Move


_Stage = Callable[[Trial], _Scene]


@check
def no_call_slips_past_the_fence(trials: Trials) -> None:
    """A fence that is checked is still in force when the call takes effect.

    Each call is held up at each of its readings of the clock, and meanwhile the lease
    runs out, another holder takes over and writes; or somebody else claims the same
    resource, or redeems the same grant. (Kleppmann 2016: the check belongs to the
    resource that is written, in the same atomic step. Claims that look first and lock
    later give one lease to two.)
    """
    for stage in _stages(trials):
        for reading in range(1, _READINGS_MAX + 1):
            if not _is_held_up(trials, stage, reading):
                break


def _is_held_up(trials: Trials, stage: _Stage, reading: int) -> bool:
    """Play a scene; return whether the call reads the clock so many times."""
    with trials.begin() as trial:
        scene = stage(trial)
        rivals = _Rivals(scene.rivals_do, trials.settings.patience_s)
        trials.clock.arm(reading, rivals.begin)
        try:
            scene.act()
        finally:
            was_held_up = trials.clock.disarm()
            rivals.finish()
        scene.after()
        trial.player("reader").read()
    return was_held_up


class _Rivals:
    """What others do while a call is held up; what is blocked is done afterwards."""

    def __init__(self, moves: Sequence[Move], patience_s: float) -> None:
        self._moves = list(moves)
        self._patience_s = patience_s
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        """Begin, and wait until it is done, or for as long as patience lasts."""
        self._thread.start()
        self._thread.join(self._patience_s)

    def finish(self) -> None:
        """Do what is left."""
        if self._thread.ident is not None:
            self._thread.join()
        if self._error is not None and not isinstance(self._error, Busy):
            raise self._error
        for move in self._moves:
            move()

    def _run(self) -> None:
        try:
            while self._moves:
                self._moves[0]()
                self._moves.pop(0)
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            self._error = error


def _stages(trials: Trials) -> Iterator[_Stage]:
    yield _claiming
    yield _taking_over
    for present in presentations(trials):
        yield _overtaken(present)
    if trials.has("revoke"):
        yield _revoking
    if trials.has("grant"):
        yield _redeeming_twice
        yield _redeeming_and_claiming


class _Rival:
    """Somebody who comes between, and remembers the lease that it got."""

    def __init__(self, trial: Trial, name: str = "b", holder: str = "") -> None:
        self.player = trial.player(name, holder=holder)
        self.player.is_patient = False
        self.held: Held | None = None

    def claim(self) -> None:
        self.held = self.held or self.player.claim()

    def write(self) -> None:
        if self.held is not None:
            self.player.write(self.held)


def _claiming(trial: Trial) -> _Scene:
    """Two claim what nobody holds."""
    return _two_claims(trial)


def _taking_over(trial: Trial) -> _Scene:
    """Two claim what somebody has left to run out."""
    held = trial.player("c").acquire()
    trial.pass_ms(held.ttl_ms)
    return _two_claims(trial)


def _two_claims(trial: Trial) -> _Scene:
    holder, rival = trial.player("a"), _Rival(trial)
    leases: list[Held | None] = []

    def after() -> None:
        for held in filter(None, leases):
            holder.write(held)
        rival.write()

    act = lambda: leases.append(holder.claim())  # noqa: E731 - a move
    return _Scene(act, (rival.claim, rival.write), after)


def _overtaken(present: Presentation) -> _Stage:
    """The lease runs out and another holder takes over, within a call under it."""

    def stage(trial: Trial) -> _Scene:
        holder, rival = trial.player("a"), _Rival(trial)
        held = holder.acquire()
        holder.write(held)

        def after() -> None:
            rival.claim()
            rival.write()
            holder.renew(held)
            rival.write()

        moves = (lambda: trial.pass_ms(held.ttl_ms), rival.claim, rival.write)
        return _Scene(lambda: present(holder, held), moves, after)

    return stage


def _revoking(trial: Trial) -> _Scene:
    """The holder gives way to another one within the operator's call."""
    holder, rival = trial.player("a"), _Rival(trial)
    held = holder.acquire()

    def after() -> None:
        rival.claim()
        rival.write()
        holder.write(held)

    moves = (lambda: trial.pass_ms(held.ttl_ms), rival.claim, rival.write)
    return _Scene(trial.player("operator").revoke, moves, after)


def _redeeming_twice(trial: Trial) -> _Scene:
    """Two processes of one holder redeem the same grant."""
    return _redeeming(trial, lambda rival, redeem: redeem(rival))


def _redeeming_and_claiming(trial: Trial) -> _Scene:
    """Somebody claims while somebody else redeems a grant."""
    return _redeeming(trial, lambda rival, _: rival.claim())


def _redeeming(
    trial: Trial, compete: Callable[[_Rival, Callable[[_Rival], None]], None]
) -> _Scene:
    holder, rival = trial.player("a"), _Rival(trial, "a'", holder="a")
    held = holder.acquire()
    grant = holder.grant("a", 20 * held.ttl_ms)
    if grant is None:
        message = "no grant was given"
        raise AstrayError(message)
    trial.pass_ms(held.ttl_ms)
    resumed: list[Held | None] = []

    def redeem(who: _Rival) -> None:
        who.held = who.player.redeem(grant)

    def after() -> None:
        for one in filter(None, resumed):
            holder.write(one)
        rival.write()
        holder.redeem(grant)

    moves = (lambda: compete(rival, redeem), rival.write)
    return _Scene(lambda: resumed.append(holder.redeem(grant)), moves, after)
