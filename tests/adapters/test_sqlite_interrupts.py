"""An interrupt at any moment of a call: the other threads of the ledger go on.

What a signal handler raises comes where the interpreter looks for signals: at the start
of a function, after a call, and when a loop goes round. Each such point of the modules
in which threads wait for each other has its turn here.
"""

import dis
import gc
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import CodeType, FrameType
from typing import Any

import pytest

import leasehold
from leasehold.adapters.metering import Call
from leasehold.adapters.sqlite import grouping, transacting

PATIENCE_S = 20
MODULES = (grouping.__file__, transacting.__file__)
LOOKED_AFTER = ("RESUME", "CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD")


class Interrupt(BaseException):
    """Comes from outside."""


class InterruptingError(Exception):
    """Comes from outside, too; where it hits the work of a call, it is that call's."""


class Interruption:
    """Interrupts the thread that it is traced in, at one of the points."""

    def __init__(self, point: int, error: type[BaseException] = Interrupt) -> None:
        self.left = point
        self.error = error
        self.has_come = False
        self._last: dict[FrameType, int] = {}

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in MODULES or self.has_come:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            last = self._last.get(frame, 0)
            self._last[frame] = frame.f_lasti
            if _name(frame.f_code, last) in LOOKED_AFTER:
                self._pass()
        return self.trace

    def _pass(self) -> None:
        if self.left == 0:
            self.has_come = True
            raise self.error
        self.left -= 1


NAMES: dict[CodeType, dict[int, str]] = {}


def _name(code: CodeType, offset: int) -> str:
    if code not in NAMES:
        NAMES[code] = {one.offset: one.opname for one in dis.get_instructions(code)}
    return NAMES[code][offset]


class Three:
    """Three threads that call one ledger, of which the first does the others' work."""

    def __init__(self, ledger: leasehold.Ledger, executor: ThreadPoolExecutor) -> None:
        self.ledger = ledger
        self.store = ledger._store
        self.turns = self.store._transactions.turns
        self.executor = executor

    def transact(self, act: Callable[[Any], None]) -> None:
        self.store.transact(Call(self.ledger._meter, "note"), act)

    def run(
        self, first: Callable[[Callable], Any], *others: Callable[[], Any]
    ) -> list[Future]:
        """Run calls of the ledger; return them when they ended.

        Args:
            first: Gets what holds its turn until the others wait for theirs.
            others: Wait in this order.
        """
        begun, queued = threading.Event(), threading.Event()

        def hold_the_turn(*_: object) -> None:
            begun.set()
            assert queued.wait(PATIENCE_S)

        calls = [self.executor.submit(first, hold_the_turn)]
        self.wait_for(lambda: begun.is_set() or calls[0].done())
        for other in others:
            calls.append(self.executor.submit(other))
            self.wait_for(lambda: calls[0].done() or self.are_queued(calls[1:]))
        queued.set()
        for call in calls:
            call.exception(PATIENCE_S)
        return calls

    def note_three(
        self, interruption: Interruption, who: int, first: int
    ) -> list[Future]:
        """Note three numbers in a call each, of which one is interrupted."""

        def note(number: int, before: Callable[[], None] | None = None) -> None:
            def act(session: Any) -> None:
                session.execute_plain("INSERT INTO noted VALUES (?)", first + number)
                if before is not None:
                    before()

            tracing = sys.gettrace()
            if number == who:
                sys.settrace(interruption.trace)
            try:
                self.transact(act)
            finally:
                sys.settrace(tracing)

        return self.run(partial(note, 0), partial(note, 1), partial(note, 2))

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        give_up_at = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < give_up_at
            time.sleep(0.000_1)

    def are_queued(self, calls: list[Future]) -> bool:
        waiting = sum(not one.done() for one in calls)
        return len(self.turns._waiters) == waiting

    def noted(self) -> list[int]:
        rows = self.store.query_plain("SELECT number FROM noted ORDER BY number")
        return [row["number"] for row in rows]


@pytest.fixture
def three(file_url):
    with (
        leasehold.open(file_url, durability="normal") as ledger,
        ThreadPoolExecutor(3) as executor,
    ):
        with ledger._store.write() as session:
            session.execute_plain("CREATE TABLE noted (number INTEGER PRIMARY KEY)")
        yield Three(ledger, executor)


@pytest.mark.parametrize("kind", [Interrupt, InterruptingError])
@pytest.mark.parametrize("who", [0, 1], ids=["who_works", "who_waits"])
def test_an_interrupt_at_any_moment_holds_nobody_else_up(
    three: Three,
    monkeypatch: pytest.MonkeyPatch,
    who: int,
    kind: type[BaseException],
) -> None:
    monkeypatch.setattr(grouping, "OPEN_S_MAX", PATIENCE_S)
    answered: set[int] = set()
    open_to_doubt: set[int] = set()
    point = 0
    while True:
        interruption = Interruption(point, kind)
        calls = three.note_three(interruption, who, 3 * point)
        for number, call in enumerate(calls):
            error = call.exception()
            if error is None:
                answered.add(3 * point + number)
            elif isinstance(error, kind) and number == who:
                open_to_doubt.add(3 * point + number)
            else:
                assert number != who == 0, error
                assert isinstance(error, kind) or error.retryable, error
        transactions = three.store._transactions
        assert three.turns._holder is None, point
        assert not three.turns._waiters, point
        assert not transactions._under_way, point
        if not interruption.has_come:
            break
        point += 1
    assert point > 20
    found = set(three.noted())
    assert found >= answered
    assert found <= answered | open_to_doubt


@pytest.fixture(params=["decision", "guard", "guard_of_several"])
def refused(request, three: Three) -> Callable[[], None]:
    """Give a call that is refused in a transaction: by one of those who refuse."""
    ledger = three.ledger
    ledger.create_execution()
    stale = ledger.claim(worker_id="w").replace(lease_epoch=999)

    def call() -> None:
        if request.param == "decision":
            ledger.cancel_execution(uuid.uuid4(), actor="a", reason="r")
        elif request.param == "guard":
            ledger.renew(stale)
        else:
            (answer,) = ledger.renew_many([stale])
            try:
                raise answer
            finally:
                del answer

    return call


def test_an_error_brings_nothing_of_the_thread_that_did_the_work(
    three: Three, refused: Callable[[], None]
) -> None:
    """Neither what that thread was handling, nor what its callers have at hand."""

    class Thing:
        """Is at hand there."""

    things = []

    def handle(hold_the_turn: Callable) -> None:
        thing = Thing()
        things.append(weakref.ref(thing))
        try:
            int("none")
        except ValueError:
            three.transact(hold_the_turn)

    error = three.run(handle, refused)[1].exception()
    assert isinstance(error, leasehold.LeaseholdError)
    assert error.__context__ is None
    gc.collect()
    assert things[0]() is None


def test_an_error_is_freed_with_its_last_name(
    three: Three, refused: Callable[[], None]
) -> None:
    """It is in no cycle, which would keep all that the stack has at hand."""

    def call() -> weakref.ref[BaseException] | None:
        try:
            refused()
        except leasehold.LeaseholdError as error:
            return weakref.ref(error)
        return None

    gc.disable()
    try:
        ended = three.run(three.transact, call)[1]
        assert ended.result()() is None
    finally:
        gc.enable()
