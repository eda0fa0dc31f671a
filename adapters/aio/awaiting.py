"""Async methods made from those of the ledger, which stays the only implementation."""

import inspect
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast

from leasehold.adapters.threads import Threads, stop_if_unwanted
from leasehold.adapters.walking import Progress

P = ParamSpec("P")
Answer = TypeVar("Answer")


class OnThreads(Protocol):
    """Something whose calls are those of another object, on threads."""

    _wrapped: Any
    _threads: Threads


class Awaited(Generic[P, Answer]):
    """An async method with the arguments of another one: what type checkers see."""

    def __get__(
        self, instance: object, owner: type
    ) -> Callable[P, Coroutine[Any, Any, Answer]]:
        """Bind it."""
        raise NotImplementedError


def awaited(
    method: Callable[Concatenate[Any, P], Answer],
    *,
    undo: Callable[[Any, Answer], object] | None = None,
) -> Awaited[P, Answer]:
    """Make an async method of one of the ledger.

    Args:
        method: As its class has it.
        undo: Takes an answer back that reaches nobody: `undo(ledger, answer)`.
    """
    name = method.__name__
    signature = inspect.signature(method)
    is_long = "progress" in signature.parameters

    @wraps(method)
    async def call(self: OnThreads, *args: Any, **kwargs: Any) -> Answer:  # noqa: ANN401 - those of the method
        wrapped = self._wrapped
        if is_long:
            bound = signature.bind(wrapped, *args, **kwargs)
            told = cast("Progress | None", bound.arguments.get("progress"))
            bound.arguments["progress"] = stoppable(told)
            args = bound.args[1:]
            kwargs = bound.kwargs
        return await self._threads.run(
            partial(getattr(wrapped, name), *args, **kwargs),
            None if undo is None else partial(undo, wrapped),
        )

    return cast("Awaited[P, Answer]", call)


class Passed(Generic[P, Answer]):
    """A method with the arguments and the result of another one, for type checkers."""

    def __get__(self, instance: object, owner: type) -> Callable[P, Answer]:
        """Bind it."""
        raise NotImplementedError


def passed(method: Callable[Concatenate[Any, P], Answer]) -> Passed[P, Answer]:
    """Offer a method of the ledger as it is: one that neither waits nor reads."""
    name = method.__name__

    @wraps(method)
    def call(self: OnThreads, *args: Any, **kwargs: Any) -> Answer:  # noqa: ANN401 - those of the method
        return cast("Answer", getattr(self._wrapped, name)(*args, **kwargs))

    return cast("Passed[P, Answer]", call)


def stoppable(progress: Progress | None) -> Progress:
    """Let a long call end early when the task that waits for it is cancelled."""

    def told(done: int, of: int) -> None:
        stop_if_unwanted()
        if progress is not None:
            progress(done, of)

    return told
