"""OpenTelemetry: the live figures as instruments, and a span around every call.

Names and units follow the semantic conventions of OpenTelemetry: dots between words,
seconds for times, `error.type` and `db.system.name` as they are defined there.
"""

import logging
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextvars import Token
from importlib.metadata import version
from typing import Final

from opentelemetry import context, metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import (
    CallbackOptions,
    Counter,
    Histogram,
    Meter,
    MeterProvider,
    Observation,
)
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
)

from leasehold.adapters.counting import Figure
from leasehold.adapters.metering import BUCKETS_MS, Call
from leasehold.adapters.reader import Reader
from leasehold.domain.errors import LeaseholdError
from leasehold.domain.handles import BackendTag

__all__ = ["MeterProvider", "Telemetry", "TracerProvider"]

SCOPE: Final = "leasehold"

_log: Final = logging.getLogger("leasehold")

_MS_IN_S: Final = 1000
_BUCKETS_S: Final = tuple(bound / _MS_IN_S for bound in BUCKETS_MS)
_SYSTEMS: Final = {BackendTag.SQLITE: "sqlite", BackendTag.POSTGRES: "postgresql"}
_OPERATION: Final = "leasehold.operation"
_KIND: Final = "leasehold.claim.kind"
_OUTCOME: Final = "leasehold.outcome"
_EXECUTION: Final = "leasehold.execution.id"
_ERROR: Final = "error.type"
_OUTCOMES: Final = (
    Figure.CREATED,
    Figure.COMPLETED,
    Figure.FAILED,
    Figure.RETRIED,
    Figure.CANCELLED,
    Figure.DEADLINE_PASSED,
)
_KINDS: Final = (Figure.FRESH, Figure.RESUMED, Figure.RECLAIMED, Figure.EMPTY)

Attributes = dict[str, str]


class Instruments:
    """The instruments of one provider; all ledgers that report to it share them."""

    def __init__(self, meter: Meter) -> None:
        """Make them."""
        self.claims = meter.create_counter(
            "leasehold.claims",
            unit="{claim}",
            description="Calls that claim: leases acquired, and calls without any.",
        )
        self.renewals = meter.create_counter(
            "leasehold.renewals", unit="{renewal}", description="Leases renewed."
        )
        self.refusals = meter.create_counter(
            "leasehold.refusals",
            unit="{refusal}",
            description="Calls refused for want of a right: lost, or never had.",
        )
        self.errors = meter.create_counter(
            "leasehold.errors",
            unit="{error}",
            description="Calls that ended with any other error.",
        )
        self.expiries = meter.create_counter(
            "leasehold.expiries",
            unit="{lease}",
            description="Leases recorded as run out.",
        )
        self.executions = meter.create_counter(
            "leasehold.executions",
            unit="{execution}",
            description="Executions created, retried and ended.",
        )
        self.time_to_reclaim = _times(
            meter,
            "leasehold.time_to_reclaim",
            "From the end of a lease, run out or revoked, to its take-over.",
        )
        self.headroom = _times(
            meter,
            "leasehold.renewal_headroom",
            "What was left of the lease at a renewal.",
        )
        self.commits = _times(
            meter,
            "leasehold.commit.duration",
            "How long the commit of what a call recorded took.",
        )
        self.telemetries: weakref.WeakSet[Telemetry] = weakref.WeakSet()
        meter.create_observable_gauge(
            "leasehold.oldest_orphan",
            callbacks=[self.oldest_orphans],
            unit="s",
            description="How long the lease that is over for longest has been waiting "
            "to be taken over; 0 without one.",
        )

    def oldest_orphans(self, _options: CallbackOptions) -> Iterator[Observation]:
        """Ask the store of each ledger; one that cannot answer is left out."""
        found: dict[frozenset[tuple[str, str]], float] = {}
        for telemetry in list(self.telemetries):
            age_s = telemetry.oldest_orphan_s()
            if age_s is not None:
                key = frozenset(telemetry.attributes.items())
                found[key] = max(age_s, found.get(key, 0.0))
        for key, age_s in found.items():
            yield Observation(age_s, dict(key))


