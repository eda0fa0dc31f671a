"""Streaming frames: durable, summary and best effort."""

import json
from dataclasses import dataclass

from leasehold.adapters.guarding import GuardedCommands, Work
from leasehold.adapters.recording import record
from leasehold.domain import limits, merge_patch
from leasehold.domain.frames import (
    MODE_NAMES,
    BestEffort,
    Frame,
    FrameAppended,
    FrameId,
    Summary,
    next_frame_id,
)
from leasehold.domain.handles import Handle
from leasehold.domain.merge_patch import Json, JsonObject


@dataclass(frozen=True, slots=True)
class AppendFrameOutcome:
    """Say where a frame came to stand.

    Attributes:
        stream_id: `<ts_ms>-<seq>`; grows along the attempt.
        frame_count: The frames of the attempt that are stored now, of all modes.
        summary_version: The version of the summary that the frame made, from 1; None
            for the other modes.
    """

    stream_id: str
    frame_count: int
    summary_version: int | None


class FrameCommands(GuardedCommands):
    """The operation by which the holder of a lease streams its output."""

    def append_frame(self, handle: Handle, frame: Frame) -> AppendFrameOutcome:
        """Append a frame to the attempt.

        It is at least once: after a lost acknowledgement, append again.

        Args:
            handle: The lease.
            frame: With its mode: durable, summary or best effort.

        Raises:
            InvalidInputError: A summary frame whose payload is not a JSON object, or
                whose document would grow beyond 1 MiB; a handle that does not decode.
            LeaseholdError: As for every call of a worker.
        """
        if not isinstance(frame, Frame):
            raise limits.refuse("frame", frame, "a Frame")
        patch = None
        if isinstance(frame.mode, Summary):
            patch = merge_patch.parse_patch(frame.payload)

        def act(work: Work) -> AppendFrameOutcome:
            if isinstance(frame.mode, BestEffort):
                return _append_best_effort(work, frame, frame.mode)
            return _append_event(work, frame, patch)

        return self._guarded(handle, "append_frame", act)


def _of_attempt(work: Work) -> dict[str, str | int]:
    return {
        "execution_id": str(work.lease.execution_id),
        "attempt_index": work.attempt.attempt_index,
    }


def _next_id(work: Work) -> FrameId:
    row = work.session.fetch_one("last_frame", **_of_attempt(work))
    last = None if row is None else FrameId(row[0], row[1])
    return next_frame_id(last, now_ms=work.now_ms)


def _append_event(
    work: Work, frame: Frame, patch: JsonObject | None
) -> AppendFrameOutcome:
    summary_version = None
    if patch is not None:
        summary_version = _next_summary_version(work, patch)
    frame_id = _next_id(work)
    appended = FrameAppended(
        execution_id=work.lease.execution_id,
        occurred_at_ms=work.now_ms,
        attempt_index=work.attempt.attempt_index,
        lease_id=work.attempt.lease_id,
        lease_epoch=work.attempt.lease_epoch,
        ts_ms=frame_id.ts_ms,
        seq=frame_id.seq,
        frame_type=frame.stored_type,
        payload=frame.payload,
        correlation_id=frame.correlation_id,
        mode=MODE_NAMES[type(frame.mode)],
        summary_version=summary_version,
    )
    record(work.session, work.loaded, (appended,), clock_at_ms=work.clock_at_ms)
    row = work.session.fetch_one("best_effort_rate", **_of_attempt(work))
    kept = 0 if row is None else row[2]
    return AppendFrameOutcome(
        str(frame_id), work.loaded.frame_count + 1 + kept, summary_version
    )


def _next_summary_version(work: Work, patch: JsonObject) -> int:
    """Check that the document stays within its limit; return the version it gets."""
    row = work.session.fetch_one("summary", **_of_attempt(work))
    document: Json = {} if row is None else json.loads(row[2])
    merged = merge_patch.apply(document, patch, null_sentinel=merge_patch.NULL_SENTINEL)
    merge_patch.check_document_size(merge_patch.canonical_json(merged))
    return 1 if row is None else row[3] + 1


def _append_best_effort(
    work: Work, frame: Frame, mode: BestEffort
) -> AppendFrameOutcome:
    of_attempt = _of_attempt(work)
    row = work.session.fetch_one("best_effort_rate", **of_attempt)
    rate, kept, interval_ms = 0.0, 0, None
    last_at_ms = work.now_ms
    if row is not None:
        last_at_ms, rate, kept = max(row[0], work.now_ms), row[1], row[2]
        interval_ms = last_at_ms - row[0]
    rate = mode.next_rate(rate, interval_ms)
    frame_id = _next_id(work)
    work.session.execute(
        "add_best_effort_frame",
        **of_attempt,
        ts_ms=frame_id.ts_ms,
        seq=frame_id.seq,
        frame_type=frame.stored_type,
        payload=frame.payload,
        correlation_id=frame.correlation_id,
    )
    kept += 1
    surplus = kept - mode.kept_frames(rate)
    if surplus > 0:
        work.session.execute("trim_best_effort_frames", **of_attempt, surplus=surplus)
        kept -= surplus
    work.session.execute(
        "save_best_effort_rate",
        **of_attempt,
        last_at_ms=last_at_ms,
        frames_per_second=rate,
        frame_count=kept,
    )
    return AppendFrameOutcome(str(frame_id), work.loaded.frame_count + kept, None)
