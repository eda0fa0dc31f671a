-- A page of the log up to a position that is known to be settled: all events, or those
-- of the topics in a JSON array.
SELECT
    notification_id,
    originator_id,
    originator_version,
    topic,
    state
FROM stored_events
WHERE notification_id > :after
    AND notification_id <= :settled
    AND (
        :topics IS NULL
        OR topic IN (SELECT value FROM json_each(:topics))
    )
ORDER BY notification_id
LIMIT :most
