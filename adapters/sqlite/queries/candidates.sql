-- The best claimable execution of each capability set that waits in the lane. Walks
-- the index exec_state_claimable from one set to the next, so that the cost grows with
-- the number of sets and not with the executions that wait.
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
SELECT e.capabilities, e.priority, e.created_at_ms, e.execution_id
FROM waiting
CROSS JOIN exec_state AS e
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
