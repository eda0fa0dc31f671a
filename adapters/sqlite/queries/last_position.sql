-- The position of the last event, 0 where there is none: about how many there are.
SELECT coalesce(max(notification_id), 0) FROM stored_events
