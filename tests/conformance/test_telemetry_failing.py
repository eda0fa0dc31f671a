"""OpenTelemetry that fails, that is not installed, that is set up later."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from collecting import Collected, operations
from opentelemetry import trace
from opentelemetry.metrics import NoOpCounter, NoOpMeter, NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

import leasehold


@pytest.fixture
def collected():
    made = Collected()
    yield made
    made.meters.shutdown()
    made.tracers.shutdown()


class BrokenError(Exception):
    pass


class BrokenProcessor(SpanProcessor):
    """Fails where the ledger meets it: when a span begins or ends."""

    def __init__(self, when):
        self.when = when

    def on_start(self, span, parent_context=None):
        if self.when == "start":
            raise BrokenError

    def on_end(self, span):
        if self.when == "end":
            raise BrokenError


class BrokenMeters(NoOpMeterProvider):
    """Gives counters that fail."""

    def get_meter(self, *args, **options):
        return BrokenMeter("broken")


class BrokenMeter(NoOpMeter):
    def create_counter(self, *args, **options):
        return BrokenCounter("broken")


class BrokenCounter(NoOpCounter):
    def add(self, *args, **options):
        raise BrokenError


@pytest.mark.parametrize("broken", ["start", "end", "counter"])
def test_telemetry_that_fails_fails_no_call(
    ledger, collected, caplog, broken, clock, start
) -> None:
    tracers = collected.tracers
    if broken != "counter":
        tracers.add_span_processor(BrokenProcessor(broken))
    ledger.instrument(
        meter_provider=BrokenMeters() if broken == "counter" else collected.meters,
        tracer_provider=tracers,
    )
    with caplog.at_level(logging.DEBUG, logger="leasehold"):
        operations(ledger, clock, start)
    assert not trace.get_current_span().is_recording()
    told = [record for record in caplog.records if record.name == "leasehold"]
    assert [record.levelno for record in told[:2]] == [logging.WARNING, logging.DEBUG]
    assert len({record.message for record in told}) == 1
    assert sum(record.levelno == logging.WARNING for record in told) == 1
    assert ledger.metrics().claims[leasehold.HandleKind.FRESH] == 2
    if broken == "counter":  # The spans are ended all the same.
        assert len(collected.spans()) == 16


class BrokenSpanExporter(SpanExporter):
    def __init__(self):
        self.asked = 0

    def export(self, spans):
        self.asked += 1
        raise BrokenError


class BrokenMetricExporter(MetricExporter):
    asked = 0

    def export(self, metrics_data, timeout_millis=0, **options):
        self.asked += 1
        raise BrokenError

    def force_flush(self, timeout_millis=0):
        return True

    def shutdown(self, timeout_millis=0, **options):
        pass


def test_an_exporter_that_fails_fails_no_call(ledger, clock, start) -> None:
    spans, figures = BrokenSpanExporter(), BrokenMetricExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    exporting = PeriodicExportingMetricReader(figures, 3_600_000)
    meters = MeterProvider([exporting], shutdown_on_exit=False)
    ledger.instrument(meter_provider=meters, tracer_provider=tracers)
    operations(ledger, clock, start)
    exporting.collect()
    assert (spans.asked, figures.asked) == (16, 1)
    assert ledger.metrics().errors == {}
    meters.shutdown()
    tracers.shutdown()


def run_python(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_the_extra_a_ledger_works_and_says_what_to_install() -> None:
    done = run_python(
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import leasehold\n"
        "with leasehold.open('sqlite://') as ledger:\n"
        "    ledger.create_execution()\n"
        "    try:\n"
        "        ledger.instrument()\n"
        "    except leasehold.InvalidInputError as error:\n"
        "        print(error)\n"
        "    ledger.complete(ledger.claim(worker_id='w'))\n"
        "    print(ledger.metrics().completions)\n"
    )
    assert done.returncode == 0, done.stderr
    said, completions = done.stdout.splitlines()
    assert "pip install 'leasehold[otel]'" in said
    assert completions == "1"


def test_a_ledger_that_is_not_instrumented_loads_no_opentelemetry() -> None:
    done = run_python(
        "import sys, leasehold\n"
        "with leasehold.open('sqlite://') as ledger:\n"
        "    ledger.create_execution()\n"
        "    ledger.complete(ledger.claim(worker_id='w'))\n"
        "    ledger.metrics()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


GLOBAL = """
import leasehold
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

one, two = leasehold.open("sqlite://"), leasehold.open("sqlite://")
one.instrument(attributes={"ledger": "one"})
reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
metrics.set_meter_provider(MeterProvider([reader]))
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
two.instrument(attributes={"ledger": "two"})
for ledger in (one, two):
    ledger.create_execution()
points = {
    (metric.name, point.attributes["ledger"])
    for resource in reader.get_metrics_data().resource_metrics
    for scope in resource.scope_metrics
    for metric in scope.metrics
    for point in metric.data.data_points
}
print(sorted(points))
print([span.attributes["ledger"] for span in exporter.get_finished_spans()])
"""


def test_the_global_providers_are_told_whenever_they_are_set() -> None:
    done = run_python(GLOBAL)
    assert done.returncode == 0, done.stderr
    points, spans = done.stdout.splitlines()
    names = (
        "leasehold.commit.duration",
        "leasehold.executions",
        "leasehold.oldest_orphan",
    )
    assert points == repr([(name, it) for name in names for it in ("one", "two")])
    assert spans == "['one', 'two']"
