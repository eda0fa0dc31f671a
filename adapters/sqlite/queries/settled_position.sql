-- The position below which nothing can still appear: with one writer at a time, the
-- last one.
SELECT coalesce(max(notification_id), 0) FROM stored_events
