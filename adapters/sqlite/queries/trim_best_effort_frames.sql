-- Remove an attempt's oldest best-effort frames; other modes are never trimmed.
DELETE FROM stream_frame
WHERE rowid IN (
    SELECT rowid
    FROM stream_frame
    WHERE execution_id = :execution_id
        AND attempt_index = :attempt_index
        AND mode = 'best_effort'
    ORDER BY ts_ms, seq
    LIMIT :surplus
)
