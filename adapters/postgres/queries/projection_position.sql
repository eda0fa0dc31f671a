-- How far a projection of a caller's own is; holds off whoever else runs it.
SELECT position
FROM leasehold_projection
WHERE name = %(name)s
FOR UPDATE
