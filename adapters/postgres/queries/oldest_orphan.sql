-- The lease that has been over for longest, run out (recorded or not) or revoked, of
-- those that nobody has taken over. It looks at what is active, lane by lane. (OFFSET
-- keeps the planner from going through all executions in place of that.)
WITH RECURSIVE lane (lane_id) AS (
    SELECT min(lane_id || '') FROM exec_state
    UNION ALL
    SELECT (SELECT min(e.lane_id || '') FROM exec_state AS e
        WHERE e.lane_id || '' > lane.lane_id)
    FROM lane
    WHERE lane.lane_id IS NOT NULL
),

clock (now_ms) AS (
    SELECT coalesce(
        %(now_ms)s::bigint,
        floor(extract(EPOCH FROM statement_timestamp()) * 1000)::bigint
    )
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
    greatest(
        0, clock.now_ms - coalesce(a.lease_ended_at_ms, a.lease_expires_at_ms)
    )
FROM lane
CROSS JOIN clock
CROSS JOIN LATERAL (
    SELECT s.execution_id, s.attempts_started
    FROM exec_state AS s
    WHERE s.lane_id || '' = lane.lane_id AND s.public_state = 'running'
    OFFSET 0
) AS e
INNER JOIN attempt AS a
    ON a.execution_id = e.execution_id
    AND a.attempt_index = e.attempts_started - 1
WHERE a.lease_ended_at_ms IS NOT NULL OR a.lease_expires_at_ms <= clock.now_ms
ORDER BY 8, 1
LIMIT 1
