-- How a lease that a refused handle presents ended: by its first end, else by the
-- expiry that it was last given.
SELECT event_type, worker_id, worker_instance_id, expires_at_ms, occurred_at_ms
FROM lease_event
WHERE execution_id = :execution_id
    AND lease_id = :lease_id
    AND lease_epoch = :lease_epoch
    AND event_type <> 'refused'
ORDER BY
    event_type NOT IN ('expired', 'revoked'),
    CASE WHEN event_type IN ('expired', 'revoked') THEN event_id ELSE -event_id END
LIMIT 1
