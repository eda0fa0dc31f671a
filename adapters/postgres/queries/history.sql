-- A page of an execution's events over all its streams, in log order. The character
-- after '/' is '0'; adding 0 keeps the planner from walking the whole log. Those of one
-- execution are committed in the order of their positions.
SELECT
    notification_id,
    originator_id,
    originator_version,
    topic,
    state
FROM stored_events
WHERE (
        originator_id = %(execution_id)s
        OR (
            originator_id > %(execution_id)s || '/'
            AND originator_id < %(execution_id)s || '0'
        )
    )
    AND notification_id + 0 > %(after)s
ORDER BY notification_id + 0
LIMIT nullif(%(most)s, -1)
