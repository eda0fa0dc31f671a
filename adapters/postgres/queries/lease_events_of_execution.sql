-- A page of what happened to an execution's leases, in log order.
SELECT
    event_id,
    execution_id,
    attempt_index,
    lease_id,
    lease_epoch,
    event_type,
    cause,
    worker_id,
    worker_instance_id,
    actor,
    expires_at_ms,
    occurred_at_ms,
    operation,
    late_ms,
    refused_count
FROM lease_event
WHERE execution_id = %(execution_id)s
    AND event_id > %(after)s
    AND (%(worker_id)s::text IS NULL OR worker_id = %(worker_id)s)
ORDER BY event_id
LIMIT %(most)s
