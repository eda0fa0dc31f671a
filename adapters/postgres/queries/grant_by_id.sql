-- A resume grant as recorded.
SELECT grant_id, execution_id, worker_id, expires_at_ms, used_at_ms
FROM resume_grant
WHERE grant_id = %(grant_id)s
