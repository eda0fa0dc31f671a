"""Tell how a ledger and what it runs on are."""

import platform
from importlib.metadata import version
from typing import Final

from leasehold.adapters.command_line import options, output

_PACKAGES: Final = ("leasehold", "eventsourcing", "pydantic")


def doctor(
    *,
    store: options.StoreOption = options.DEFAULT_STORE,
    as_json: options.JsonOption = False,
) -> None:
    """Tell the versions, the durability and the sizes of a ledger."""
    with options.open_to_read(store) as ledger:
        facts = ledger.read.store_facts()
        counts = ledger.read.counts()
        lanes = ledger.read.lanes()
        orphans = ledger.read.expired_leases()
    versions = {package: version(package) for package in _PACKAGES}
    versions["python"] = platform.python_version()
    if as_json:
        output.print_json(
            {
                "versions": versions,
                "store": {"url": store, **facts},
                "lanes": lanes,
                "executions": counts,
                "expired_leases": len(orphans),
            }
        )
        return
    output.print_fields(versions, title="versions")
    output.print_fields(_readable({"url": store, **facts}), title="store")
    output.print_fields(
        {
            "lanes": ", ".join(lanes),
            **{str(state): count for state, count in counts.items()},
            "expired leases": len(orphans),
        },
        title="executions",
    )


def _readable(facts: dict[str, str | int]) -> dict[str, object]:
    return {
        name.removesuffix("_bytes"): output.size_text(value)
        if name.endswith("_bytes") and isinstance(value, int)
        else value
        for name, value in facts.items()
    }
