"""What OpenTelemetry is told: instruments, attributes, spans; and what it may break."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.metrics import NoOpCounter, NoOpMeter, NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import leasehold

SYSTEMS = {"sqlite": "sqlite", "postgres": "postgresql"}
UNITS = {
    "leasehold.claims": "{claim}",
    "leasehold.renewals": "{renewal}",
    "leasehold.refusals": "{refusal}",
    "leasehold.errors": "{error}",
    "leasehold.expiries": "{lease}",
    "leasehold.executions": "{execution}",
    "leasehold.time_to_reclaim": "s",
    "leasehold.renewal_headroom": "s",
    "leasehold.commit.duration": "s",
    "leasehold.oldest_orphan": "s",
}


class Collected:
    """Providers that keep what they are told."""

    def __init__(self):
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))

    def metrics(self):
        """Return the instruments by name, as they stand."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name):
        """Return the values of an instrument by its attributes but the system."""
        points = self.metrics()[name].data.data_points
        found = {}
        for point in points:
            attributes = dict(point.attributes)
            attributes.pop("db.system.name")
            value = point.sum if hasattr(point, "sum") else point.value
            found[tuple(sorted(attributes.items()))] = value
        return found

    def spans(self):
        """Return what was ended since the last time."""
        found = self.exporter.get_finished_spans()
        self.exporter.clear()
        return found


@pytest.fixture
def collected():
    made = Collected()
    yield made
    made.meters.shutdown()
    made.tracers.shutdown()


@pytest.fixture
def told_of(ledger, collected):
    """Give the ledger in turn, instrumented."""
    ledger.instrument(
        meter_provider=collected.meters, tracer_provider=collected.tracers
    )
    return ledger


def test_every_instrument_has_its_unit_and_what_store_it_is_about(
    told_of, collected, clock, mismatched, backend
) -> None:
    work(told_of, clock, mismatched)
    found = collected.metrics()
    assert {name: metric.unit for name, metric in found.items()} == UNITS
    for metric in found.values():
        assert metric.description.endswith(".") or metric.description.endswith("one.")
        for point in metric.data.data_points:
            assert point.attributes["db.system.name"] == SYSTEMS[backend]


def work(ledger, clock, mismatched):
    """Let everything happen that there is an instrument for."""
    ledger.create_execution()
    handle = ledger.claim(worker_id="w", lease_ttl_ms=10_000)
    clock.advance(2_500)
    ledger.renew(handle)
    for _ in range(2):
        with pytest.raises(leasehold.LeaseConflictError):
            ledger.renew(mismatched(handle))
    with pytest.raises(leasehold.IllegalTransitionError):
        ledger.replay_execution(handle.execution_id, actor="ann", reason="again")
    clock.advance(12_000)
    handle = ledger.claim(worker_id="w", lease_ttl_ms=10_000)
    clock.advance(10_250)
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w")
    handle = ledger.claim_from_resume_grant(grant, worker_id="w")
    ledger.complete(handle)
    assert ledger.claim(worker_id="w") is None


def test_the_instruments_count_what_the_ledger_counts(
    told_of, collected, clock, mismatched
) -> None:
    work(told_of, clock, mismatched)
    points = collected.points
    assert points("leasehold.claims") == {
        (("leasehold.claim.kind", kind),): 1
        for kind in ("fresh", "reclaimed", "resumed", "empty")
    }
    assert points("leasehold.renewals") == {(): 1}
    assert points("leasehold.refusals") == {
        (("error.type", "lease_conflict"), ("leasehold.operation", "renew")): 2
    }
    assert points("leasehold.errors") == {
        (
            ("error.type", "illegal_transition"),
            ("leasehold.operation", "replay_execution"),
        ): 1
    }
    assert points("leasehold.expiries") == {(): 1}
    assert points("leasehold.executions") == {
        (("leasehold.outcome", "created"),): 1,
        (("leasehold.outcome", "completed"),): 1,
    }
    assert points("leasehold.renewal_headroom") == {(): 7.5}
    assert points("leasehold.time_to_reclaim") == {
        (("leasehold.claim.kind", "reclaimed"),): 2.0,
        (("leasehold.claim.kind", "resumed"),): 0.25,
    }
    commits = points("leasehold.commit.duration")
    assert {dict(key)["leasehold.operation"] for key in commits} == {
        "create_execution",
        "claim",
        "renew",
        "issue_resume_grant",
        "claim_from_resume_grant",
        "complete",
    }
    assert sum(commits.values()) * 1000 == pytest.approx(
        told_of.metrics().commit_time.sum_ms
    )


def test_the_parts_of_a_call_of_several_are_told_one_by_one(
    told_of, collected, start, mismatched
) -> None:
    told_of.renew_many([start(), mismatched(start())])
    assert collected.points("leasehold.renewals") == {(): 1}
    assert collected.points("leasehold.refusals") == {
        (("error.type", "lease_conflict"), ("leasehold.operation", "renew")): 1
    }
    assert collected.spans()[-1].status.status_code is StatusCode.UNSET


def test_a_histogram_has_the_buckets_of_the_ledgers_own(told_of, collected) -> None:
    told_of.create_execution()
    (point,) = collected.metrics()["leasehold.commit.duration"].data.data_points
    own = told_of.metrics().commit_time.buckets
    assert [1000 * bound for bound in point.explicit_bounds] == pytest.approx(
        list(own)[:-1]
    )
    assert list(point.bucket_counts) == list(own.values())


