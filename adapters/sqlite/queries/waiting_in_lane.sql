-- What the next claim of each capability set in the lane would take, and since when it
-- could have been taken: when it was due, or when its last lease ended. Walks the index
-- exec_state_claimable from one set to the next, like a claim.
WITH RECURSIVE waiting (capabilities) AS (
    SELECT min(capabilities)
    FROM exec_state
    WHERE lane_id = :lane_id AND is_claimable = 1
    UNION ALL
    SELECT (
        SELECT min(e.capabilities)
        FROM exec_state AS e
        WHERE e.lane_id = :lane_id
            AND e.is_claimable = 1
            AND e.capabilities > waiting.capabilities
    )
    FROM waiting
    WHERE waiting.capabilities IS NOT NULL
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
CROSS JOIN exec_state AS e
LEFT JOIN attempt AS a
    ON a.execution_id = e.execution_id
    AND a.attempt_index = e.attempts_started - 1
WHERE e.execution_id = (
    SELECT c.execution_id
    FROM exec_state AS c
    WHERE c.lane_id = :lane_id
        AND c.is_claimable = 1
        AND c.capabilities = waiting.capabilities
        AND (c.deadline_at_ms IS NULL OR c.deadline_at_ms > :now_ms)
    ORDER BY c.priority DESC, c.created_at_ms, c.execution_id
    LIMIT 1
)
