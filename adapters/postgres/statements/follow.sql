-- Tell writers that somebody follows the log, until the connection ends; return the
-- name of the channel.
SELECT
    'leasehold_' || 'stored_events'::regclass::oid,
    pg_advisory_lock_shared(leasehold_floor_class() # 2, 0)
