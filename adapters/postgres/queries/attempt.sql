-- One attempt.
SELECT
    execution_id,
    attempt_index,
    worker_id,
    worker_instance_id,
    lease_id,
    lease_epoch,
    lease_expires_at_ms,
    started_at_ms,
    terminal_at_ms,
    outcome,
    failure_class,
    failure_message,
    failure_detail
FROM attempt
WHERE execution_id = %(execution_id)s AND attempt_index = %(attempt_index)s
