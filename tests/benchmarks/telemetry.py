"""What OpenTelemetry adds to the calls of a worker: `python telemetry.py`.

Three ledgers take turns: one that is not instrumented, one that tells the API of
OpenTelemetry (which passes it on to nobody), and one that tells the SDK, with a reader
and a batch of spans that go nowhere. The times are those that the processor was busy
with the calls, so that neither the disk nor other processes count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import TYPE_CHECKING

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import NoOpTracerProvider

import leasehold
from leasehold.adapters.benching.measuring import circumstances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

OPERATIONS = ("claim", "renew", "complete")
WAYS = ("not instrumented", "API alone", "SDK")


class Nowhere(SpanExporter):
    """Takes spans and does nothing with them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Say that all went well."""
        assert spans
        return SpanExportResult.SUCCESS


def opened() -> dict[str, leasehold.Ledger]:
    """Open a ledger for each way, on a store in memory of its own."""
    ledgers = {way: leasehold.open("sqlite://") for way in WAYS}
    ledgers["API alone"].instrument(
        meter_provider=NoOpMeterProvider(), tracer_provider=NoOpTracerProvider()
    )
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(Nowhere()))
    ledgers["SDK"].instrument(
        meter_provider=MeterProvider([InMemoryMetricReader()]),
        tracer_provider=tracers,
    )
    return ledgers


def microseconds_each(
    call: Callable[[object], object], items: Iterable[object]
) -> float:
    """Make the call for each item; return the processor's time for one, in µs."""
    given = list(items)
    began_ns = time.thread_time_ns()
    for item in given:
        call(item)
    return (time.thread_time_ns() - began_ns) / len(given) / 1000


def one_round(ledger: leasehold.Ledger, lane_id: str, count: int) -> dict[str, float]:
    """Take so many executions through their lives; return µs per call."""
    ledger.create_executions([{"lane_id": lane_id}] * count)
    handles: list[leasehold.Handle] = []

    def claim(_: object) -> None:
        handle = ledger.claim(lane_id, worker_id="worker-1")
        assert handle is not None
        handles.append(handle)

    return {
        "claim": microseconds_each(claim, range(count)),
        "renew": microseconds_each(ledger.renew, handles),
        "complete": microseconds_each(ledger.complete, handles),
    }


def measured(rounds: int, count: int) -> dict[str, dict[str, list[float]]]:
    """Return µs per call by operation and way, round by round."""
    ledgers = opened()
    found: dict[str, dict[str, list[float]]] = {
        operation: {way: [] for way in WAYS} for operation in OPERATIONS
    }
    for number in range(-1, rounds):
        turn = number % len(WAYS)
        for way in WAYS[turn:] + WAYS[:turn]:
            times = one_round(ledgers[way], f"lane-{number + 1}", count)
            for operation in OPERATIONS:
                if number >= 0:  # The first one warms up.
                    found[operation][way].append(times[operation])
    for ledger in ledgers.values():
        ledger.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each")
    parser.add_argument("--count", type=int, default=300, help="calls in a round")
    chosen = parser.parse_args()
    found = measured(chosen.rounds, chosen.count)
    medians = {
        operation: {way: statistics.median(us) for way, us in ways.items()}
        for operation, ways in found.items()
    }
    facts = circumstances()
    if chosen.json:
        print(json.dumps({"circumstances": facts, "median_us": medians}, indent=2))
        return
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"{'µs of the processor':<22}" + "".join(f"{way:>20}" for way in WAYS))
    for operation, ways in medians.items():
        print(f"{operation:<22}" + "".join(f"{us:>20.1f}" for us in ways.values()))


if __name__ == "__main__":
    main()
