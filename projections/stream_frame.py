"""The table `stream_frame`: the frames of each attempt.

Its rows of mode `best_effort` are no projection: the store keeps and trims them.
"""

from typing import Final

from leasehold.domain.frames import FrameAppended
from leasehold.projections.changes import Changes, Insert, Place, Rules

TABLE: Final = "stream_frame"

rules: Final = Rules()


@rules.on(FrameAppended)
def appended(event: FrameAppended, place: Place) -> Changes:
    """Add the row."""
    return (
        Insert(
            TABLE,
            {
                "execution_id": place.execution_id,
                "attempt_index": event.attempt_index,
                "ts_ms": event.ts_ms,
                "seq": event.seq,
                "frame_type": event.frame_type,
                "payload": event.payload,
                "correlation_id": event.correlation_id,
                "mode": event.mode.value,
                "summary_version": event.summary_version,
            },
        ),
    )
