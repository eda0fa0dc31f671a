"""Waiting in an event loop for what threads do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable


async def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so, at most a minute."""
    with anyio.fail_after(60):
        while not is_so():  # noqa: ASYNC110 - threads set no events of the loop
            await anyio.sleep(0.001)
