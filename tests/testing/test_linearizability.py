"""The search for an order of calls: worked out by hand, and against brute force.

`LEASEHOLD_LINEARIZABILITY_EXAMPLES` sets how many histories are drawn for each test.
"""

import os
from dataclasses import dataclass, replace
from itertools import chain, combinations, permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leasehold.adapters.conformance import model
from leasehold.adapters.conformance.chance import NAMES, callers
from leasehold.adapters.conformance.histories import (
    Acquired,
    Plain,
    Renewed,
    is_idle,
    unanswered,
    with_contention,
)
from leasehold.adapters.conformance.linearizability import find_order, shortened
from leasehold.adapters.conformance.reference import ReferenceStore
from leasehold.adapters.conformance.trials import Settings, Trials

EXAMPLES = int(os.environ.get("LEASEHOLD_LINEARIZABILITY_EXAMPLES", "100"))
drawn = settings(
    deadline=None,
    derandomize=True,
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Call:
    """A call of a register: a read of a value, or a write of it."""

    what: str
    value: int
    invoked: int
    returned: int | None


def register(state, call):
    """Hold one value."""
    if call.what == "write":
        yield call.value
    elif call.value == state:
        yield state


def read(value, invoked, returned):
    return Call("read", value, invoked, returned)


def write(value, invoked, returned=None):
    return Call("write", value, invoked, returned)


def order_of(*calls, state=0):
    return find_order(calls, state, register).order


def test_calls_one_after_another_keep_their_order():
    assert order_of() == ()
    assert order_of(write(1, 1, 2), read(1, 3, 4)) == (0, 1)
    assert order_of(write(1, 1, 2), read(0, 3, 4)) is None
    assert order_of(write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)) is None


def test_calls_at_the_same_time_come_in_either_order():
    assert order_of(write(1, 1, 4), read(1, 2, 3)) == (0, 1)
    assert order_of(write(1, 1, 4), read(0, 2, 3)) == (1, 0)
    assert order_of(write(1, 1, 3), write(2, 2, 4), read(1, 5, 6)) == (1, 0, 2)
    assert order_of(write(1, 1, 3), write(2, 2, 4), read(2, 5, 6)) == (0, 1, 2)


def test_what_was_seen_does_not_vanish_again():
    # Herlihy and Wing's point: the second read began after the first had ended.
    reads = read(1, 2, 3), read(0, 4, 5)
    assert order_of(write(1, 1, 6), *reads) is None
    assert order_of(write(1, 1, 6), *reversed(reads)) is None
    assert order_of(write(1, 1, 6), read(1, 2, 4), read(0, 3, 5)) == (2, 0, 1)


def test_two_readers_agree_on_the_order_of_two_writes():
    writes = write(1, 1, 9), write(2, 1, 9)
    one, other = (read(1, 2, 3), read(2, 4, 5)), (read(2, 2, 3), read(1, 4, 5))
    assert order_of(*writes, *one) == (0, 2, 1, 3)
    assert order_of(*writes, *other) == (1, 2, 0, 3)
    assert order_of(*writes, *one, *other) is None


def test_calls_that_touch_count_as_at_the_same_time():
    assert order_of(write(1, 1, 2), read(0, 2, 3)) == (1, 0)


def test_a_lost_answer_may_have_happened_at_any_time_since_or_never():
    assert order_of(write(1, 1)) == ()
    assert order_of(write(1, 1), read(0, 2, 3)) == (1,)
    assert order_of(write(1, 1), read(1, 2, 3)) == (0, 1)
    assert order_of(write(1, 1), read(0, 2, 3), read(1, 4, 5)) == (1, 0, 2)
    assert order_of(write(1, 1), read(1, 2, 3), read(0, 4, 5)) is None
    # Not before it was made, and once only.
    assert order_of(read(1, 1, 2), write(1, 3)) is None
    again = read(1, 2, 3), write(2, 4, 5), read(1, 6, 7)
    assert order_of(write(1, 1), *again) is None


def test_the_furthest_order_is_told_where_there_is_none():
    found = find_order(
        [write(1, 1, 2), read(1, 3, 4), read(5, 5, 6), read(1, 7, 8)], 0, register
    )
    assert not found.ok
    assert found.furthest == (0, 1)
    assert found.state == 1
    assert find_order([write(1, 1, 2), read(5, 3, 4)], 0, register).furthest == (0,)


def at_once(count):
    """Writes that are all under way together, and a read that none of them explains."""
    writes = [write(number, number, 100) for number in range(1, count + 1)]
    return [*writes, read(-1, 101, 102)]


def factorial_sum(count):
    """Count the ways to begin an order of so many."""
    total, ways = 1, 1
    for placed in range(count):
        ways *= count - placed
        total += ways
    return total


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_remembering_bounds_the_search(count):
    # A pair: any set of the writes, with any of its members the last one.
    pairs = count * 2 ** (count - 1) + 1
    remembering = find_order(at_once(count), 0, register)
    assert remembering.visited == pairs
    forgetful = find_order(at_once(count), 0, register, remembers=False)
    assert forgetful.visited == factorial_sum(count)
    assert remembering.order is forgetful.order is None


def test_the_bound_holds_where_trying_all_orders_could_not_end():
    # There are 11! of them, 39,916,800.
    assert find_order(at_once(11), 0, register).visited == 11 * 2**10 + 1


@pytest.mark.parametrize("length", [10, 100])
def test_calls_one_after_another_are_looked_at_once_each(length):
    calls = [write(number, 2 * number, 2 * number + 1) for number in range(length)]
    assert find_order(calls, 0, register).visited == length + 1


