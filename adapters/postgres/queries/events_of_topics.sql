-- A page of the log, only of the topics in a JSON array, up to the settled position.
SELECT
    notification_id,
    originator_id,
    originator_version,
    topic,
    state
FROM stored_events
WHERE notification_id > %(after)s
    AND topic IN (SELECT json_array_elements_text(%(topics)s::json))
    AND notification_id <= (SELECT leasehold_settled_position())
ORDER BY notification_id
LIMIT %(most)s
