-- What load_execution returns, for one who cannot write.
SELECT
    e.execution_id,
    e.lane_id,
    e.lifecycle_phase,
    e.eligibility_state,
    e.public_state,
    e.priority,
    e.eligible_at_ms,
    e.deadline_at_ms,
    e.attempt_index,
    e.attempts_started,
    e.retry_policy,
    e.retry_count,
    e.max_reclaim_count,
    e.lease_reclaim_count,
    e.stream_version,
    e.stream_sha256,
    e.refusals_version,
    e.refusals_sha256,
    e.last_event_at_ms,
    a.worker_id,
    a.worker_instance_id,
    a.lease_id,
    a.lease_epoch,
    a.lease_ttl_ms,
    a.lease_state,
    a.lease_expires_at_ms,
    a.lease_ended_at_ms,
    a.outcome,
    a.stream_version,
    a.stream_sha256,
    a.frames_version,
    a.frames_sha256,
    a.last_event_at_ms
FROM exec_state AS e
LEFT JOIN attempt AS a
    ON a.execution_id = e.execution_id
    AND a.attempt_index = e.attempts_started - 1
WHERE e.execution_id = :execution_id
