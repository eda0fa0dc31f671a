-- What the next claim of each capability set in the lane would take, and since when it
-- could have been taken: when it was due, or when its last lease ended. Walks the index
-- exec_state_claimable from one set to the next, like a claim.
WITH RECURSIVE waiting (set_key) AS (
    (
        SELECT leasehold_set(capabilities)
        FROM exec_state
        WHERE lane_id = %(lane_id)s AND is_claimable = 1
        ORDER BY leasehold_set(capabilities)
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT leasehold_set(e.capabilities)
        FROM exec_state AS e
        WHERE e.lane_id = %(lane_id)s
            AND e.is_claimable = 1
            AND leasehold_set(e.capabilities) > waiting.set_key
        ORDER BY leasehold_set(e.capabilities)
        LIMIT 1
    )
    FROM waiting
    WHERE waiting.set_key IS NOT NULL
)
SELECT
    e.execution_id,
    e.lane_id,
    e.capabilities,
    e.priority,
    CASE e.lifecycle_phase
        WHEN 'runnable' THEN e.eligible_at_ms
        ELSE a.lease_ended_at_ms
    END AS since_ms
FROM waiting
CROSS JOIN LATERAL (
    SELECT c.*
    FROM exec_state AS c
    WHERE c.lane_id = %(lane_id)s
        AND c.is_claimable = 1
        AND leasehold_set(c.capabilities) = waiting.set_key
        AND (
            c.deadline_at_ms IS NULL
            OR c.deadline_at_ms > coalesce(
                %(now_ms)s::bigint,
                floor(extract(EPOCH FROM statement_timestamp()) * 1000)
            )
        )
    ORDER BY c.priority DESC, c.created_at_ms, c.execution_id
    LIMIT 1
) AS e
LEFT JOIN attempt AS a
    ON a.execution_id = e.execution_id
    AND a.attempt_index = e.attempts_started - 1
