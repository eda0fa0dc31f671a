"""The command: `python -m leasehold.testing.conformance TARGET`."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib import import_module
from typing import Final, cast

from leasehold.adapters.conformance.clocks import host_now_ms
from leasehold.adapters.conformance.lease_store import OpenStore
from leasehold.adapters.conformance.ledger_store import LedgerStore
from leasehold.adapters.conformance.running import Report, Verdict, results
from leasehold.adapters.conformance.trials import DEFAULT, Settings
from leasehold.domain.errors import LeaseholdError

_PROGRAM: Final = "python -m leasehold.testing.conformance"
_MEMORY: Final = "sqlite://"
_PROCESSES: Final = 2
_FAILED, _WRONG_CALL = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a lease store and print what was found.

    Args:
        arguments: Those of the process if none are given.

    Returns:
        The exit status: 0 all checks passed or were skipped, 1 one failed, 2 the call
        was wrong.
    """
    asked = _parser().parse_args(arguments)
    try:
        with _store(asked.target) as (open_store, processes):
            settings = _settings(asked, processes)
            # What is wrong with the target is told before any check.
            open_store(host_now_ms, host_now_ms).close()
            report = _run(open_store, settings, as_json=asked.json)
    except (LeaseholdError, ImportError, AttributeError, ValueError) as error:
        sys.stderr.write(f"{_PROGRAM}: {error}\n")
        return _WRONG_CALL
    return 0 if report.ok else _FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Check what a lease store must do.",
        epilog="Exit status: 0 no check failed, 1 one failed, 2 the call was wrong.",
    )
    add = parser.add_argument
    add(
        "target",
        metavar="TARGET",
        help=(
            "the url of a ledger, a new one for the kit alone (sqlite:///scratch.db, "
            "postgresql://…); or MODULE:NAME, a way to open your store, or a class "
            "that makes one"
        ),
    )
    for name, told in (
        ("rounds", "how many histories are made by chance, for each check that does"),
        ("calls", "how many calls each player makes in such a history"),
        ("threads", "how many threads call at once"),
        ("processes", "how many processes call at once"),
        ("seed", "what chance begins with"),
        ("ttl-ms", "how long leases run"),
    ):
        field = name.replace("-", "_")
        shown = getattr(DEFAULT, field)
        if name == "processes":
            shown = f"{_PROCESSES} for a ledger that can be shared, else 0"
        add(f"--{name}", type=_count, metavar="N", help=f"{told} (default: {shown})")
    add("--json", action="store_true", help="write the report as JSON")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        message = "not negative"
        raise ValueError(message)
    return number


@contextmanager
def _store(target: str) -> Iterator[tuple[OpenStore, int]]:
    """Find the way to open the store; and how many processes may, if none is told."""
    if "://" in target:
        with LedgerStore(target) as store:
            yield store, 0 if target == _MEMORY else _PROCESSES
        return
    module, found, name = target.partition(":")
    if not (module and found and name):
        message = f"{target!r} is neither the url of a ledger nor MODULE:NAME"
        raise ValueError(message)
    # As `python -m` has it: modules in the current folder are there.
    value = import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    yield cast("OpenStore", value() if isinstance(value, type) else value), 0


def _settings(asked: argparse.Namespace, processes: int) -> Settings:
    names = ("rounds", "calls", "threads", "processes", "seed", "ttl_ms")
    given = {
        name: number for name in names if (number := getattr(asked, name)) is not None
    }
    return replace(DEFAULT, **{"processes": processes, **given})


def _run(open_store: OpenStore, settings: Settings, *, as_json: bool) -> Report:
    done = []
    for result in results(open_store, settings=settings):
        done.append(result)
        if not as_json:
            sys.stdout.write(f"{result}\n")
            sys.stdout.flush()
    report = Report(tuple(done))
    if as_json:
        told = {"ok": report.ok, "results": [asdict(result) for result in done]}
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        counts = [
            f"{sum(result.verdict is verdict for result in done)} {verdict}"
            for verdict in Verdict
        ]
        sys.stdout.write(f"{', '.join(counts)}\n")
    return report