def test_a_call_is_a_span_with_its_end(told_of, collected, start, mismatched) -> None:
    handle = start()
    told_of.claim(worker_id="w")
    with pytest.raises(leasehold.LeaseConflictError) as refused:
        told_of.complete(mismatched(handle))
    created, claimed, empty, completed = collected.spans()
    one = str(handle.execution_id)
    for span, name, kind in (
        (created, "leasehold.create_execution", None),
        (claimed, "leasehold.claim", "fresh"),
        (empty, "leasehold.claim", "empty"),
        (completed, "leasehold.complete", None),
    ):
        assert span.name == name
        assert span.kind is SpanKind.INTERNAL
        assert span.parent is None
        assert span.attributes.get("leasehold.claim.kind") == kind
    assert empty.attributes.get("leasehold.execution.id") is None
    assert empty.status.status_code is StatusCode.UNSET
    for span in (created, claimed, completed):
        assert span.attributes["leasehold.execution.id"] == one
    assert completed.status.status_code is StatusCode.ERROR
    assert completed.status.description == str(refused.value)
    assert completed.attributes["error.type"] == "lease_conflict"
    assert "error.type" not in claimed.attributes


def operations(ledger, clock, start):
    """Make every call that has a span, and return their names."""
    ledger.create_executions([{"priority": -9000}])
    handle = start()
    one = handle.execution_id
    ledger.renew(handle)
    ledger.progress(handle, 50)
    ledger.append_frame(handle, leasehold.Frame(b"line"))
    ledger.change_priority(one, 5, actor="ann")
    grant = ledger.issue_resume_grant(one, worker_id="w")
    ledger.revoke_lease(one, actor="ann", reason="stuck")
    handle = ledger.claim_from_resume_grant(grant, worker_id="w")
    ledger.complete(handle)
    ledger.replay_execution(one, actor="ann", reason="again")
    handle = ledger.claim(worker_id="w")
    ledger.fail(handle, "broke", leasehold.FailureClass.TRANSIENT)
    ledger.cancel_execution(one, actor="ann", reason="no use")
    ledger.sweep()
    return [
        "create_executions create_execution claim renew progress append_frame",
        "change_priority issue_resume_grant revoke_lease claim_from_resume_grant",
        "complete replay_execution claim fail cancel_execution sweep",
    ]


def test_every_operation_has_a_span(told_of, collected, clock, start) -> None:
    names = " ".join(operations(told_of, clock, start)).split()
    spans = collected.spans()
    assert [span.name for span in spans] == [f"leasehold.{name}" for name in names]
    about_one = [s for s in spans if "leasehold.execution.id" in s.attributes]
    assert {span.name for span in spans} - {span.name for span in about_one} == {
        "leasehold.create_executions",
        "leasehold.sweep",
    }


def test_what_goes_on_in_a_call_is_below_its_span(store_url, collected) -> None:
    tracer = collected.tracers.get_tracer("test")

    def clock():
        with tracer.start_as_current_span("clock"):
            return 1_700_000_000_000

    with leasehold.open(store_url, clock=clock) as ledger:
        ledger.instrument(
            meter_provider=collected.meters, tracer_provider=collected.tracers
        )
        with tracer.start_as_current_span("caller") as caller:
            ledger.create_execution()
            assert trace.get_current_span() is caller
    inner, outer, _ = collected.spans()
    assert inner.parent.span_id == outer.context.span_id
    assert outer.parent.span_id == caller.get_span_context().span_id


def test_the_oldest_orphan_is_asked_for_when_it_is_wanted(
    told_of, collected, clock, start
) -> None:
    assert collected.points("leasehold.oldest_orphan") == {(): 0}
    start(ttl=1_000)
    clock.advance(3_500)
    assert collected.points("leasehold.oldest_orphan") == {(): 2.5}
    told_of.close()
    assert "leasehold.oldest_orphan" not in collected.metrics()


def test_two_ledgers_of_a_provider_are_told_apart_by_attributes(
    new_store, collected, clock
) -> None:
    for number, kind in enumerate(("memory", "memory", "file")):
        ledger = leasehold.open(new_store(kind), clock=clock)
        name = "a" if number < 2 else "b"
        ledger.instrument(
            meter_provider=collected.meters,
            tracer_provider=collected.tracers,
            attributes={"ledger": name},
        )
        ledger.create_execution()
        ledger.claim(worker_id="w", lease_ttl_ms=1_000 * (number + 1))
        collected.__dict__.setdefault("ledgers", []).append(ledger)
    clock.advance(10_000)
    named = {name: (("ledger", name),) for name in "ab"}
    assert collected.points("leasehold.oldest_orphan") == {
        named["a"]: 9.0,
        named["b"]: 7.0,
    }
    assert set(collected.points("leasehold.claims").values()) == {1, 2}
    assert {span.attributes["ledger"] for span in collected.spans()} == {"a", "b"}
    for ledger in collected.ledgers:
        ledger.close()


def test_instrumenting_again_replaces_what_was_set(told_of, collected) -> None:
    other = Collected()
    told_of.instrument(
        meter_provider=other.meters,
        tracer_provider=other.tracers,
        attributes={"run": "2"},
    )
    told_of.create_execution()
    assert collected.spans() == ()
    assert collected.metrics() == {}
    assert len(other.spans()) == 1
    assert other.points("leasehold.oldest_orphan") == {(("run", "2"),): 0}


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
