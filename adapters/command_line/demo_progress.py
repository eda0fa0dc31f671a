"""Show the demonstration while it runs: a live table, or a line for each event."""

import sys
import time
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

import leasehold
from leasehold.adapters.command_line import demo_jobs, output
from leasehold.adapters.command_line.demo_processes import Told

_REDRAW_S: Final = 0.1
_BAR_CELLS: Final = 20
_VERBS: Final = {
    "renewed": "renews",
    "completed": "completes",
    "stopped": "is refused",
}


class Progress(Protocol):
    """What the demonstration tells of itself while it runs."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state shown."""
        ...

    def say(self, text: str, *, style: str | None = None) -> None:
        """Tell that something happened."""
        ...

    def tick(self, ledger: leasehold.Ledger) -> None:
        """Show how the ledger stands now, where that is shown at all."""
        ...


class _Silence:
    """For --json: nothing but the document at the end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def say(self, text: str, *, style: str | None = None) -> None:
        pass

    def tick(self, ledger: leasehold.Ledger) -> None:
        pass


class _Lines(_Silence):
    """For a pipe: one line for each event."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, text: str, *, style: str | None = None) -> None:
        del style
        output.print_line(f"{time.monotonic() - self._started:5.2f} s  {text}")
        sys.stdout.flush()


class _Screen(_Silence):
    """For a terminal: the executions as they stand in the tables, redrawn.

    What happens is printed above the table and stays.
    """

    def __init__(self) -> None:
        self._live = Live(console=output.console(), auto_refresh=False, transient=True)
        self._started = time.monotonic()
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, text: str, *, style: str | None = None) -> None:
        seconds = time.monotonic() - self._started
        line = Text(f"{seconds:5.2f} s  {output.escaped(text)}", style=style or "")
        self._live.console.print(line)

    def tick(self, ledger: leasehold.Ledger) -> None:
        now = time.monotonic()
        if now - self._drawn < _REDRAW_S:
            return
        self._drawn = now
        table = Table(box=None, pad_edge=False)
        for column in ("execution", "lane", "priority", "attempt", "state", "progress"):
            table.add_column(column, justify="left")
        for row in ledger.read.executions():
            table.add_row(*_cells(row))
        self._live.update(Group(Text(), table), refresh=True)


def _cells(row: leasehold.ExecutionRow) -> tuple[Text, ...]:
    percent = int(row.raw_fields.get("progress_pct", 0))
    filled = _BAR_CELLS * percent // 100
    style = output.STATE_STYLES.get(row.public_state, "")
    return (
        Text(row.tags.get("name", ""), style="bold"),
        Text(row.lane_id),
        Text(str(row.priority)),
        Text(str(row.attempt_index)),
        Text(row.public_state, style=style),
        Text.assemble(("━" * filled, style), ("━" * (_BAR_CELLS - filled), "dim")),
    )


def choose(*, as_json: bool) -> Progress:
    """Return what fits where the output goes."""
    if as_json:
        return _Silence()
    return _Screen() if output.console().is_terminal else _Lines()


def sentence(told: Told, name: str) -> str | None:
    """Say in words what a worker told; None where that is not worth a line."""
    fields = told.fields
    match told.what:
        case "started":
            able = " ".join(demo_jobs.WORKERS[told.worker])
            return f"{told.worker} starts as process {fields['pid']}, able to: {able}"
        case "claimed":
            taken_over = fields["kind"] == leasehold.HandleKind.RECLAIMED
            verb = "takes over" if taken_over else "claims"
        case "failed":
            verb = "must retry" if fields["retried"] else "gives up on"
        case _ if told.what in _VERBS:
            verb = _VERBS[told.what]
        case _:
            return None
    why = f": {fields['why']}" if "why" in fields else ""
    where = f"{name} (attempt {fields['attempt']}, epoch {fields['epoch']})"
    return f"{told.worker} {verb} {where}{why}"
