"""Start the command line, or say what to install where it is not there."""

import importlib
import sys

_EXTRA_MODULES = frozenset({"rich", "typer"})


def main() -> None:
    """Run `leasehold` with the arguments of the process and exit with its status."""
    try:
        application = importlib.import_module(
            "leasehold.adapters.command_line.application"
        )
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA_MODULES:
            raise
        sys.stderr.write("leasehold: run: pip install 'leasehold[cli]'\n")
        sys.exit(2)
    sys.exit(application.run(sys.argv[1:]))
