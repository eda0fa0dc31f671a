-- The place of an attempt's newest frame, of any mode.
SELECT ts_ms, seq
FROM stream_frame
WHERE execution_id = %(execution_id)s AND attempt_index = %(attempt_index)s
ORDER BY ts_ms DESC, seq DESC
LIMIT 1
