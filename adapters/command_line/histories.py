"""Show what happened: the events of an execution, and the frames of an attempt."""

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Final
from uuid import UUID

import typer

import leasehold
from leasehold.adapters.command_line import (
    listing,
    moments,
    options,
    output,
    stories,
    wording,
)

_PAGE: Final = 1000
_BLOCK_MS: Final = 500


def history(  # noqa: PLR0913 - one for each option
    *,
    context: typer.Context,
    execution: options.ExecutionArgument,
    after: Annotated[
        int,
        typer.Option("--after", metavar="POSITION", help="Go on after it.", min=0),
    ] = 0,
    limit: Annotated[
        int | None,
        typer.Option("--limit", help="At most so many.", min=1, max=1_000_000),
    ] = None,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Tell every event of an execution, in the order of the log.

    With --json: one JSON document a line.
    """
    holders = wording.Holders()
    with options.reading(context, store) as read:
        row = options.find_execution(read, execution)
        recorded = read.history(row.execution_id, after=after, limit=limit)
        if after and not as_json:
            for lease in listing.read_lease_events(read, row.execution_id):
                if lease.worker_id is not None:
                    holders.know(lease.lease_id, lease.worker_id)
    if not as_json:
        stories.print_history(row, recorded, holders)
        return
    for record in recorded:
        output.print_json(record)


def frames(  # noqa: PLR0913 - one for each option
    *,
    context: typer.Context,
    execution: options.ExecutionArgument,
    attempt: Annotated[
        int | None,
        typer.Option("--attempt", metavar="N", help="This one.", min=0),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the work ends.")
    ] = False,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Show the frames of an attempt, the latest unless told which.

    --follow without --attempt goes on to the attempts after it, until the execution
    ends. With --json: one JSON document a line.
    """
    if follow and context.find_object(moments.Moment) is not None:
        message = "--follow waits for what is to come, and the past does not change"
        raise leasehold.InvalidInputError(message)
    with options.reading(context, store) as read:
        row = options.find_execution(read, execution)
        index = _attempt_to_show(read, row, attempt, follow=follow)
        if index is None:
            output.note("no attempt has started")
            return
        if follow:
            rows = _follow(read, row.execution_id, index, only=attempt is not None)
        else:
            rows = _stored(read, row.execution_id, index)
        for frame in rows:
            _print_frame(frame, as_json=as_json)


def _attempt_to_show(
    read: leasehold.Reader,
    row: leasehold.ExecutionRow,
    wanted: int | None,
    *,
    follow: bool,
) -> int | None:
    attempts = read.attempts(row.execution_id)
    if wanted is None:
        if attempts:
            return attempts[-1].attempt_index
        return 0 if follow else None
    if any(attempt.attempt_index == wanted for attempt in attempts):
        return wanted
    known = ", ".join(str(attempt.attempt_index) for attempt in attempts) or "none yet"
    message = f"execution {row.execution_id} has no attempt {wanted}; it has {known}"
    raise leasehold.NotFoundError(message)


def _stored(
    read: leasehold.Reader, execution_id: UUID, index: int, after: str | None = None
) -> Iterator[leasehold.FrameRow]:
    while True:
        page = read.frames(execution_id, index, after=after, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].stream_id


def _follow(
    read: leasehold.Reader, execution_id: UUID, index: int, *, only: bool
) -> Iterator[leasehold.FrameRow]:
    after: str | None = None
    while True:
        # Whether it has ended is read before the frames: after an end comes none.
        attempt = read.attempt(execution_id, index)
        over = _is_over(read, execution_id, index)
        if attempt is None:
            if over:
                return
            time.sleep(_BLOCK_MS / 1000)
            continue
        if attempt.outcome is None and not over:
            page = read.tail_frames(execution_id, index, after, _BLOCK_MS)
            yield from page
            after = page[-1].stream_id if page else after
            continue
        yield from _stored(read, execution_id, index, after)
        if only or over:
            return
        index, after = index + 1, None


def _is_over(read: leasehold.Reader, execution_id: UUID, index: int) -> bool:
    """Say whether no attempt can follow this one unless an operator reopens."""
    row = read.execution(execution_id)
    if row is None or row.lifecycle_phase is not leasehold.LifecyclePhase.TERMINAL:
        return row is None
    return row.attempt_index <= index


def _print_frame(frame: leasehold.FrameRow, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"stream_id": frame.stream_id, **output.columns_of(frame)})
    else:
        payload = frame.payload
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            text = f"{len(payload)} bytes: 0x{payload[:32].hex()}"
        at = output.time_text(frame.ts_ms)
        lines = text.removesuffix("\n").split("\n")
        for line in lines:
            output.print_line(f"{at}  {frame.frame_type}  {line}")
    sys.stdout.flush()
