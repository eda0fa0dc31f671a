-- A page of an attempt's frames, oldest first.
SELECT
    execution_id,
    attempt_index,
    ts_ms,
    seq,
    frame_type,
    payload,
    correlation_id,
    mode,
    summary_version
FROM stream_frame
WHERE execution_id = %(execution_id)s
    AND attempt_index = %(attempt_index)s
    AND (ts_ms, seq) > (%(after_ts_ms)s, %(after_seq)s)
ORDER BY ts_ms, seq
LIMIT %(most)s