def _times(meter: Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(
        name,
        unit="s",
        description=description,
        explicit_bucket_boundaries_advisory=_BUCKETS_S,
    )


_instruments: "Final[weakref.WeakKeyDictionary[object, Instruments]]" = (
    weakref.WeakKeyDictionary()
)
"""By provider; the global one is known as the module that keeps it, because it is
another one once it has been set."""


def _instruments_of(provider: MeterProvider | None) -> Instruments:
    """Return the instruments of a provider, made when they are first asked for.

    A second gauge of the same name would never be asked.
    """
    chosen = metrics.get_meter_provider() if provider is None else provider
    key = metrics if chosen is metrics.get_meter_provider() else chosen
    found = _instruments.get(key)
    if found is None:
        meter = chosen.get_meter(SCOPE, version(SCOPE))
        found = _instruments[key] = Instruments(meter)
    return found


class Telemetry:
    """Tells OpenTelemetry of the calls of one ledger.

    Attributes:
        attributes: On every figure and span.
    """

    def __init__(
        self,
        reader: Reader,
        backend: BackendTag,
        *,
        meter_provider: MeterProvider | None,
        tracer_provider: TracerProvider | None,
        attributes: Mapping[str, str],
    ) -> None:
        """Get ready to tell of a ledger.

        Args:
            reader: Of the ledger, to find the oldest orphan.
            backend: The kind of its store.
            meter_provider: The global one where none is given.
            tracer_provider: The global one where none is given.
            attributes: More to tell of it.
        """
        self.attributes: Attributes = {
            "db.system.name": _SYSTEMS[backend],
            **attributes,
        }
        self._reader = reader
        self._tracer = trace.get_tracer(SCOPE, version(SCOPE), tracer_provider)
        made = self._made = _instruments_of(meter_provider)
        made.telemetries.add(self)
        self._counters: dict[Figure, tuple[Counter, Attributes]] = {
            **{it: (made.claims, self._with({_KIND: it.value})) for it in _KINDS},
            **{
                it: (made.executions, self._with({_OUTCOME: it.value}))
                for it in _OUTCOMES
            },
            Figure.RENEWED: (made.renewals, self.attributes),
            Figure.LEASE_EXPIRED: (made.expiries, self.attributes),
        }
        self._timers: dict[Figure, tuple[Histogram, Attributes]] = {
            Figure.RENEWED: (made.headroom, self.attributes),
            Figure.RECLAIMED: (
                made.time_to_reclaim,
                self._with({_KIND: Figure.RECLAIMED.value}),
            ),
            Figure.RESUMED: (
                made.time_to_reclaim,
                self._with({_KIND: Figure.RESUMED.value}),
            ),
        }

    def begin(self, call: Call) -> tuple[Span, Token[Context]]:
        """Start a span, as the parent of what goes on in the call."""
        span = self._tracer.start_span(
            f"leasehold.{call.operation}",
            kind=SpanKind.INTERNAL,
            attributes=self.attributes,
        )
        return span, context.attach(trace.set_span_in_context(span))

    def end(self, call: Call, mark: object, error: BaseException | None) -> None:
        """Record the figures, within the span, and end it."""
        steps: list[Callable[[], None]] = [lambda: self._record(call)]
        if isinstance(mark, tuple):
            span, token = mark
            steps += [
                lambda: _describe(span, call, error),
                lambda: context.detach(token),
                span.end,
            ]
        _take(steps)

    def _record(self, call: Call) -> None:
        if call.commit_ms is not None:
            operation = self._with({_OPERATION: call.operation})
            self._made.commits.record(call.commit_ms / _MS_IN_S, operation)
            for figure, time_ms in call.facts:
                counter, attributes = self._counters[figure]
                counter.add(1, attributes)
                if time_ms is not None:
                    timer, attributes = self._timers[figure]
                    timer.record(time_ms / _MS_IN_S, attributes)
        if call.acquired is Figure.EMPTY:
            counter, attributes = self._counters[Figure.EMPTY]
            counter.add(1, attributes)
        for error in call.refused if call.error is None else (call.error,):
            counter = self._made.refusals if error.is_refusal else self._made.errors
            ended = {_OPERATION: call.operation, _ERROR: error.name}
            counter.add(1, self._with(ended))

    def oldest_orphan_s(self) -> float | None:
        """Return how long the oldest orphan has been waiting, in seconds.

        0 without one; None where the store cannot be asked.
        """
        try:
            oldest = self._reader.oldest_orphan()
        except LeaseholdError:
            _log.debug("the oldest orphan could not be looked for", exc_info=True)
            return None
        return 0.0 if oldest is None else oldest.orphaned_ms / _MS_IN_S

    def _with(self, more: Attributes) -> Attributes:
        return {**self.attributes, **more}


def _describe(span: Span, call: Call, error: BaseException | None) -> None:
    if not span.is_recording():
        return
    if call.execution_id is not None:
        span.set_attribute(_EXECUTION, str(call.execution_id))
    if call.acquired is not None:
        span.set_attribute(_KIND, call.acquired.value)
    if call.error is not None:
        span.set_attribute(_ERROR, call.error.name)
        span.set_status(Status(StatusCode.ERROR, str(error)))


def _take(steps: list[Callable[[], None]]) -> None:
    """Take all steps, also where one fails; raise the error of the first that did."""
    if steps:
        try:
            steps[0]()
        finally:
            _take(steps[1:])
