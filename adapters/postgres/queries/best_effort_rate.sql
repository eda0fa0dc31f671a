-- The rate and number of an attempt's best-effort frames.
SELECT last_at_ms, frames_per_second, frame_count
FROM best_effort_rate
WHERE execution_id = %(execution_id)s AND attempt_index = %(attempt_index)s
