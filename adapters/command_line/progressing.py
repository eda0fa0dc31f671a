"""Show how far a long command is: on a terminal only, and not for what is quick."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

_QUICK_S: Final = 0.5
_REDRAW_S: Final = 0.1


class Meter:
    """Told how many events are done, and of how many; draws a bar where that helps."""

    def __init__(self, doing: str, most: int | None = None) -> None:
        """Draw on standard error, once the work has taken half a second."""
        self._doing = doing
        self._most = most
        self._is_terminal = sys.stderr.isatty()
        self._draw_at = time.monotonic() + _QUICK_S
        self._bar: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        """Tell how far it is."""
        now = time.monotonic()
        if not self._is_terminal or now < self._draw_at:
            return
        self._draw_at = now + _REDRAW_S
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("events", markup=False),
                TimeRemainingColumn(),
                console=Console(file=sys.stderr),
                transient=True,
            )
            self._bar.add_task(self._doing)
            self._bar.start()
        total = total if self._most is None else min(total, self._most)
        for task in self._bar.tasks:
            self._bar.update(task.id, completed=done, total=total)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def meter(doing: str, most: int | None = None) -> Iterator[Meter]:
    """Give a meter that is gone afterwards.

    Args:
        doing: What is done, for its left side: `verifying`.
        most: How many events there can be at the most, where that is known.
    """
    made = Meter(doing, most)
    try:
        yield made
    finally:
        made.close()
