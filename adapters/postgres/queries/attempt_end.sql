-- How a lease of this attempt ended, with the last event of its stream: what a
-- repeated complete or fail is answered from.
SELECT s.notification_id, s.originator_id, s.originator_version, s.topic, s.state
FROM attempt AS a
INNER JOIN stored_events AS s
    ON s.originator_id = %(stream_id)s
    AND s.originator_version = a.stream_version
WHERE a.execution_id = %(execution_id)s
    AND a.attempt_index = %(attempt_index)s
    AND a.lease_id = %(lease_id)s
    AND a.lease_epoch = %(lease_epoch)s
    AND a.outcome IN ('success', 'failed', 'retry')
