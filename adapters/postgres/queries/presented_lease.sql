-- The last two things that happened to a lease that a refused handle presents: it may
-- have ended twice (revoked by an operator, then with its execution).
SELECT event_type, worker_id, worker_instance_id, expires_at_ms, occurred_at_ms
FROM lease_event
WHERE execution_id = %(execution_id)s
    AND lease_id = %(lease_id)s
    AND lease_epoch = %(lease_epoch)s
    AND event_type <> 'refused'
ORDER BY event_id DESC
LIMIT 2
