-- The best claimable execution that the worker satisfies and that no other claim is
-- about to take, locked. Walks the index exec_state_claimable from one capability set
-- to the next, so that the cost grows with the number of sets and not with the
-- executions that wait; looks at the best :depth of each set. A row without an id says
-- to look deeper: others hold all that were looked at of some set, and a better one may
-- follow. (Adding 0 keeps the planner from the index of all that waits.)
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
),

served AS MATERIALIZED (
    SELECT waiting.set_key
    FROM waiting
    CROSS JOIN LATERAL (
        SELECT e.capabilities
        FROM exec_state AS e
        WHERE e.lane_id = %(lane_id)s
            AND e.is_claimable = 1
            AND leasehold_set(e.capabilities) = waiting.set_key
        LIMIT 1
    ) AS one_of_them
    WHERE string_to_array(one_of_them.capabilities, ',') <@ ARRAY(
        SELECT json_array_elements_text(%(offered)s::json)
    )
),

best AS MATERIALIZED (
    SELECT served.set_key, c.execution_id, c.priority, c.created_at_ms
    FROM served
    CROSS JOIN LATERAL (
        SELECT e.execution_id, e.priority, e.created_at_ms
        FROM exec_state AS e
        WHERE e.lane_id = %(lane_id)s
            AND e.is_claimable = 1
            AND leasehold_set(e.capabilities) = served.set_key
            AND (
                e.deadline_at_ms IS NULL
                OR e.deadline_at_ms > coalesce(
                    %(now_ms)s::bigint,
                    floor(extract(EPOCH FROM statement_timestamp()) * 1000)
                )
            )
        ORDER BY e.priority DESC, e.created_at_ms, e.execution_id
        LIMIT %(depth)s
    ) AS c
),

taken AS MATERIALIZED (
    SELECT e.capabilities, e.priority, e.created_at_ms, e.execution_id
    FROM exec_state AS e
    WHERE e.execution_id = ANY (ARRAY(SELECT best.execution_id FROM best))
        AND e.is_claimable + 0 = 1
    ORDER BY e.priority DESC, e.created_at_ms, e.execution_id
    LIMIT 1
    FOR UPDATE OF e SKIP LOCKED
)

SELECT capabilities, priority, created_at_ms, execution_id FROM taken
UNION ALL
SELECT NULL, NULL, NULL, NULL
WHERE EXISTS (
    SELECT
    FROM best
    LEFT JOIN taken ON TRUE
    GROUP BY best.set_key
    HAVING count(taken.execution_id) = 0
        OR (
            count(*) = %(depth)s
            AND bool_and(
                (-best.priority, best.created_at_ms, best.execution_id)
                < (-taken.priority, taken.created_at_ms, taken.execution_id)
            )
        )
)
