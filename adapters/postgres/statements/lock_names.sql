-- Hold off whoever creates something of the same name: numbered locks, taken in order.
SELECT pg_advisory_xact_lock(leasehold_floor_class() # 1, number)
FROM unnest(%(numbers)s::integer[]) AS number
