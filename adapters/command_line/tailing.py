"""Follow the log while it is written."""

import io
import select
import sys
from collections.abc import Iterator
from typing import Annotated, Final
from uuid import UUID

import typer

import leasehold
from leasehold.adapters.command_line import options, output, stories
from leasehold.adapters.following import Subscription

_READER_LOOKED_FOR_S: Final = 1.0


def tail(  # noqa: PLR0913 - one for each option
    *,
    after: Annotated[
        int | None,
        typer.Option(
            "--after",
            metavar="POSITION",
            help="Begin after it: 0 for all there is. Else with what comes now.",
            min=0,
        ),
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic",
            metavar="TOPIC",
            help="Only of this topic; may be given several times.",
        ),
    ] = None,
    execution: Annotated[
        str | None,
        typer.Option("--execution", metavar="ID", help="Only of this execution."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", help="End after so many.", min=1),
    ] = None,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Follow the log: a line for each event as it is committed, by any process.

    Goes on until it is interrupted. With --json: one JSON document a line.
    """
    with options.open_to_read(store) as ledger:
        execution_id: UUID | None = None
        if execution is not None:
            execution_id = options.find_execution(ledger.read, execution).execution_id
        teller = stories.Teller(of_one=execution_id)
        with ledger.subscribe(after, topic or (), execution_id) as subscription:
            for record in _until(_events(subscription), limit):
                if as_json:
                    output.print_json(record)
                else:
                    teller.tell(record)
                sys.stdout.flush()


def _until(
    records: Iterator[leasehold.RecordedEvent], limit: int | None
) -> Iterator[leasehold.RecordedEvent]:
    for number, record in enumerate(records, start=1):
        yield record
        if number == limit:
            return


def _events(subscription: Subscription) -> Iterator[leasehold.RecordedEvent]:
    while True:
        yield from subscription.next_events(_READER_LOOKED_FOR_S)
        _check_reader_is_there()


def _check_reader_is_there() -> None:
    """Notice that whoever read the output went away, before there is more to write.

    Raises:
        BrokenPipeError: Nobody reads.
    """
    try:
        output_number = sys.stdout.fileno()
    except io.UnsupportedOperation:
        return
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    poll.register(output_number, 0)
    if any(happened & select.POLLERR for _, happened in poll.poll(0)):
        raise BrokenPipeError
