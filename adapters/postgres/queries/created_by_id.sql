-- What a repeated creation is compared with, by the explicit id.
SELECT execution_id, arguments_sha256
FROM exec_state
WHERE execution_id = %(execution_id)s
