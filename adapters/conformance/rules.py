"""The rules of a lease store, one check each: calls that lead to where a rule decides.

None of them says what must be answered: that is the model's affair, which judges the
whole history.
"""

from collections.abc import Callable

from leasehold.adapters.conformance.players import Held, Player
from leasehold.adapters.conformance.trials import Trial, Trials, check

HOUR_MS = 3_600_000


@check
def one_holder_at_a_time(trials: Trials) -> None:
    """While a lease counts, nobody else comes to it: mutual exclusion.

    Not somebody else, and not another process of the same name, however often the lease
    is renewed. (Gray and Cheriton, *Leases*, SOSP 1989.)
    """
    settings = trials.settings
    with trials.begin() as trial:
        holder, other = trial.players("a", "b")
        twin = trial.player("a'", holder="a")
        held = holder.acquire()
        other.claim()
        twin.claim()
        trial.pass_ms(settings.ttl_ms // 2)
        other.claim()
        holder.renew(held)
        trial.pass_ms(settings.ttl_ms - settings.margin_ms)
        other.claim()
        twin.claim()
        holder.end(held)
        other.claim()
    if trials.has("release"):
        with trials.begin() as trial:
            holder, other = trial.players("a", "b")
            holder.release(holder.acquire())
            held = other.acquire()
            holder.claim()
            other.write(held)


@check
def every_write_is_fenced(trials: Trials) -> None:
    """A lease that does not count any more is refused, whatever it is presented for.

    Each way to write, to end, to renew and to release is tried with a lease that was
    lost in each way; what is refused has changed nothing, and the next holder is not
    disturbed. (Kleppmann, *How to do distributed locking*, 2016; the sequencers of
    Burrows, *The Chubby Lock Service*, OSDI 2006.)
    """
    for lose in _losses(trials):
        for present in presentations(trials):
            with trials.begin() as trial:
                holder, other = trial.players("a", "b")
                held = holder.acquire()
                holder.write(held)
                next_held = lose(trial, holder, held, other)
                present(holder, held)
                other.read()
                if next_held is not None:
                    other.write(next_held)
                    other.end(next_held)
                    other.read()


Loss = Callable[[Trial, Player, Held, Player], Held | None]
Presentation = Callable[[Player, Held], object]


def _losses(trials: Trials) -> list[Loss]:
    """Return the ways to lose a lease; each returns the next holder's, if any."""

    def taken_over(trial: Trial, _: Player, held: Held, other: Player) -> Held | None:
        _run_out(trial, held)
        return other.claim()

    def ended(_: Trial, holder: Player, held: Held, __: Player) -> None:
        holder.end(held)

    def released(_: Trial, holder: Player, held: Held, other: Player) -> Held | None:
        holder.release(held)
        return other.claim()

    def revoked(_: Trial, __: Player, ___: Held, other: Player) -> None:
        other.revoke()

    def revoked_and_taken(
        _: Trial, __: Player, ___: Held, other: Player
    ) -> Held | None:
        other.revoke()
        return other.claim()

    losses: list[Loss] = [taken_over, ended]
    if trials.has("release"):
        losses.append(released)
    if trials.has("revoke"):
        losses += [revoked, revoked_and_taken]
    return losses


def presentations(trials: Trials) -> list[Presentation]:
    """Return everything that a lease can be presented for."""
    session = trials.any_session
    presentations: list[Presentation] = [Player.renew]
    if trials.has("release"):
        presentations.append(Player.release)
    presentations += [_writing(how) for how in session.writes]
    return presentations + [_ending(how) for how in session.endings]


def _writing(how: str) -> Presentation:
    return lambda player, held: player.write(held, how)


def _ending(how: str) -> Presentation:
    return lambda player, held: player.end(held, how)


def _run_out(trial: Trial, held: Held) -> None:
    """Let time pass until a lease that was not renewed has run out, and no longer."""
    trial.pass_ms(max(0, held.lease.expires_at_ms - trial.around.clock.now_ms()))


@check
def epochs_never_reset(trials: Trials) -> None:
    """Each acquisition has a higher epoch than all before it, however those ended.

    Or an old lease could pass for a new one. (The lock generation numbers of Chubby's
    sequencers; the fencing tokens of Kleppmann.)
    """
    with trials.begin() as trial:
        holder, other = trial.players("a", "b")
        held = holder.acquire()
        if trials.has("release"):
            holder.release(held)
            held = holder.acquire()
        _run_out(trial, held)
        held = other.acquire()
        if trials.has("revoke"):
            holder.revoke()
            held = holder.acquire()
        grant = holder.grant("b", 10 * held.ttl_ms) if trials.has("grant") else None
        _run_out(trial, held)
        held = (None if grant is None else other.redeem(grant)) or other.acquire()
        if trials.has("release"):
            other.release(held)
            held = holder.acquire()
        holder.end(held)


@check
def a_lease_runs_out(trials: Trials) -> None:
    """A lease counts until its time is over, and not for a moment longer.

    Until then its holder is let through; from then on it is refused even though nobody
    has taken over, and whoever asks next gets the lease. (Gray and Cheriton 1989: the
    store need not hear from a holder to let the next one in.)
    """
    settings = trials.settings
    for present in presentations(trials):
        with trials.begin() as trial:
            holder, other = trial.players("a", "b")
            held = holder.acquire()
            trial.pass_ms(settings.ttl_ms - settings.margin_ms)
            present(holder, held)
        with trials.begin() as trial:
            holder, other = trial.players("a", "b")
            held = holder.acquire()
            _run_out(trial, held)
            present(holder, held)
            other.write(other.acquire())
            other.read()


@check
def the_clock_of_the_store_counts(trials: Trials) -> None:
    """Expiry is a matter of the store's clock, and of no other.

    The holder's host is an hour behind the store, the other one's an hour ahead. The
    lease is neither taken early nor kept for longer. (Gray and Cheriton 1989, on clocks
    that disagree.)
    """
    with trials.begin() as trial:
        slow = trial.player("slow", ahead_ms=-HOUR_MS)
        fast = trial.player("fast", ahead_ms=HOUR_MS)
        held = slow.acquire()
        fast.claim()
        slow.renew(held)
        slow.write(held)
        # A renewal may have moved the expiry although no time had passed.
        trial.pass_ms(trials.settings.ttl_ms + trials.settings.margin_ms)
        slow.write(held)
        held = fast.acquire()
        slow.claim()
        fast.write(held)
        fast.end(held)


@check
def a_renewal_is_no_acquisition(trials: Trials) -> None:
    """A renewal keeps a lease that counts, for longer, and never brings one back.

    Not when it has run out and nobody has taken over; nor when the next holder has the
    same name, as a worker that was started again has: the lease is meant, and not who
    holds it. (Burrows 2006: a sequencer names the lock generation and not the client.)
    """
    ttl_ms = trials.settings.ttl_ms
    with trials.begin() as trial:
        holder, other = trial.players("a", "b")
        held = holder.acquire()
        trial.pass_ms(ttl_ms // 2)
        holder.renew(held)
        trial.pass_ms(ttl_ms // 2)
        other.claim()
        holder.write(held)
        trial.pass_ms(ttl_ms)
        holder.renew(held)
        other.acquire()
    with trials.begin() as trial:
        holder = trial.player("a")
        again = trial.player("a'", holder="a")
        held = holder.acquire()
        _run_out(trial, held)
        held_again = again.acquire()
        holder.renew(held)
        holder.write(held)
        again.write(held_again)
        _run_out(trial, held_again)
        trial.player("b").acquire()


@check
def a_grant_serves_once(trials: Trials) -> None:
    """A grant brings one lease to the holder it is for, in its time, and then no more.

    Nothing while another lease counts, which does not use it up; no second lease, also
    when the first has run out; nothing to another holder, after its time, or when there
    is nothing to resume. (A grant is a capability for one use; what makes it one is
    that the store notes its use with the lease.)
    """
    trials.need("grant")
    ttl_ms = trials.settings.ttl_ms
    with trials.begin() as trial:
        holder, other, third = trial.players("a", "b", "c")
        held = holder.acquire()
        grants = [holder.grant("b", lives * ttl_ms) for lives in (2, 20, 20)]
        short, first, second = [grant for grant in grants if grant is not None]
        other.redeem(first)
        _run_out(trial, held)
        third.redeem(first)
        resumed = other.redeem(first)
        other.redeem(first)
        if resumed is not None:
            other.write(resumed)
            _run_out(trial, resumed)
        other.redeem(first)
        other.redeem(short)
        resumed = other.redeem(second)
        if resumed is not None:
            other.end(resumed)
        other.redeem(second)
    with trials.begin() as trial:
        holder, other = trial.players("a", "b")
        other.grant("b", ttl_ms)
        grant = None
        if (held_now := holder.claim()) is not None:
            grant = other.grant("b", 20 * ttl_ms)
            holder.end(held_now)
        if grant is not None:
            other.redeem(grant)
            other.grant("b", ttl_ms)


@check
def an_end_is_final(trials: Trials) -> None:
    """What has ended stays as it ended: no second end, no write, no lease.

    Not by the lease that ended it with another result, nor by one that was lost before.
    (The fence alone does not give that: the last lease passes it.)
    """
    session = trials.any_session
    for first in session.endings:
        for second in session.endings:
            with trials.begin() as trial:
                holder, other = trial.players("a", "b")
                held = holder.acquire()
                grant = None
                if trials.has("grant"):
                    grant = other.grant("b", 20 * held.ttl_ms)
                holder.end(held, first)
                holder.end(held, second)
                for present in presentations(trials):
                    present(holder, held)
                if trials.has("revoke"):
                    other.revoke()
                other.claim()
                _run_out(trial, held)
                other.claim()
                if grant is not None:
                    other.redeem(grant)
                other.read()


@check
def a_lost_answer_is_found_out(trials: Trials) -> None:
    """Who lost the answer to an end learns by asking again whether it counts.

    The same call is answered like the first, however late, if that one was accepted;
    and refused if not, also when somebody else has ended it meanwhile: that it has
    ended is no answer to who asks whether its own result is the one. A lease that was
    given in an answer that was lost keeps others out until it runs out, and no longer.
    (Herlihy and Wing 1990, on calls under way; Helland, *Idempotence Is Not a Medical
    Condition*, CACM 55(5), 2012.)
    """
    for how in trials.any_session.endings:
        for late in (False, True):
            with trials.begin() as trial:
                holder, other = trial.players("a", "b")
                held, value = holder.acquire(), holder.new_value()
                holder.end(held, how, value, lost=True)
                if late:
                    trial.pass_ms(2 * held.ttl_ms)
                other.read()
                holder.end(held, how, value)
                holder.end(held, how)
                other.read()
        with trials.begin() as trial:
            holder, other = trial.players("a", "b")
            held, value = holder.acquire(), holder.new_value()
            holder.end(held, how, value, unsent=True)
            other.read()
            holder.end(held, how, value)
            other.read()
        with trials.begin() as trial:
            holder, other = trial.players("a", "b")
            held, value = holder.acquire(), holder.new_value()
            holder.end(held, how, value, unsent=True)
            _run_out(trial, held)
            other.end(other.acquire(), how)
            holder.end(held, how, value)
            other.read()
    _lose_leases(trials)


def _lose_leases(trials: Trials) -> None:
    ttl_ms = trials.settings.ttl_ms
    with trials.begin() as trial:
        holder, other = trial.players("a", "b")
        holder.claim(lost=True)
        other.claim()
        trial.pass_ms(ttl_ms)
        held = other.acquire()
        other.write(held, lost=True)
        other.renew(held, lost=True)
        other.read()
        other.write(held)
        trial.pass_ms(ttl_ms + trials.settings.margin_ms)
        holder.acquire()
    if trials.has("grant"):
        with trials.begin() as trial:
            holder, other = trial.players("a", "b")
            held = holder.acquire()
            grant = holder.grant("b", 20 * ttl_ms)
            _run_out(trial, held)
            if grant is not None:
                other.redeem(grant, lost=True)
                other.redeem(grant)
            trial.pass_ms(ttl_ms)
            holder.acquire()
    if trials.has("release"):
        with trials.begin() as trial:
            holder, other = trial.players("a", "b")
            held = holder.acquire()
            holder.release(held, lost=True)
            next_held = other.claim()
            holder.release(held)
            if next_held is not None:
                other.write(next_held)
                other.end(next_held)
            other.read()


RULES = (
    one_holder_at_a_time,
    every_write_is_fenced,
    epochs_never_reset,
    a_lease_runs_out,
    the_clock_of_the_store_counts,
    a_renewal_is_no_acquisition,
    a_grant_serves_once,
    an_end_is_final,
    a_lost_answer_is_found_out,
)
"""The checks in which one call follows another."""
