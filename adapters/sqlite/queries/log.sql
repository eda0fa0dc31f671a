-- A page of the log as this transaction sees it: for a replay that is held against
-- tables seen in the same transaction.
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
