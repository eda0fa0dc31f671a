-- A page of the executions of a lane in one public state, by id.
SELECT
    execution_id,
    namespace,
    lane_id,
    attempt_index,
    lifecycle_phase,
    ownership_state,
    eligibility_state,
    public_state,
    attempt_state,
    priority,
    created_at_ms,
    started_at_ms,
    eligible_at_ms,
    deadline_at_ms,
    terminal_at_ms,
    lease_reclaim_count,
    payload,
    result,
    tags,
    raw_fields
FROM exec_core
WHERE lane_id = :lane_id
    AND public_state = :public_state
    AND execution_id > :after
    AND (:namespace IS NULL OR namespace = :namespace)
ORDER BY execution_id
LIMIT :most
