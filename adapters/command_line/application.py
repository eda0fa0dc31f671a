"""Put the commands together, and turn their errors into a line and a status."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

import leasehold
from leasehold.adapters.command_line import (
    auditing,
    benching,
    carrying,
    demonstrating,
    diagnosing,
    explaining,
    histories,
    listing,
    operating,
    output,
    proving,
    replaying,
    tailing,
    tenures,
)

WRONG_CALL: Final = 2
_INTERRUPTED: Final = 130

COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "demo": demonstrating.demo,
    "list": listing.list_executions,
    "show": listing.show,
    "history": histories.history,
    "frames": histories.frames,
    "tenures": tenures.list_tenures,
    "audit": auditing.audit,
    "tail": tailing.tail,
    "why": explaining.why,
    "diff": explaining.diff,
    "verify": proving.verify,
    "checkpoint": proving.checkpoint,
    "rebuild": proving.rebuild,
    "export": carrying.export,
    "import": carrying.import_bundle,
    "sweep": operating.sweep,
    "cancel": operating.cancel,
    "revoke": operating.revoke,
    "reopen": operating.reopen,
    "doctor": diagnosing.doctor,
}
GROUPS: Final[dict[str, Callable[[], typer.Typer]]] = {
    "as-of": replaying.build,
    "bench": benching.build,
}


def _print_version(*, value: bool) -> None:
    if value:
        output.print_line(f"leasehold {version('leasehold')}")
        raise typer.Exit


def _leasehold(
    *,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda value: _print_version(value=value),
            is_eager=True,
            help="Show the version.",
        ),
    ] = False,
) -> None:
    """Look into a ledger of durable executions, and act on it.

    Exit status: 0 fine, 1 the check found something, 2 the call was wrong.
    """


class _ReaderGoneError(Exception):
    """Whoever read the output went away, as `head` does."""


@contextmanager
def _telling_of_a_broken_pipe() -> Iterator[None]:
    # typer would take the error for a failure of the command, and end with 1; so does
    # rich, which prints the help. Nothing else in here exits by SystemExit.
    try:
        try:
            yield
        except typer.Exit:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        raise _ReaderGoneError from error


class _Commands(TyperGroup):
    """All the commands; what they print, and their help, may be cut short."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        with _telling_of_a_broken_pipe():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        with _telling_of_a_broken_pipe():
            return super().invoke(ctx)


def build() -> typer.Typer:
    """Make the application with all its commands."""
    application = typer.Typer(
        name="leasehold",
        cls=_Commands,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    application.callback()(_leasehold)
    for name, function in COMMANDS.items():
        application.command(name)(function)
    for name, build_group in GROUPS.items():
        application.add_typer(build_group(), name=name)
    return application


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status.

    0: fine. 1: the check found something. 2: the call was wrong, and one line on
    standard error says how.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A terminal that cannot show a character is no reason to fail.
            reconfigure(errors="backslashreplace")
    try:
        build()(args=list(arguments), prog_name="leasehold")
    except leasehold.LeaseholdError as error:
        return _refused(f"{error}")
    except _ReaderGoneError:
        output.discard_the_rest()
        return 0
    except OSError as error:
        # Of the store and of files a command tells itself: this is its output.
        output.discard_the_rest()
        return _refused(f"the output cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        return _INTERRUPTED
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0
    return 0


def _refused(message: str) -> int:
    line = output.escaped(message.replace("\n", " "))
    sys.stderr.write(f"leasehold: {line}\n")
    return WRONG_CALL
