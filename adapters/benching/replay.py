"""What goes through the whole log, in events per second, and how large the log is."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from leasehold.adapters.benching.living import PAYLOAD, RESULT
from leasehold.adapters.benching.measuring import Figure
from leasehold.adapters.benching.places import Place
from leasehold.adapters.benching.rows import BenchOrder, PartReport, Row, Show
from leasehold.adapters.ledger import Ledger
from leasehold.adapters.opening import open_ledger
from leasehold.domain.findings import Severity
from leasehold.domain.frames import Frame

EVENTS_OF_A_LIFE: Final = 8
"""Created, claimed, started, renewed, progressed, a frame, completed, finished."""

_MANY: Final = 5
"""The log has so many times the executions of the order."""

_PAGE: Final = 1_000
_FRAME: Final = Frame(b"z" * 100)
_SIZES: Final = ("file_bytes", "log_bytes", "tables_bytes")


def fill(ledger: Ledger, executions: int) -> None:
    """Take executions through whole lives, of `EVENTS_OF_A_LIFE` events each."""
    left = executions
    while left:
        count = min(left, _PAGE)
        ledger.create_executions([{"payload": PAYLOAD}] * count)
        handles = ledger.claim_many(count, worker_id="worker", lease_ttl_ms=3_600_000)
        for handle in handles:
            ledger.renew(handle)
            ledger.progress(handle, 50, "half")
            ledger.append_frame(handle, _FRAME)
            ledger.complete(handle, RESULT)
        left -= count


def measure(place: Place, order: BenchOrder, show: Show) -> PartReport:
    """Fill a store, then replay, rebuild, verify and audit it, round by round."""
    executions = _MANY * order.executions
    url = place.url_of("replay")
    empty = _facts(url)
    show(f"replay: making {executions} executions")
    # What a call survives is not what is measured here.
    with open_ledger(url, durability="normal") as ledger:
        fill(ledger, executions)
    filled = _facts(url)
    size_bytes = _size_bytes(filled) - _size_bytes(empty)
    events = int(filled["events"])
    rates: dict[str, list[float]] = {name: [] for name in _RUNS}
    wrong = dict.fromkeys(_RUNS, 0)
    with open_ledger(url, durability=order.durability) as ledger:
        for number in range(order.rounds):
            for name, run in _RUNS.items():
                show(f"replay: round {number + 1} of {order.rounds}, {name}")
                begin_s = time.perf_counter()
                wrong[name] += run(ledger)
                rates[name].append(events / (time.perf_counter() - begin_s))
    speeds = [
        Row(name, {"events_per_s": Figure.of(values)}) for name, values in rates.items()
    ]
    sizes = {
        f"an execution of {EVENTS_OF_A_LIFE} events": executions,
        "an event": events,
    }
    return PartReport(
        (
            *speeds,
            *(
                Row(name, {"bytes": Figure.of([size_bytes / count])})
                for name, count in sizes.items()
            ),
        ),
        wrong,
    )


def _facts(url: str) -> Mapping[str, str | int]:
    """Ask a store that nobody has open: SQLite has folded its log into the file."""
    with open_ledger(url) as ledger:
        return ledger.read.store_facts()


def _size_bytes(facts: Mapping[str, str | int]) -> int:
    return sum(int(facts[name]) for name in _SIZES if name in facts)


def _replay(ledger: Ledger) -> int:
    with ledger.as_of(ledger.read.settled_position()) as read:
        return int(read.counts() != ledger.read.counts())


def _rebuild(ledger: Ledger) -> int:
    return len(ledger.rebuild())


def _verify(ledger: Ledger) -> int:
    return ledger.verify().fault_count


def _audit(ledger: Ledger) -> int:
    report = ledger.audit()
    return sum(
        count
        for check, count in report.counts.items()
        if check.severity is Severity.ERROR
    )


_RUNS: Final[Mapping[str, Callable[[Ledger], int]]] = {
    "replay": _replay,
    "rebuild": _rebuild,
    "verify": _verify,
    "audit": _audit,
}
"""Each goes through the whole log, and returns how much it found to be wrong."""
