-- Keep the rate and number of an attempt's best-effort frames.
INSERT INTO best_effort_rate (
    execution_id, attempt_index, last_at_ms, frames_per_second, frame_count
)
VALUES (
    %(execution_id)s, %(attempt_index)s, %(last_at_ms)s,
    %(frames_per_second)s, %(frame_count)s
)
ON CONFLICT (execution_id, attempt_index) DO UPDATE SET
    last_at_ms = excluded.last_at_ms,
    frames_per_second = excluded.frames_per_second,
    frame_count = excluded.frame_count
