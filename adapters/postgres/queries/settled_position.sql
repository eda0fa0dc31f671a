-- The position up to which nothing can still appear.
SELECT leasehold_settled_position()
