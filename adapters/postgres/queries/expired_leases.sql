-- Leases that ran out, recorded or not, and that nobody has taken over.
SELECT
    execution_id,
    attempt_index,
    lane_id,
    lease_id,
    lease_epoch,
    worker_id,
    worker_instance_id,
    lease_expires_at_ms
FROM attempt
WHERE lease_expires_at_ms IS NOT NULL AND lease_expires_at_ms <= coalesce(
        %(now_ms)s::bigint,
        floor(extract(EPOCH FROM statement_timestamp()) * 1000)::bigint
    )
UNION ALL
SELECT
    a.execution_id,
    a.attempt_index,
    a.lane_id,
    a.lease_id,
    a.lease_epoch,
    a.worker_id,
    a.worker_instance_id,
    a.lease_ended_at_ms
FROM exec_state AS e
INNER JOIN attempt AS a
    ON a.execution_id = e.execution_id
    AND a.attempt_index = e.attempts_started - 1
WHERE e.ownership_state = 'lease_expired_reclaimable'
ORDER BY 8, 1
LIMIT %(most)s
