-- How many events there are.
SELECT count(*) FROM stored_events
