-- A page of the log up to a position that is known to be settled: all events, or those
-- of the topics in a JSON array.
SELECT
    notification_id,
    originator_id,
    originator_version,
    topic,
    state
FROM stored_events
WHERE notification_id > %(after)s
    AND notification_id <= %(settled)s
    AND (
        %(topics)s::json IS NULL
        OR topic IN (SELECT json_array_elements_text(%(topics)s::json))
    )
ORDER BY notification_id
LIMIT %(most)s
