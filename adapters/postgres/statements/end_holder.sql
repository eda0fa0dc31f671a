-- End whoever holds a numbered lock: a transaction of ours whose client is gone.
SELECT pg_terminate_backend(pid)
FROM pg_catalog.pg_locks
WHERE locktype = 'advisory'
    AND objsubid = 1
    AND granted
    AND (classid::bigint << 32) + objid::bigint = %(token)s
