"""Keeps what OpenTelemetry is told, and makes every call that has a span."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import leasehold


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
