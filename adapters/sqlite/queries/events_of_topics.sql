-- A page of the log, only of the topics in a JSON array.
SELECT
    notification_id,
    originator_id,
    originator_version,
    topic,
    state
FROM stored_events
WHERE notification_id > :after
    AND topic IN (SELECT value FROM json_each(:topics))
ORDER BY notification_id
LIMIT :most
