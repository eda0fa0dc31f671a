-- One execution as people are shown it.
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
WHERE execution_id = %(execution_id)s
