-- The lease that has been over for longest, run out (recorded or not) or revoked, of
-- those that nobody has taken over. It looks at what is active, lane by lane.
WITH RECURSIVE lane (lane_id) AS (
    SELECT min(lane_id) FROM exec_state
    UNION ALL
    SELECT (SELECT min(e.lane_id) FROM exec_state AS e WHERE e.lane_id > lane.lane_id)
    FROM lane
    WHERE lane.lane_id IS NOT NULL
)
SELECT
    a.execution_id,
    a.attempt_index,
    a.lane_id,
    a.lease_id,
    a.lease_epoch,
    a.worker_id,
    a.worker_instance_id,
    coalesce(a.lease_ended_at_ms, a.lease_expires_at_ms),
    max(0, :now_ms - coalesce(a.lease_ended_at_ms, a.lease_expires_at_ms))
FROM lane
CROSS JOIN exec_state AS e
CROSS JOIN attempt AS a
WHERE e.lane_id = lane.lane_id
    AND e.public_state = 'running'
    AND a.execution_id = e.execution_id
    AND a.attempt_index = e.attempts_started - 1
    AND (a.lease_ended_at_ms IS NOT NULL OR a.lease_expires_at_ms <= :now_ms)
ORDER BY 8, 1
LIMIT 1
