"""Calls on a ledger behind a proxy, with a fault at every message of each in turn.

A call is prepared, a fault is arranged at a message of a number, the call is made, and
what it told is held against what the store then holds. `LEASEHOLD_FAULTS_EVERY=1` is
for every message that client or server send, 2 for every second one; without it there
is one of each side.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import every_call
from scripted_calls import OPERATIONS, until_it_answers

import leasehold
from leasehold.adapters.postgres.failures import DRIVER_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scripted_calls import Operation, Prepared, Stage

EVERY = int(os.environ.get("LEASEHOLD_FAULTS_EVERY", "0"))
SENDERS = ("client", "server")
STATES = ("pending", "delayed", "running")
RETURNED = "returned"
NOTHING = "told that nothing was written"
UNKNOWN = "told that it is not known"
UNRESOLVED = "not resolved within 10 s"
AWAY = "told that the server cannot be reached"


@dataclass
class Tally:
    """How often a fault came, and what the calls told then."""

    family: str
    told: Counter[str] = field(default_factory=Counter)

    @property
    def faults(self) -> int:
        """How many faults there were."""
        return sum(self.told.values())

    def __str__(self) -> str:
        """Say it in a line."""
        outcomes = ", ".join(f"{count} {it}" for it, count in sorted(self.told.items()))
        return f"{self.family}: {self.faults} faults, {outcomes}"


def topics_after(ledger: leasehold.Ledger, position: int) -> list[str]:
    """Read what was appended after a position."""
    events = until_it_answers(lambda: ledger.read.events(after=position))
    return [event.topic for event in events]


def last_position(ledger: leasehold.Ledger) -> int:
    """Read how far the log is, when nobody writes."""
    return int(until_it_answers(ledger.read.settled_position))


def shape(answer: Any) -> Any:
    """Say what of an answer does not come from a draw or a position."""
    if isinstance(answer, list):
        return [shape(item) for item in answer]
    return type(answer)


def end_all(ledger: leasehold.Ledger) -> None:
    """End what is not ended, so that the next call finds its own."""
    for state in STATES:
        rows = until_it_answers(
            lambda state=state: ledger.read.executions(public_state=state)
        )
        for row in rows:
            ledger.cancel_execution(row.execution_id, actor="ann", reason="done")


def check_answer(ledger: leasehold.Ledger, answer: Any, before: int) -> None:
    """Find in the store what a call has answered; the log ended there before."""
    if isinstance(answer, leasehold.Handle):
        ledger.complete(answer, b"held")
    elif isinstance(answer, list):
        for one in answer:
            if isinstance(one, leasehold.Handle):
                ledger.complete(one, b"held")
    elif isinstance(answer, leasehold.LeaseRenewal):
        (renewed,) = ledger.read.lease_events(after=before)
        assert renewed.expires_at_ms == answer.expires_at_ms
    elif isinstance(answer, leasehold.ResumeGrant):
        execution = ledger.read.execution(answer.execution_id)
        assert execution.public_state == "running"


class Trial:
    """One operation under one fault, at one message after another.

    With `anew` the ledger has to connect first: then that is disturbed, too.
    """

    def __init__(
        self, stage: Stage, operation: Operation, tally: Tally, *, anew: bool = False
    ) -> None:
        self.stage = stage
        self.operation = operation
        self.tally = tally
        self.anew = anew
        prepared = operation.prepare(stage)
        before = last_position(prepared.ledger)
        stage.hang_up(anew=anew)
        with stage.proxy.counting_messages() as self.messages:
            self.shape = shape(prepared.make())
        self.topics = topics_after(prepared.ledger, before)
        self._end(prepared)

    def at(self, sender: str, number: int, act: Any) -> bool:
        """Let the fault come at a message; return whether there was such a message."""
        proxy = self.stage.proxy
        prepared = self.operation.prepare(self.stage)
        before = last_position(prepared.ledger)
        self.stage.hang_up(anew=self.anew)
        proxy.at_message(sender, number, act)
        told = RETURNED
        try:
            answer = prepared.make()
        except leasehold.StoreError as error:
            told = self._told(error)
        has_acted = proxy.has_acted
        proxy.forget()
        self.stage.wait_for_the_dying()
        appended = topics_after(prepared.ledger, before)
        if told == RETURNED:
            where = f"{self.operation.name}, {sender} {number}: {answer!r}"
            assert self._is_whole(appended), where
            assert shape(answer) == self.shape, where
            check_answer(prepared.ledger, answer, before)
        else:
            self._check_failed(prepared, told, appended, before)
        assert prepared.holds()
        self._end(prepared)
        if has_acted:
            self.tally.told[told] += 1
        return has_acted

    def _told(self, error: leasehold.StoreError) -> str:
        assert error.code == "store_unavailable"
        assert isinstance(error.__cause__, DRIVER_ERRORS) or not error.retryable
        if "nothing was written" in str(error):
            assert error.retryable
            return NOTHING
        assert "not known" in str(error)
        assert error.retryable is self.operation.may_be_unknown
        return UNKNOWN if self.operation.may_be_unknown else UNRESOLVED

    def _is_whole(self, appended: list[str]) -> bool:
        """Say whether all was done; a refusal is recorded if that can be done."""
        return appended == self.topics or (self.operation.is_refused and not appended)

    def _check_failed(
        self, prepared: Prepared, told: str, appended: list[str], before: int
    ) -> None:
        """Hold that all or nothing was done, and that the call can be repeated."""
        if told == NOTHING:
            assert appended == []
        assert appended == [] or self._is_whole(appended)
        if not appended or self.operation.is_repeatable:
            answer = until_it_answers(prepared.make)
            assert self._is_whole(topics_after(prepared.ledger, before))
            check_answer(prepared.ledger, answer, before)

    def _end(self, prepared: Prepared) -> None:
        """Repeat a call that may be repeated, and make room for the next one."""
        if self.operation.is_repeatable:
            before = last_position(prepared.ledger)
            prepared.make()
            assert topics_after(prepared.ledger, before) == []
        end_all(self.stage.ledger)
        prepared.end()


def numbers(place: int, messages: int, every: int = 1) -> Iterable[int]:
    """Say at which messages a fault comes: at all of them, however many, or at one."""
    if EVERY:
        return itertools.count(1 + place % (EVERY * every), EVERY * every)
    return (1 + 7 * place % max(1, messages),)


def try_all(
    stage: Stage,
    act: Any,
    tally: Tally,
    *,
    beginning: int = 0,
    step: int = 1,
    every: int = 1,
    anew: bool = False,
) -> None:
    """Let a fault come at every message of every operation.

    Without `LEASEHOLD_FAULTS_EVERY` at one message of each side, of some operations.

    Args:
        stage: Where.
        act: The fault.
        tally: Counts what was told.
        beginning: The place of the first operation that is tried in any case.
        step: How many places further the next one is.
        every: With it, at each how-manieth message; four are about a statement.
        anew: Whether each call has to connect first.
    """
    for place, operation in enumerate(OPERATIONS):
        if not EVERY and place % step != beginning:
            continue
        trial = Trial(stage, operation, tally, anew=anew)
        for sender in SENDERS:
            for number in numbers(place, trial.messages[sender], every):
                if not trial.at(sender, number, act):
                    break
    assert 2 * tally.told[UNRESOLVED] <= tally.faults
    assert stage.ledger.verify().faults == ()
    assert stage.ledger.audit().ok


def try_all_reads(stage: Stage, act: Any, tally: Tally) -> None:
    """Let a fault come at every message of everything that can be asked."""
    handle = every_call.worked(stage.ledger)
    mode = leasehold.Summary()
    stage.ledger.append_frame(handle, leasehold.Frame(b'{"a":1}', mode=mode))
    for place, (name, read) in enumerate(every_call.READS.items()):
        ask = partial(read, stage.ledger, handle.execution_id)
        # Sizes and the number of connections change.
        steady = set if name == "facts" else (lambda answer: answer)
        with stage.proxy.counting_messages() as counted:
            expected = steady(ask())
        for sender in SENDERS:
            for number in numbers(place, counted[sender]):
                stage.proxy.at_message(sender, number, act)
                told, answer = told_by(ask)
                has_acted = stage.proxy.has_acted
                stage.proxy.forget()
                assert told == AWAY or steady(answer) == expected
                assert steady(until_it_answers(ask)) == expected
                if not has_acted:
                    break
                tally.told[told] += 1


def told_by(ask: Any) -> tuple[str, Any]:
    """Ask; return whether there was an answer, and which."""
    try:
        return RETURNED, ask()
    except leasehold.StoreError as error:
        if (error.code, error.retryable) != ("store_unavailable", True):
            raise
        return AWAY, None
