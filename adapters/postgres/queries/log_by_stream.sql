-- A page of the log in the order of streams and versions, as this transaction sees it:
-- all streams of an execution together.
SELECT
    notification_id,
    originator_id,
    originator_version,
    topic,
    state
FROM stored_events
WHERE (originator_id, originator_version) > (%(after_stream)s, %(after_version)s)
ORDER BY originator_id, originator_version
LIMIT %(most)s
