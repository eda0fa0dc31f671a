-- What stands over the projected tables and holds nothing of its own. A store that was
-- made before one of these was there gets it when it is next opened to be written to.

CREATE INDEX lease_event_refused ON lease_event (execution_id, lease_id)
WHERE event_type = 'refused';

-- One row a tenure, by what is on record: a lease that ran out, without anybody having
-- recorded it or taken it over, has no end here. What is recorded of a lease beyond the
-- next acquisition of its execution is left out, but for refusals.
--     n: the next acquisition    p: the expiry promised last    d: the first end
CREATE VIEW tenure_recorded AS
SELECT
    o.execution_id,
    o.attempt_index,
    o.lease_epoch,
    o.lease_id,
    o.worker_id,
    o.worker_instance_id,
    o.acquired_at_ms,
    o.acquired_by,
    o.renewals,
    o.last_renewed_at_ms,
    o.max_renewal_gap_ms,
    o.min_headroom_ms,
    o.expires_at_ms,
    o.ended_at_ms,
    o.ended_by,
    CASE
        WHEN o.ended_by IN ('expired', 'operator')
            THEN o.taken_over_at_ms - o.ended_at_ms
    END AS orphaned_ms,
    o.refusals,
    o.event_id,
    o.lane_id
FROM (
    SELECT
        a.execution_id,
        a.attempt_index,
        a.lease_epoch,
        a.lease_id,
        a.worker_id,
        a.worker_instance_id,
        a.occurred_at_ms AS acquired_at_ms,
        CASE
            WHEN a.cause = 'resume_grant' THEN 'resume_grant'
            WHEN a.event_type = 'reclaimed' THEN 'reclaim'
            ELSE 'claim'
        END AS acquired_by,
        (
            SELECT count(*)
            FROM lease_event AS e
            WHERE e.execution_id = a.execution_id
                AND e.event_id > a.event_id
                AND e.event_id <= p.event_id
                AND e.lease_id = a.lease_id
                AND e.event_type = 'renewed'
        ) AS renewals,
        CASE
            WHEN p.event_type = 'renewed' THEN p.occurred_at_ms
        END AS last_renewed_at_ms,
        (
            SELECT max(g.gap_ms)
            FROM (
                SELECT
                    e.occurred_at_ms
                    - lag(e.occurred_at_ms) OVER (ORDER BY e.event_id) AS gap_ms
                FROM lease_event AS e
                WHERE e.execution_id = a.execution_id
                    AND e.event_id >= a.event_id
                    AND e.event_id <= p.event_id
                    AND e.lease_id = a.lease_id
                    AND e.event_type IN ('acquired', 'reclaimed', 'renewed')
            ) AS g
        ) AS max_renewal_gap_ms,
        (
            SELECT min(h.headroom_ms)
            FROM (
                SELECT
                    lag(e.expires_at_ms) OVER (ORDER BY e.event_id)
                    - e.occurred_at_ms AS headroom_ms
                FROM lease_event AS e
                WHERE e.execution_id = a.execution_id
                    AND e.event_id >= a.event_id
                    AND e.event_id <= p.event_id
                    AND e.lease_id = a.lease_id
                    AND e.event_type IN ('acquired', 'reclaimed', 'renewed')
            ) AS h
        ) AS min_headroom_ms,
        p.expires_at_ms,
        CASE
            WHEN d.event_id IS NOT NULL THEN min(d.occurred_at_ms, p.expires_at_ms)
            WHEN n.occurred_at_ms >= p.expires_at_ms THEN p.expires_at_ms
        END AS ended_at_ms,
        CASE
            WHEN d.event_type = 'revoked' AND d.occurred_at_ms < p.expires_at_ms
                THEN d.cause
            WHEN d.event_id IS NOT NULL THEN 'expired'
            WHEN n.occurred_at_ms >= p.expires_at_ms THEN 'expired'
        END AS ended_by,
        CASE
            WHEN n.event_type = 'reclaimed' THEN n.occurred_at_ms
        END AS taken_over_at_ms,
        (
            SELECT count(*)
            FROM lease_event AS e
            WHERE e.execution_id = a.execution_id
                AND e.lease_id = a.lease_id
                AND e.event_type = 'refused'
        ) AS refusals,
        a.event_id,
        t.lane_id
    FROM lease_event AS a
    LEFT JOIN attempt AS t
        ON t.execution_id = a.execution_id
        AND t.attempt_index = a.attempt_index
    LEFT JOIN lease_event AS n ON n.event_id = (
        SELECT e.event_id
        FROM lease_event AS e
        WHERE e.execution_id = a.execution_id
            AND e.event_id > a.event_id
            AND e.event_type IN ('acquired', 'reclaimed')
        ORDER BY e.event_id
        LIMIT 1
    )
    LEFT JOIN lease_event AS p ON p.event_id = (
        SELECT e.event_id
        FROM lease_event AS e
        WHERE e.execution_id = a.execution_id
            AND e.event_id >= a.event_id
            AND e.event_id < coalesce(n.event_id, 9223372036854775807)
            AND e.lease_id = a.lease_id
            AND e.event_type IN ('acquired', 'reclaimed', 'renewed')
        ORDER BY e.event_id DESC
        LIMIT 1
    )
    LEFT JOIN lease_event AS d ON d.event_id = (
        SELECT e.event_id
        FROM lease_event AS e
        WHERE e.execution_id = a.execution_id
            AND e.event_id > p.event_id
            AND e.event_id < coalesce(n.event_id, 9223372036854775807)
            AND e.lease_id = a.lease_id
            AND e.event_type IN ('expired', 'revoked')
        ORDER BY e.event_id
        LIMIT 1
    )
    WHERE a.event_type IN ('acquired', 'reclaimed')
) AS o;

-- The same by the clock of this machine: what has run out by now has ended.
CREATE VIEW tenure AS
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
        r.ended_at_ms, CASE WHEN r.expires_at_ms <= c.now_ms THEN r.expires_at_ms END
    ) AS ended_at_ms,
    coalesce(
        r.ended_by, CASE WHEN r.expires_at_ms <= c.now_ms THEN 'expired' END
    ) AS ended_by,
    r.orphaned_ms,
    r.refusals,
    r.event_id,
    r.lane_id
FROM tenure_recorded AS r
CROSS JOIN (
    SELECT
        CAST(strftime('%s', 'now') AS INTEGER) * 1000
        + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER) AS now_ms
) AS c;
