-- The versions of the store, and whether somebody follows the log. To read them holds
-- whoever rebuilds its tables off until the transaction ends; the numbered lock is what
-- that end can be waited for by.
SELECT
    key,
    value,
    (SELECT leasehold_is_followed()),
    (SELECT pg_advisory_xact_lock(%(token)s))
FROM leasehold_meta
