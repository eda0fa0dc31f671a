-- A page of the log up to a position that is known to be settled: all events, or those
-- of the topics in a JSON array.
-- It ends with the event by which the states reach a number of bytes.
SELECT
    notification_id,
    originator_id,
    originator_version,
    topic,
    state
FROM (
    SELECT
        page.*,
        sum(octet_length(state)) OVER (
            ORDER BY notification_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bytes_before
    FROM (
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
    ) AS page
) AS measured
WHERE coalesce(bytes_before, 0) < %(bytes_most)s
ORDER BY notification_id
