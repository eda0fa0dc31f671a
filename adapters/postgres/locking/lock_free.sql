-- Lock those of the executions that nobody else holds; never waits.
SELECT execution_id
FROM exec_state
WHERE execution_id = ANY(%(execution_ids)s::text[])
ORDER BY execution_id
FOR UPDATE SKIP LOCKED
