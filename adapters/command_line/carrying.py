"""Carry histories from one ledger to another, as a file or through a pipe."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

import leasehold
from leasehold.adapters import bundle_files, bundles
from leasehold.adapters.command_line import options, output, progressing, store_urls

_PIPE: Final = "-"
_BEGIN: Final = b'{"bundle":"leasehold"'


def export(
    *,
    target: Annotated[
        str, typer.Argument(metavar="FILE", help="Where to; - for standard output.")
    ],
    execution: Annotated[
        list[str] | None,
        typer.Option(
            "--execution",
            metavar="ID",
            help="Only this one; may be given several times.",
        ),
    ] = None,
    redact: Annotated[
        bool,
        typer.Option("--redact", help="Leave out payloads, results, frames and texts."),
    ] = False,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Write the events of all executions, or of chosen ones, to a bundle.

    The file is there whole when the command ends, or not at all.
    """
    chosen = None
    if execution:
        chosen = [options.parse_execution_id(text) for text in execution]
    options.check_store_is_there(store)
    with (
        _opened_to_write(target) as opened,
        options.open_to_read(store) as ledger,
        progressing.meter("exporting") as meter,
    ):
        summary = ledger.export(opened, chosen, redact=redact, progress=meter)
    if target == _PIPE:
        return
    if as_json:
        output.print_json(summary)
        return
    output.print_line(f"{target}: {_in_words(summary)}")


def import_bundle(
    *,
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A bundle; - for standard input.")
    ],
    create: Annotated[
        bool, typer.Option("--create", help="Make the ledger if there is none.")
    ] = False,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Verify a bundle, then take all of it in, or nothing.

    An empty ledger keeps the positions; in another one they are new, at the end.
    """
    with ExitStack() as opened:
        if create:
            store_urls.check_url(store)
            bundle: str | BinaryIO = opened.enter_context(_verified(source))
            ledger = leasehold.open(store)
        else:
            bundle = opened.enter_context(_opened_to_read(source))
            ledger = options.open_to_write(store)
        with ledger, progressing.meter("importing") as meter:
            summary = ledger.import_bundle(bundle, progress=meter)
    if as_json:
        output.print_json(summary)
        return
    output.print_line(f"taken in: {_in_words(summary)}")


def _in_words(summary: leasehold.BundleSummary) -> str:
    text = (
        f"{output.count_text(summary.events, 'event')} of "
        f"{output.count_text(summary.executions, 'execution')}, "
        f"sha256 {summary.sha256}"
    )
    original = summary.header.original_sha256
    return text if original is None else f"{text}, redacted from {original}"


@contextmanager
def _opened_to_write(name: str) -> Iterator[str | BinaryIO]:
    """Give what a bundle can be written to; nothing but a bundle is overwritten.

    Raises:
        InvalidInputError: A terminal, a folder, or a file that is something else.
        StoreError: It cannot be written.
    """
    if name == _PIPE:
        if sys.stdout.isatty():
            message = "a bundle is not for a terminal: name a file, or pipe it on"
            raise leasehold.InvalidInputError(message)
        try:
            with _telling_of_failure("standard output"):
                yield sys.stdout.buffer
                sys.stdout.buffer.flush()
        except leasehold.StoreError:
            output.discard_the_rest()
            raise
        return
    path = Path(name)
    with _telling_of_failure(name):
        kind = path.stat().st_mode if path.exists() else None
        if kind is not None and not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            # A device or a named pipe is written to, not replaced.
            with path.open("wb") as file:
                yield file
            return
    if kind is not None:
        _check_is_a_bundle(path, kind)
    if not path.parent.is_dir():
        message = f"the folder {path.parent} of {name} is not there"
        raise leasehold.InvalidInputError(message)
    yield name


def _check_is_a_bundle(path: Path, kind: int) -> None:
    if stat.S_ISDIR(kind):
        message = f"{path} is a folder; name a file in it"
        raise leasehold.InvalidInputError(message)
    with _telling_of_failure(str(path)), path.open("rb") as file:
        begin = file.read(len(_BEGIN))
    if begin not in {b"", _BEGIN}:
        message = f"{path} is there and is no bundle: it is not overwritten"
        raise leasehold.InvalidInputError(message)


@contextmanager
def _opened_to_read(name: str) -> Iterator[str | BinaryIO]:
    """Give what a bundle can be read from.

    Raises:
        StoreError: It cannot be read.
    """
    if name == _PIPE:
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed below, apart from this
    except OSError as error:
        message = f"{name} cannot be read: {error.strerror}"
        raise leasehold.StoreError(message) from error
    with file:
        # What cannot be read twice is kept aside by the ledger.
        yield name if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else file


@contextmanager
def _verified(name: str) -> Iterator[BinaryIO]:
    """Give a bundle that is whole: for another one no ledger is made.

    Raises:
        InvalidInputError: It was altered or cut, or is none.
        StoreError: It cannot be read.
    """
    with (
        _opened_to_read(name) as opened,
        bundle_files.opened_to_read_twice(opened) as file,
    ):
        for _ in bundles.BundleReader(file).events():
            pass
        file.seek(0)
        yield file


@contextmanager
def _telling_of_failure(name: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"{name} cannot be written: {error.strerror}"
        raise leasehold.StoreError(message) from error
