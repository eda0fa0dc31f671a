-- Wait until the transaction that holds a numbered lock has ended.
SELECT pg_advisory_xact_lock(%(token)s)
