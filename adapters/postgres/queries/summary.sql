-- The summary of an attempt.
SELECT
    execution_id,
    attempt_index,
    document_json,
    version,
    patch_kind,
    first_applied_ms,
    last_updated_ms
FROM summary
WHERE execution_id = %(execution_id)s AND attempt_index = %(attempt_index)s
