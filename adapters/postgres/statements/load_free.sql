-- What decisions need of those executions that nobody else holds, locked.
SELECT * FROM leasehold_load_free(%(execution_ids)s)
