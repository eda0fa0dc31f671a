-- Keep how far a projection of a caller's own is.
UPDATE leasehold_projection
SET position = %(position)s
WHERE name = %(name)s
