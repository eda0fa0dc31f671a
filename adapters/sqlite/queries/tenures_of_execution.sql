-- A page of an execution's tenures, in the order of their acquisitions.
SELECT
    r.execution_id,
    r.attempt_index,
    r.lease_epoch,
    r.lease_id,
    r.worker_id,
    r.worker_instance_id,
    r.acquired_at_ms,
    r.acquired_by,
    r.renewals,
    r.last_renewed_at_ms,
    r.max_renewal_gap_ms,
    r.min_headroom_ms,
    r.expires_at_ms,
    coalesce(
        r.ended_at_ms,
        CASE WHEN r.expires_at_ms <= :now_ms THEN r.expires_at_ms END
    ) AS ended_at_ms,
    coalesce(
        r.ended_by,
        CASE WHEN r.expires_at_ms <= :now_ms THEN 'expired' END
    ) AS ended_by,
    r.orphaned_ms,
    r.refusals,
    r.event_id,
    r.lane_id
FROM tenure_recorded AS r
WHERE r.execution_id = :execution_id
    AND r.event_id > :after
    AND (:worker_id IS NULL OR r.worker_id = :worker_id)
    AND (:lane_id IS NULL OR r.lane_id = :lane_id)
    AND (
        :since_ms IS NULL
        OR coalesce(r.ended_at_ms, r.expires_at_ms) >= :since_ms
        OR (r.ended_at_ms IS NULL AND r.expires_at_ms > :now_ms)
    )
ORDER BY r.event_id
LIMIT :most
