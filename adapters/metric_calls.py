"""What a ledger tells of itself: its live figures, and OpenTelemetry."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from leasehold.adapters.commands import Commands
from leasehold.adapters.metering import Metrics
from leasehold.adapters.reader import Reader
from leasehold.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from leasehold.adapters.telemetry import MeterProvider, TracerProvider


class MetricCommands(Commands):
    """The operations that tell how the others are doing."""

    def metrics(self, *, ask_store: bool = True) -> Metrics:
        """Return what this ledger did since it was opened.

        Counted are the calls of this object that are committed; what other processes
        do is theirs. A figure begins at 0 when the ledger is opened.

        Args:
            ask_store: Whether to look for the oldest orphan, which is a query. Without
                it nothing is asked of the store, which may be out of reach.

        Raises:
            StoreError: The store could not answer.
        """
        oldest = Reader(self._store).oldest_orphan() if ask_store else None
        return self._meter.snapshot(
            oldest_orphan_ms=None if oldest is None else oldest.orphaned_ms
        )

    def instrument(
        self,
        *,
        meter_provider: "MeterProvider | None" = None,
        tracer_provider: "TracerProvider | None" = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Report every call to OpenTelemetry from now on, as figures and as spans.

        What fails in OpenTelemetry is logged and never fails a call. Called again, it
        replaces what was set before.

        Args:
            meter_provider: Where the figures go; to the global one where none is given.
            tracer_provider: Where the spans go; to the global one where none is given.
            attributes: Put on every figure and span, to tell ledgers apart.

        Raises:
            InvalidInputError: The extra `otel` is not installed.
        """
        try:
            from leasehold.adapters.telemetry import Telemetry  # noqa: PLC0415
        except ImportError as error:
            message = (
                f"OpenTelemetry needs the extra `otel` ({error}): "
                "pip install 'leasehold[otel]'"
            )
            raise InvalidInputError(message) from error
        self._meter.listener = Telemetry(
            Reader(self._store),
            self._store.backend,
            meter_provider=meter_provider,
            tracer_provider=tracer_provider,
            attributes=attributes or {},
        )
