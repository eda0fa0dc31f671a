-- What a repeated creation is compared with, by the idempotency key.
SELECT execution_id, arguments_sha256
FROM exec_state
WHERE namespace = %(namespace)s AND idempotency_key = %(idempotency_key)s
