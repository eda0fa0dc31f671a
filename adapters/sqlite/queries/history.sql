-- A page of an execution's events over all its streams, in log order. The character
-- after '/' is '0'; the plus sign keeps the planner from walking the whole log.
SELECT
    notification_id,
    originator_id,
    originator_version,
    topic,
    state
FROM stored_events
WHERE (
        originator_id = :execution_id
        OR (
            originator_id > :execution_id || '/'
            AND originator_id < :execution_id || '0'
        )
    )
    AND +notification_id > :after
ORDER BY notification_id
LIMIT :most
