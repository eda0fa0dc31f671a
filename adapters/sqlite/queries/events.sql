-- A page of the whole log.
SELECT
    notification_id,
    originator_id,
    originator_version,
    topic,
    state
FROM stored_events
WHERE notification_id > :after
ORDER BY notification_id
LIMIT :most
