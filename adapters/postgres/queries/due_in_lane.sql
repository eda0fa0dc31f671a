-- What has come due in a lane, at most :most of each kind, longest due first:
-- deadlines (0), delays (1), leases (2).
WITH clock AS MATERIALIZED (
    SELECT coalesce(
        %(now_ms)s::bigint,
        floor(extract(EPOCH FROM statement_timestamp()) * 1000)::bigint
    ) AS now_ms
)

SELECT kind, execution_id, due_at_ms FROM (
    SELECT 0 AS kind, execution_id, deadline_at_ms AS due_at_ms
    FROM exec_state
    WHERE lane_id = %(lane_id)s
        AND deadline_at_ms IS NOT NULL
        AND lifecycle_phase <> 'terminal'
        AND deadline_at_ms <= (SELECT now_ms FROM clock)
    ORDER BY deadline_at_ms
    LIMIT %(most)s
) AS deadlines
UNION ALL
SELECT kind, execution_id, due_at_ms FROM (
    SELECT 1 AS kind, execution_id, eligible_at_ms AS due_at_ms
    FROM exec_state
    WHERE lane_id = %(lane_id)s
        AND eligibility_state = 'not_eligible_until_time'
        AND eligible_at_ms <= (SELECT now_ms FROM clock)
    ORDER BY eligible_at_ms
    LIMIT %(most)s
) AS delays
UNION ALL
SELECT kind, execution_id, due_at_ms FROM (
    SELECT 2 AS kind, execution_id, lease_expires_at_ms AS due_at_ms
    FROM attempt
    WHERE lane_id = %(lane_id)s
        AND lease_expires_at_ms IS NOT NULL
        AND lease_expires_at_ms <= (SELECT now_ms FROM clock)
    ORDER BY lease_expires_at_ms
    LIMIT %(most)s
) AS leases
