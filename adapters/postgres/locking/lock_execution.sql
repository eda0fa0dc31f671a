-- Hold the other writers of an execution off until the end of the transaction.
SELECT FROM exec_state
WHERE execution_id = %(execution_id)s
FOR UPDATE
