-- Remove an attempt's oldest best-effort frames; other modes are never trimmed.
DELETE FROM stream_frame
WHERE ctid IN (
    SELECT ctid
    FROM stream_frame
    WHERE execution_id = %(execution_id)s
        AND attempt_index = %(attempt_index)s
        AND mode = 'best_effort'
    ORDER BY ts_ms, seq
    LIMIT %(surplus)s
)
