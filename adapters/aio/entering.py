"""What is either awaited, or entered with `async with`."""

from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

Opened = TypeVar("Opened", bound=AbstractAsyncContextManager[Any])


class Opening(Generic[Opened]):
    """Something that is about to be opened: `await` it, or enter it.

    `opened = await opening` leaves it to the caller to close what was opened.
    """

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, Opened]]) -> None:
        """Do nothing yet."""
        self._begin = begin
        self._opened: Opened | None = None

    def __await__(self) -> Generator[Any, Any, Opened]:
        """Open it."""
        return self._begin().__await__()

    async def __aenter__(self) -> Opened:
        """Open it, and enter what was opened."""
        self._opened = await self._begin()
        await self._opened.__aenter__()
        return self._opened

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave what was opened."""
        if self._opened is not None:
            await self._opened.__aexit__(exc_type, exc_value, traceback)
