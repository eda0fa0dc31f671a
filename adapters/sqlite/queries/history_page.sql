-- A page of an execution's events as `history`. The ids are sorted without the states;
-- the states are read one by one, as far as whoever asks goes on.
SELECT
    notification_id,
    originator_id,
    originator_version,
    topic,
    state
FROM stored_events
WHERE notification_id IN (
    SELECT notification_id
    FROM stored_events
    WHERE (
            originator_id = :execution_id
            OR (
                originator_id > :execution_id || '/'
                AND originator_id < :execution_id || '0'
            )
        )
        AND +notification_id > :after
    ORDER BY +notification_id
    LIMIT :most
)
ORDER BY notification_id
