-- Begin a projection of a caller's own before the first event, if it is new.
INSERT INTO leasehold_projection (name, position)
VALUES (%(name)s, 0)
ON CONFLICT (name) DO NOTHING
