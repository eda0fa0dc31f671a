-- A page of a worker's tenures, in the order of their acquisitions, up to
-- the settled position. (Pairs are compared to keep the planner from sorting
-- them all.)
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
        CASE WHEN r.expires_at_ms <= c.now_ms THEN r.expires_at_ms END
    ) AS ended_at_ms,
    coalesce(
        r.ended_by,
        CASE WHEN r.expires_at_ms <= c.now_ms THEN 'expired' END
    ) AS ended_by,
    r.orphaned_ms,
    r.refusals,
    r.event_id,
    r.lane_id
FROM tenure_recorded AS r
CROSS JOIN (
    SELECT coalesce(
        %(now_ms)s::bigint,
        floor(extract(EPOCH FROM statement_timestamp()) * 1000)::bigint
    ) AS now_ms
) AS c
WHERE (r.worker_id, r.event_id) > (%(worker_id)s, %(after)s)
    AND (r.worker_id, r.event_id) <= (
        %(worker_id)s, (SELECT leasehold_settled_position())
    )
    AND (%(lane_id)s::text IS NULL OR r.lane_id = %(lane_id)s)
    AND (
        %(since_ms)s::bigint IS NULL
        OR coalesce(r.ended_at_ms, r.expires_at_ms) >= %(since_ms)s
        OR (r.ended_at_ms IS NULL AND r.expires_at_ms > c.now_ms)
    )
ORDER BY r.worker_id, r.event_id
LIMIT %(most)s
