"""Histories of several processes at once, one of which is killed at last."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from traceback import format_exc
from typing import Final
from unittest import SkipTest

from leasehold.adapters.conformance.chance import callers, several_names
from leasehold.adapters.conformance.clocks import SharedClock
from leasehold.adapters.conformance.histories import Call
from leasehold.adapters.conformance.lease_store import Clock, OpenStore
from leasehold.adapters.conformance.trials import Settings, Trial, Trials, check
from leasehold.adapters.testing.manual_clock import ManualClock

_KILLED_AFTER: Final = 7
"""After how many messages about the last history one process is killed."""


@dataclass(frozen=True, slots=True)
class _Task:
    """A history to take part in."""

    resource: str
    number: int


@dataclass(frozen=True, slots=True)
class _Done:
    """A process has made its calls; or could not go on, and says why."""

    error: str = ""


@dataclass(frozen=True, slots=True)
class _Child:
    """A process and the way to talk to it."""

    process: BaseProcess
    connection: Connection


@check
def histories_of_processes_are_linearizable(trials: Trials) -> None:
    """Calls of several processes at once are answered as if they came one by one.

    Each process has the store open for itself. In the last history one of them is
    killed in the middle of its calls (SIGKILL), and what it had under way may have
    happened or not. (Herlihy and Wing 1990; a call that nobody heard of again is under
    way to the end, as in the Jepsen project's Knossos.)
    """
    settings = trials.settings
    if settings.processes == 0:
        message = "no processes were asked for"
        raise SkipTest(message)
    clock = SharedClock() if settings.clock is ManualClock else settings.clock()
    here = Trials(trials.open_store, settings, clock)
    try:
        with _children(trials.open_store, settings, clock) as children:
            for number in range(settings.rounds):
                is_last = number == settings.rounds - 1
                with here.begin(time.monotonic_ns) as trial:
                    _play(trial, children, number, kills=is_last)
                    trial.player("reader").read()
    finally:
        here.close()


@contextmanager
def _children(
    open_store: OpenStore, settings: Settings, clock: Clock
) -> Iterator[list[_Child]]:
    """Start processes; end them afterwards, whatever happens."""
    context = get_context("spawn")
    with ExitStack() as stack:
        children = []
        for name in several_names(settings.processes):
            ours, theirs = context.Pipe()
            stack.callback(ours.close)
            arguments = theirs, open_store, settings, clock, name
            process = context.Process(target=take_part, args=arguments, daemon=True)
            process.start()
            stack.callback(_end, process)
            theirs.close()
            children.append(_Child(process, ours))
        for child in children:
            _check(child.connection.recv())
        yield children


def _end(process: BaseProcess) -> None:
    process.kill()
    process.join()
    process.close()


def _play(
    trial: Trial, children: Sequence[_Child], number: int, *, kills: bool
) -> None:
    """Let all processes make their calls, and note what they tell of them."""
    for child in children:
        child.connection.send(_Task(trial.resource, number))
    left = {child.connection: child for child in children}
    told = 0
    while left:
        for connection in wait(list(left)):
            child = left[connection]  # type: ignore[index]
            try:
                message = child.connection.recv()
            except EOFError:
                message = _Done()
            if isinstance(message, Call):
                trial.note(message)
                told += 1
            else:
                _check(message)
                del left[child.connection]
        if kills and told >= _KILLED_AFTER:
            kills = False
            children[0].process.kill()


def _check(message: _Done) -> None:
    if message.error:
        error = f"a process could not go on:\n{message.error}"
        raise RuntimeError(error)


def take_part(
    connection: Connection,
    open_store: OpenStore,
    settings: Settings,
    clock: Clock,
    name: tuple[str, str],
) -> None:
    """Make calls of one player in history after history; run in a child."""
    try:
        trials = Trials(open_store, settings, clock)
        trials.session(name[0], 0)
        connection.send(_Done())
        while True:
            task: _Task = connection.recv()
            trial = Trial(trials, time.monotonic_ns, task.resource, connection.send)
            (caller,) = callers(trial, settings, task.number, [name])
            caller.call_often(settings.calls)
            connection.send(_Done())
    except (EOFError, BrokenPipeError):
        return
    except BaseException:
        connection.send(_Done(format_exc()))
        raise
