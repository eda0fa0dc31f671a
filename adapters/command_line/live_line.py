"""One line that tells how a long command stands, redrawn: on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from leasehold.adapters.command_line.output import escaped


@contextmanager
def live_line() -> Iterator[Callable[[str], None]]:
    """Give what shows a text in place of the one before, on standard error.

    It is gone afterwards. Where standard error is no terminal, nothing is shown.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    console = Console(file=sys.stderr)
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(text: str) -> None:
            line = Text(escaped(text), no_wrap=True, overflow="ellipsis")
            live.update(line, refresh=True)

        yield show
