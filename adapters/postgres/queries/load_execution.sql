-- What a decision needs: an execution with the last attempt that was started, locked,
-- and now by the server's clock.
SELECT * FROM leasehold_load(%(execution_id)s)
