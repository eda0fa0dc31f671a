-- Add a frame that is telemetry and no event.
INSERT INTO stream_frame (
    execution_id, attempt_index, ts_ms, seq,
    frame_type, payload, correlation_id, mode, summary_version
)
VALUES (
    :execution_id, :attempt_index, :ts_ms, :seq,
    :frame_type, :payload, :correlation_id, 'best_effort', NULL
)
