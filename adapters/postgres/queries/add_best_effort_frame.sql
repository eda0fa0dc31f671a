-- Add a frame that is telemetry and no event.
INSERT INTO stream_frame (
    execution_id, attempt_index, ts_ms, seq,
    frame_type, payload, correlation_id, mode, summary_version
)
VALUES (
    %(execution_id)s, %(attempt_index)s, %(ts_ms)s, %(seq)s,
    %(frame_type)s, %(payload)s, %(correlation_id)s, 'best_effort', NULL
)
