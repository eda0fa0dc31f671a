-- How far a projection of a caller's own is.
SELECT position
FROM leasehold_projection
WHERE name = :name
