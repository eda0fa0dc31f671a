-- A page of what happened to a worker's leases, in log order, up to the
-- settled position.
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
WHERE worker_id = %(worker_id)s AND event_id > %(after)s
    AND event_id <= (SELECT leasehold_settled_position())
ORDER BY event_id
LIMIT %(most)s
