-- A page of an execution's events as `history`, which ends with the event by which
-- the states reach a number of bytes.
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
        WHERE (
                originator_id = %(execution_id)s
                OR (
                    originator_id > %(execution_id)s || '/'
                    AND originator_id < %(execution_id)s || '0'
                )
            )
            AND notification_id + 0 > %(after)s
        ORDER BY notification_id + 0
        LIMIT %(most)s
    ) AS page
) AS measured
WHERE coalesce(bytes_before, 0) < %(bytes_most)s
ORDER BY notification_id
