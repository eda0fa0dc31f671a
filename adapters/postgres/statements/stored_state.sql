-- The event that was to be stored at a place, if one is.
SELECT state
FROM stored_events
WHERE originator_id = %(stream_id)s AND originator_version = %(version)s