def by_brute_force(calls, begin, step):
    """Try every order of all answered calls with any of the lost ones."""
    answered = [call for call in calls if call.returned is not None]
    lost = [call for call in calls if call.returned is None]
    choices = chain.from_iterable(
        combinations(lost, count) for count in range(len(lost) + 1)
    )
    return any(
        keeps_time(order) and explains(order, begin, step)
        for chosen in choices
        for order in permutations([*answered, *chosen])
    )


def keeps_time(order):
    return not any(
        later.returned is not None and later.returned < earlier.invoked
        for earlier, later in combinations(order, 2)
    )


def explains(order, begin, step):
    states = {begin}
    for call in order:
        states = {after for state in states for after in step(state, call)}
    return bool(states)


@st.composite
def register_calls(draw):
    invoked = draw(st.integers(0, 8))
    length = draw(st.none() | st.integers(0, 6))
    return Call(
        draw(st.sampled_from(["read", "write"])),
        draw(st.integers(0, 2)),
        invoked,
        None if length is None else invoked + length,
    )


@drawn
@given(st.lists(register_calls(), max_size=5))
def test_any_history_of_a_register_is_judged_as_by_brute_force(calls):
    wanted = by_brute_force(calls, 0, register)
    assert find_order(calls, 0, register).ok == wanted
    assert find_order(calls, 0, register, remembers=False).ok == wanted


def lease_calls(seed, count):
    """Make calls by chance on a correct lease store, one after another."""
    trials = Trials(ReferenceStore(), Settings(seed=seed))
    with trials.begin() as trial:
        taking_part = callers(trial, trials.settings, 0, NAMES)
        while len(trial.calls) < count:
            taking_part[(seed + 7 * len(trial.calls)) % len(taking_part)].call()
            trial.pass_ms(seed % 3 * 150)
    return with_contention(trial.calls.values())[:count]


@st.composite
def lease_histories(draw, most):
    """Draw a history that a lease store has made, its calls overlapping.

    Each call has its effect where it had it. It is made earlier and answered later, and
    the answers to some are lost; not one that gave what was presented later.
    """
    calls = lease_calls(draw(st.integers(0, 10**6)), draw(st.integers(1, most)))
    stretched = []
    for turn, call in enumerate(calls):
        earlier, later = draw(st.tuples(st.integers(0, 25), st.integers(0, 25)))
        invoked, over = 10 * turn - earlier, 10 * turn + later
        stretched.append(replace(call, invoked=invoked, over=over, returned=over))
    presented = {call.presented for call in calls}
    lost = draw(st.sets(st.integers(0, len(calls) - 1), max_size=3))
    told = [
        unanswered(call)
        if call.answer is None
        or (number in lost and getattr(call.answer, "label", None) not in presented)
        else call
        for number, call in enumerate(stretched)
    ]
    return with_contention(told)


@drawn
@given(lease_histories(25))
def test_what_a_lease_store_has_answered_is_explained(calls):
    found = find_order(calls, model.State(), model.step)
    assert found.ok
    assert keeps_time([calls[number] for number in found.order])
    assert explains(
        [calls[number] for number in found.order], model.State(), model.step
    )


def altered(call, other):
    """Return a call with an answer that another one might have had."""
    answer = call.answer
    if isinstance(answer, Acquired):
        return replace(call, answer=replace(answer, epoch=answer.epoch - 1))
    if isinstance(answer, Renewed):
        earlier_ms = answer.expires_at_ms - 10_000
        return replace(call, answer=Renewed(earlier_ms))
    if answer is Plain.REFUSED:
        return replace(call, answer=Plain.DONE)
    if answer is Plain.DONE:
        return replace(call, answer=Plain.REFUSED)
    return replace(call, answer=other.answer)


@drawn
@given(lease_histories(5), st.data())
def test_an_altered_history_is_judged_as_by_brute_force(calls, data):
    number, other = data.draw(
        st.tuples(*[st.integers(0, len(calls) - 1)] * 2), label="altered, like"
    )
    if calls[number].answer is not None:
        calls[number] = altered(calls[number], calls[other])
    wanted = by_brute_force(calls, model.State(), model.step)
    assert find_order(calls, model.State(), model.step).ok == wanted


def test_the_altered_histories_are_not_all_of_one_kind():
    verdicts = []
    for seed in range(200):
        calls = lease_calls(seed, 5)
        calls[seed % 5] = altered(calls[seed % 5], calls[seed % 3])
        verdicts.append(find_order(calls, model.State(), model.step).ok)
    assert 20 < sum(verdicts) < 180


@drawn
@given(lease_histories(12), st.data())
def test_a_shortened_history_cannot_be_explained_either(calls, data):
    number = data.draw(st.integers(0, len(calls) - 1), label="altered")
    if calls[number].answer is not None:
        calls[number] = altered(calls[number], calls[0])
    if find_order(calls, model.State(), model.step).ok:
        return
    fewer = shortened(
        calls, model.State(), model.step, unanswered=unanswered, is_idle=is_idle
    )
    assert not find_order(fewer, model.State(), model.step).ok
    told = {(call.actor, call.number): call for call in calls}
    assert all(
        call in (told[call.actor, call.number], unanswered(call)) for call in fewer
    )
    # What may have had an effect is there, as far as the history goes.
    until = max(call.returned for call in fewer if call.returned is not None)
    effects = {
        (call.actor, call.number)
        for call in calls
        if not is_idle(call) and (call.returned or call.invoked) <= until
    }
    assert effects <= {(call.actor, call.number) for call in fewer}
    for call in fewer:
        if is_idle(call):
            rest = [other for other in fewer if other is not call]
            assert find_order(rest, model.State(), model.step).ok
