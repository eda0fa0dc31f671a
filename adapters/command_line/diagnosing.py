"""Tell how a ledger and what it runs on are."""

import platform
from importlib.metadata import version
from typing import Final

import leasehold
from leasehold.adapters.command_line import options, output, store_facts, store_urls

_PACKAGES: Final = ("leasehold", "eventsourcing", "pydantic")
_DRIVERS: Final = {leasehold.BackendTag.POSTGRES.value: ("psycopg",)}


def doctor(
    *,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Tell the versions, the durability and the sizes of a ledger.

    On PostgreSQL also which transaction the readers of the log wait for.
    """
    with options.open_to_read(store) as ledger:
        facts = ledger.read.store_facts()
        counts = ledger.read.counts()
        lanes = ledger.read.lanes()
        orphans = ledger.read.expired_leases()
    url = store_urls.shown(store)
    packages = (*_PACKAGES, *_DRIVERS.get(str(facts["backend"]), ()))
    versions = {package: version(package) for package in packages}
    versions["python"] = platform.python_version()
    warnings = list(store_facts.warnings_about(facts))
    if as_json:
        output.print_json(
            {
                "versions": versions,
                "store": {"url": url, **facts},
                "lanes": lanes,
                "executions": counts,
                "expired_leases": len(orphans),
                "warnings": warnings,
            }
        )
        return
    output.print_fields(versions, title="versions")
    told = {"url": url, **store_facts.in_words(facts)}
    output.print_fields(told, title="store", whole=True)
    output.print_fields(
        {
            "lanes": ", ".join(lanes),
            **{str(state): count for state, count in counts.items()},
            "expired leases": len(orphans),
        },
        title="executions",
    )
    for warning in warnings:
        output.print_line(f"warning: {warning}", style="bold red")
