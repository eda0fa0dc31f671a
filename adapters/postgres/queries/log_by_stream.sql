-- A page of the log in the order of streams and versions, as this transaction sees it:
-- all streams of an execution together.
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
            ORDER BY originator_id, originator_version
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
        WHERE (originator_id, originator_version)
            > (%(after_stream)s, %(after_version)s)
        ORDER BY originator_id, originator_version
        LIMIT %(most)s
    ) AS page
) AS measured
WHERE coalesce(bytes_before, 0) < %(bytes_most)s
ORDER BY originator_id, originator_version
