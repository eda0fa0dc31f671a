-- A page of the whole log, up to the settled position: beyond it an event may still
-- appear in between.
SELECT
    notification_id,
    originator_id,
    originator_version,
    topic,
    state
FROM stored_events
WHERE notification_id > %(after)s
    AND notification_id <= (SELECT leasehold_settled_position())
ORDER BY notification_id
LIMIT %(most)s
